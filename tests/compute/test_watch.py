"""Workers that die, pause or do not come are said, and not waited for without end; those that are told to go are no loss."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

from dicomflow.compute import Handlers, WorkerCounts, choose_scheduler, count_workers, open_cluster, watch
from dicomflow.compute.watch import Terms, WorkerWatch
from dicomflow.errors import ComputeError
from tests.compute.running import double, make_settings, slow

LITTLE = "8 MiB"
"""Less than any Python takes: Dask pauses such a worker at once."""


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)


@contextlib.contextmanager
def cluster_of(workers: int, **options: Any) -> Iterator[tuple[LocalCluster, Client]]:
    """A cluster in this process, and a client of it."""
    quiet = {"processes": False, "dashboard_address": None, "worker_dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=workers, threads_per_worker=1, **quiet | options) as cluster, Client(cluster) as client:
        yield cluster, client


def terms(seconds: float = 60.0, **options: Any) -> Terms:
    return Terms(**{"missing_seconds": seconds, "paused_seconds": seconds, **options})


# ---- workers that go ----


def test_workers_come_and_go_by_need(capsys: pytest.CaptureFixture[str]) -> None:
    """From none to as many as there may be while there is work, fewer again when there is none; and nobody calls that a loss."""
    config = make_settings(cluster__adapt={"minimum": 0, "maximum": 1})
    scheduler = choose_scheduler(config.compute, 1, config.cluster)
    assert (scheduler, count_workers(config.compute, scheduler, config.cluster)) == ("processes", 1)
    came, found = False, []
    with (
        dask.config.set({"distributed.adaptive.interval": "100 ms"}),
        open_cluster(config.compute, scheduler, config.cluster) as cluster,
    ):
        client = cluster._connection.client  # type: ignore[attr-defined]

        def tasks() -> Iterator[int]:
            nonlocal came
            for number in range(400):
                came = came or bool(client.nthreads())
                if came and number > 8:
                    return
                yield number

        cluster.map(slow, tasks(), name="slow", on=Handlers(done=found.append))
        assert came and sorted(found) == list(range(len(found)))
        with WorkerWatch(client, terms(), pytest.fail):
            wait_until(lambda: not client.nthreads())
    said = capsys.readouterr().err
    assert "workers_lost" not in said and "workers_paused" not in said and "distributed" not in said


def test_worker_that_is_lost_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that is gone without being told to is a warning, with how many are left."""
    with cluster_of(2) as (cluster, client), WorkerWatch(client, terms(), pytest.fail):
        wait_until(lambda: bool(cluster.scheduler._broker._topics[watch.EVENTS].subscribers))
        address = cluster.workers[0].worker_address
        cluster.sync(cluster.scheduler.remove_worker, address, stimulus_id="test", expected=False)
        said = ""

        def hear() -> bool:
            nonlocal said
            said += capsys.readouterr().err
            return "workers_lost" in said

        wait_until(hear)
    assert "left=1" in said and "lost=1" in said


def test_worker_that_is_lost_between_the_last_look_and_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after is done before the next look: it is said nevertheless."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 3600)
    with cluster_of(2) as (cluster, client), WorkerWatch(client, terms(1e6), pytest.fail):
        wait_until(lambda: bool(cluster.scheduler._broker._topics[watch.EVENTS].subscribers))
        address = cluster.workers[0].worker_address
        cluster.sync(cluster.scheduler.remove_worker, address, stimulus_id="test", expected=False)
        assert client.submit(abs, -2).result(timeout=60) == 2  # whose result comes the way of the event, and after it
        assert "workers_lost" not in capsys.readouterr().err
    assert "lost=1" in capsys.readouterr().err


# ---- no workers at all ----


