"""A cluster with another dicomflow is refused before a task ends its workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

import dicomflow
from dicomflow.compute import Handlers, open_cluster, versions, watch
from dicomflow.errors import ComputeError
from tests.compute.running import make_settings, run_doubles, slow


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    options = {
        "processes": False,
        "dashboard_address": None,
        "worker_dashboard_address": "127.0.0.1:0",
        "silence_logs": 50,
    }
    with LocalCluster(n_workers=1, protocol="tcp", host="127.0.0.1", **options) as cluster:
        yield cluster


@pytest.fixture
def address(cluster: LocalCluster) -> str:
    found: str = cluster.scheduler_address
    return found


def test_the_same_version(address: str) -> None:
    assert run_doubles(make_settings(compute__scheduler=address), 3)[0] == [0, 2, 4]


def test_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has which one is said."""
    config = make_settings(compute__scheduler=address)
    monkeypatch.setattr(versions, "_VERSION", "platform:python_implementation.__name__")  # what is there ...
    message = (
        r"^the scheduler of the Dask cluster has dicomflow python_implementation, and this run is of 9\.9: install"
    )
    monkeypatch.setattr(versions, "_version_here", lambda: "9.9")  # ... is not what is here
    with pytest.raises(ComputeError, match=message):
        open_cluster(config.compute, address, config.cluster).__enter__()


def test_no_dicomflow_at_all(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question can be asked where dicomflow is not."""
    config = make_settings(compute__scheduler=address)
    monkeypatch.setattr(versions, "_VERSION", "no_such_package:__version__")
    monkeypatch.setattr(versions, "_version_here", lambda: "9.9")
    with pytest.raises(ComputeError, match=r"has no dicomflow that can be imported, and this run is of 9\.9"):
        open_cluster(config.compute, address, config.cluster).__enter__()


@pytest.mark.parametrize("answer", ["9.9", None, OSError("lost")])
def test_who_gives_no_answer_is_left_to_the_run(answer: object) -> None:
    versions._check("worker tcp://w", "9.9", answer)


def test_worker_that_joins_later(cluster: LocalCluster, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of another version ends the run when it comes, before tasks end that worker; those that were asked are not again."""
    config = make_settings(compute__scheduler=address)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)

    def tasks() -> Iterator[int]:
        for number in range(400):
            if number == 9:
                monkeypatch.setattr(versions, "_version_here", lambda: "9.9")
                cluster.scale(2)
            yield number

    done: list[int] = []
    message = rf"^the worker tcp://.* of the Dask cluster has dicomflow {dicomflow.__version__}, and this run is of 9\.9: install"
    with pytest.raises(ComputeError, match=message), open_cluster(config.compute, address, config.cluster) as ours:
        ours.map(slow, tasks(), name="slow", on=Handlers(done=done.append))
    assert done


def test_worker_that_has_gone_meanwhile(address: str) -> None:
    """It answers nothing, and is no reason to end."""
    with Client(address, set_as_default=False) as client:
        versions.check_workers(client, 0.5, [*client.nthreads(), "tcp://127.0.0.1:1"])
