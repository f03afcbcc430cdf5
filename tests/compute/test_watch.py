"""How many workers there are: those that die are said, those that go because they are told to are not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from distributed import LocalCluster

from dicomflow.compute import Handlers, choose_scheduler, count_workers, open_cluster, watch
from dicomflow.compute.connect import Connection
from dicomflow.compute.scheduler import no_worker_seconds
from dicomflow.compute.watch import WorkerWatch
from dicomflow.errors import ComputeError
from tests.compute.running import make_settings, slow


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)


def test_workers_come_and_go_by_need(capsys: pytest.CaptureFixture[str]) -> None:
    """From none to as many as there may be while there is work, fewer again when there is none; and nobody calls that a loss."""
    config = make_settings(cluster__adapt={"minimum": 0, "maximum": 2})
    scheduler = choose_scheduler(config.compute, 1, config.cluster)
    assert (scheduler, count_workers(config.compute, scheduler, config.cluster)) == ("processes", 2)
    most, found = 0, []
    with open_cluster(config.compute, scheduler, config.cluster) as cluster:
        client = cluster._connection.client  # type: ignore[attr-defined]

        def tasks() -> Any:
            nonlocal most
            for number in range(400):
                most = max(most, len(client.nthreads()))
                if most == 2 and number > 8:
                    return
                yield number

        cluster.map(slow, tasks(), name="slow", on=Handlers(done=found.append))
        assert most == 2 and sorted(found) == list(range(len(found)))
        with WorkerWatch(client, 60, lambda: None):
            wait_until(lambda: not client.nthreads())
    said = capsys.readouterr().err
    assert "workers_lost" not in said and "distributed" not in said


def test_worker_that_is_killed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that dies without being told to is a warning, even if another takes its place at once."""
    config = make_settings(compute__workers=1)
    with Connection(config.compute, "processes", config.cluster) as connection:
        client = connection.client
        client.wait_for_workers(1, timeout=60)
        (pid,) = client.run(os.getpid).values()
        lost: list[int] = []
        with WorkerWatch(client, 60, lambda: None):
            os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda: bool(lost) or bool(lost.append(1) if "workers_lost" in capsys.readouterr().err else False)
            )


def test_cluster_without_workers_is_said_and_given_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a warning, once, that says when it ends; then the end."""
    monkeypatch.setattr(watch, "QUIET_SECONDS", 0.3)
    over = threading.Event()
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        cluster.get_client() as client,
        WorkerWatch(client, 1.5, over.set),
    ):
        assert over.wait(60)
    said = capsys.readouterr().err
    assert said.count("waiting_for_workers") == 1 and "1.5" in said


@pytest.mark.parametrize(
    ("scheduler", "seconds"),
    [
        ("processes", 120),
        ("tcp://127.0.0.1:1", 120),
        ("ssh", 120),
        ("kubernetes", 3600),
        ("slurm", 86_400),
        ("pbs", 86_400),
    ],
)
def test_patience_is_as_long_as_queues_are(scheduler: str, seconds: float) -> None:
    """Where jobs wait in a queue the run waits, too; a number in the configuration wins."""
    assert no_worker_seconds(make_settings().compute, scheduler) == seconds
    assert no_worker_seconds(make_settings(compute__no_worker_seconds=7).compute, scheduler) == 7


def test_class_that_cannot_adapt() -> None:
    """SSH's class has an adapt() that cannot: whichever class it is, the line says so."""
    path = f"{__name__}.FixedCluster"
    config = make_settings(cluster__custom={"class_path": path}, cluster__adapt={"minimum": 1, "maximum": 2})
    message = r"^cluster\.adapt \(--adapt\): FixedCluster cannot adapt$"
    with pytest.raises(ComputeError, match=message), Connection(config.compute, "custom", config.cluster):
        pass


class FixedCluster(LocalCluster):
    """A cluster of a fixed size."""

    def __init__(self) -> None:
        super().__init__(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50)

    def adapt(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError


def test_nobody_is_missed_while_no_task_waits() -> None:
    """Workers that come by need are gone while files are still listed; the time without them counts from the first task on."""
    over, waiting = threading.Event(), threading.Event()
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        cluster.get_client() as client,
        WorkerWatch(client, 0.4, over.set, is_waiting=waiting.is_set) as watching,
    ):
        assert not over.wait(1.5) and not watching.reason
        waiting.set()
        assert over.wait(60) and "no worker for 0.4 s" in watching.reason