def test_cluster_without_workers_is_said_and_given_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a warning, once, that says when it ends; then the end."""
    monkeypatch.setattr(watch, "ALONE_SECONDS", 0.1)
    over = threading.Event()
    with cluster_of(0) as (_, client), WorkerWatch(client, terms(0.5), over.set) as watching:
        assert over.wait(60)
    said = capsys.readouterr().err
    assert said.count("waiting_for_workers") == 1 and "gives_up_after_seconds=0.5" in said
    assert "has had no worker for 0.5 s (compute.no_worker_seconds)" in str(watching.end)


def test_nobody_is_missed_while_no_task_waits() -> None:
    """Workers that come by need are gone while files are still listed; the time without them counts from the first task on."""
    over, waiting = threading.Event(), threading.Event()
    with cluster_of(0) as (_, client), WorkerWatch(client, terms(0.2), over.set, is_waiting=waiting.is_set) as watching:
        assert not over.wait(0.8) and watching.end is None
        waiting.set()
        assert over.wait(60) and watching.end is not None


# ---- workers that Dask has paused ----


def test_all_workers_paused(capsys: pytest.CaptureFixture[str]) -> None:
    """Dask would wait without end: it is said at once, counted, and after a while the tasks end with what to do."""
    counts: list[WorkerCounts] = []
    with cluster_of(1, memory_limit=LITTLE, protocol="tcp://", host="127.0.0.1") as (cluster, client):
        wait_until(lambda: not client.sync(client.scheduler.ncores_running))
        address = cluster.scheduler_address
        config = make_settings(compute__scheduler=address, compute__no_worker_seconds=0.5)
        message = r"^all workers of the Dask cluster \(1\) are paused for want of memory, and nothing was done for 0\.5 s .*memory_limit.*run again"
        handlers = Handlers(done=pytest.fail, workers=counts.append)
        with (
            pytest.raises(ComputeError, match=message),
            open_cluster(config.compute, address, config.cluster) as ours,
        ):
            ours.map(double, [1], name="never", on=handlers)
    assert counts[0] == WorkerCounts(running=0, paused=1) and counts[0].all_paused
    said = capsys.readouterr().err
    assert said.count("workers_paused") == 1 and "gives_up_after_seconds=0.5" in said and "header.batch_rows" in said


def test_one_of_two_workers_paused(capsys: pytest.CaptureFixture[str]) -> None:
    """The other goes on, and so does the run; worse is said again, a relapse is not."""
    over = threading.Event()
    counts: list[WorkerCounts] = []
    with cluster_of(2, memory_limit="1 TiB") as (cluster, client):
        first, second = cluster.workers.values()

        def pause(*fractions: float) -> None:
            for worker, fraction in zip((first, second), fractions, strict=True):
                worker.memory_manager.memory_pause_fraction = fraction
            paused = sum(fraction < 0.5 for fraction in fractions)
            wait_until(lambda: counts[-1] == WorkerCounts(running=2 - paused, paused=paused))

        with WorkerWatch(client, terms(), over.set, tell=counts.append):
            for fractions in [(1e-9, 0.8), (0.8, 0.8), (1e-9, 0.8), (1e-9, 1e-9)]:
                pause(*fractions)
    assert not over.is_set()
    lines = [line for line in capsys.readouterr().err.splitlines() if "workers_paused" in line]
    assert (
        ["paused=1" in line for line in lines] == [True, False] and "paused=2" in lines[1] and "running=0" in lines[1]
    )


def test_paused_workers_that_still_do_something() -> None:
    """A paused worker ends what it has begun: as long as something is done, nobody gives up."""
    over = threading.Event()
    with cluster_of(1, memory_limit=LITTLE) as (_, client):
        wait_until(lambda: not client.sync(client.scheduler.ncores_running))
        with WorkerWatch(client, terms(0.4), over.set) as watching:
            for _ in range(20):
                watching.note_progress()
                assert not over.wait(0.05)
            assert over.wait(60) and "paused" in str(watching.end)


# ---- workers that come later ----


def test_worker_that_may_not_come() -> None:
    """Whoever comes while tasks are in flight is looked at, and may end the run."""
    over, seen = threading.Event(), set()

    def check(present: Any) -> None:
        seen.update(present)
        if len(seen) > 1:
            raise ComputeError("the worker is a stranger")

    with cluster_of(1) as (cluster, client), WorkerWatch(client, terms(check=check), over.set) as watching:
        assert not over.wait(0.3)
        cluster.scale(2)
        assert over.wait(60)
    assert str(watching.end) == "the worker is a stranger"
