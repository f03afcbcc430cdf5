"""Logs of tasks in real worker processes: the same ids, warnings above the driver's bar, once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import structlog

from dicomflow.compute import Handlers, Note, open_cluster
from dicomflow.config import ComputeConfig
from dicomflow.log import (
    LogContext,
    bind_run,
    bound_task,
    configure_logging,
    get_logger,
    joined,
    log_context,
    write_relayed,
)

TASKS = 6


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Nothing configured before and after."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def work(task: int, note: Note, log: LogContext) -> int:
    """A task with something to tell, done as the pipeline has it done."""
    with joined(log, lambda line: note({"log": line})), bound_task(f"task-{task}"):
        get_logger("worker").info("task_done", files=task)
        get_logger("worker").warning("file_failed", uri=f"/data/{task}.dcm", code="io_error")
    return task


def run_tasks(scheduler: str) -> list[str]:
    """Run tasks on a cluster; the lines that came by way of Dask."""
    relayed: list[str] = []
    heard = threading.Event()

    def hear(said: dict[str, Any]) -> None:
        relayed.append(said["log"])
        write_relayed(said["log"])
        if len(relayed) == TASKS:
            heard.set()

    done: list[int] = []
    config = ComputeConfig(workers=2, dashboard_address="")
    with open_cluster(config, scheduler) as cluster:
        run = partial(work, log=log_context())
        cluster.map(run, range(TASKS), name="work", on=Handlers(done=done.append, note=hear))
        if scheduler == "processes":
            assert heard.wait(20)
    assert sorted(done) == list(range(TASKS))
    return relayed


@pytest.mark.parametrize("scheduler", ["threads", "in-process", "processes"])
def test_lines_of_all_tasks(scheduler: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Wherever tasks run, each line is on the standard error of the run, once, with all ids."""
    configure_logging(json=True, level="info")
    bind_run("run-1", "a" * 32)
    relayed = run_tasks(scheduler)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    tasks = [line for line in lines if line["stage"] == "worker"]
    assert len(relayed) == (TASKS if scheduler == "processes" else 0)
    assert sorted((line["task_id"], line["level"], line["event"]) for line in tasks) == sorted(
        (f"task-{task}", level, event)
        for task in range(TASKS)
        for level, event in (("info", "task_done"), ("warning", "file_failed"))
    )
    assert {(line["run_id"], line["trace_id"], line["service"]) for line in tasks} == {("run-1", "a" * 32, "dicomflow")}
