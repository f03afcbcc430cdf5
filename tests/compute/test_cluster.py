"""Whatever a cluster is: results come once, exceptions come through, reports are possible or refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import dask
import pytest

from dicomflow.compute import Handlers, Note, open_cluster
from dicomflow.errors import ComputeError, DatasetError
from tests.compute.running import make_compute, twice


def fail(task: int, note: Note) -> int:
    if task == 3:
        raise DatasetError("a part cannot be written")
    return task


def our_environment() -> dict[str, str]:
    """All but a note of Dask's to its own children."""
    return {name: value for name, value in os.environ.items() if name != "__DASK_PARENT_PID"}


@pytest.mark.parametrize(
    ("scheduler", "workers"), [("threads", 1), ("threads", 3), ("in-process", 1), ("in-process", 2), ("processes", 2)]
)
def test_every_result_comes_once(scheduler: str, workers: int) -> None:
    """Each task's result is handed over once; Dask's settings and the environment are as before."""
    before, environment = dask.config.config.copy(), our_environment()
    found: list[int] = []
    with open_cluster(make_compute(scheduler=scheduler, workers=workers), scheduler) as cluster:
        assert cluster.dashboard is None
        cluster.map(twice, list(range(20)), name="twice", on=Handlers(done=found.append))
    assert sorted(found) == [2 * n for n in range(20)]
    assert our_environment() == environment
    if scheduler != "threads":
        assert dask.config.get("distributed.comm.timeouts.connect") and dask.config.get("distributed.version")
    assert all(dask.config.get(key) == before[key] for key in before if key != "distributed")


@pytest.mark.parametrize("scheduler", ["threads", "in-process"])
def test_exceptions_of_tasks_come_through(scheduler: str) -> None:
    """What a task raises on purpose arrives as it was raised, and log levels are as before."""
    level = logging.getLogger("distributed.worker").level
    with (
        pytest.raises(DatasetError, match="^a part cannot be written$"),
        open_cluster(make_compute(scheduler=scheduler), scheduler) as cluster,
    ):
        cluster.map(fail, list(range(6)), name="fail", on=Handlers(done=lambda _: None))
    assert logging.getLogger("distributed.worker").level in (level, logging.NOTSET, logging.INFO)


@pytest.mark.parametrize("scheduler", ["threads", "in-process"])
def test_exceptions_of_whoever_watches_come_through(scheduler: str) -> None:
    """An error in the callback ends the run; it is not swallowed by Dask."""

    def done(_: int) -> None:
        raise RuntimeError("the watcher fell over")

    with (
        pytest.raises(RuntimeError, match="fell over"),
        open_cluster(make_compute(scheduler=scheduler), scheduler) as cluster,
    ):
        cluster.map(twice, list(range(6)), name="twice", on=Handlers(done=done))


@pytest.mark.parametrize("scheduler", ["in-process", "threads"])
def test_performance_report_that_cannot_be_written(tmp_path: Path, scheduler: str) -> None:
    """A report that will not come is said before the run, not forgotten after it."""
    path = tmp_path / "no" / "report.html"
    problem = (
        "has no performance report"
        if scheduler == "threads"
        else "report.html: the performance report cannot be written"
    )
    with pytest.raises(ComputeError, match=problem):
        open_cluster(make_compute(performance_report=path), scheduler)
