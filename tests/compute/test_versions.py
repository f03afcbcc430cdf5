"""A cluster with another dicomflow is refused before a task ends its workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from distributed import LocalCluster

import dicomflow
from dicomflow.compute import open_cluster, versions
from dicomflow.errors import ComputeError
from tests.compute.running import make_settings, run_doubles


@pytest.fixture
def address() -> Iterator[str]:
    with LocalCluster(
        n_workers=1, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def test_the_same_version(address: str) -> None:
    assert run_doubles(make_settings(compute__scheduler=address), 3)[0] == [0, 2, 4]


def test_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has which one is said."""
    monkeypatch.setattr(versions, "__version__", "9.9")
    message = rf"^the scheduler of the Dask cluster has dicomflow {dicomflow.__version__}, and this run is of 9\.9: install"
    config = make_settings(compute__scheduler=address)
    with pytest.raises(ComputeError, match=message):
        open_cluster(config.compute, address, config.cluster).__enter__()


def test_no_dicomflow_at_all(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question can be asked where dicomflow is not."""
    config = make_settings(compute__scheduler=address)
    with monkeypatch.context() as patch, pytest.raises(ComputeError, match="has no dicomflow that can be imported"):
        patch.setitem(sys.modules, "dicomflow", None)
        open_cluster(config.compute, address, config.cluster).__enter__()


@pytest.mark.parametrize("answer", [dicomflow.__version__, None, OSError("lost")])
def test_who_gives_no_answer_is_left_to_the_run(answer: object) -> None:
    versions._check("worker tcp://w", answer)
