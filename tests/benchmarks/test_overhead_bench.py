"""What Dask, progress, logs and metrics cost together, beside the same tasks run in a plain loop.  Nothing here asserts a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import psutil
import pytest
from conftest import WORK, cpu_of_self
from rich.console import Console

import dicomflow
from dicomflow.cli.startup import spare_pandas
from dicomflow.compute import Handlers
from dicomflow.log import configure_logging
from dicomflow.pipeline import reading
from tests.cluster.daemons import Daemons

ROUNDS = 5
SETTINGS = Path(__file__).parents[2] / "configs" / "dask.yaml"


class PlainLoop:
    """Tasks one after the other, by a ``for``; takes the time that they need."""

    dashboard: str | None = None
    seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def map(
        self, function: Any, tasks: Iterable[Any], *, name: str, on: Handlers[Any, Any], span: Sequence[str]
    ) -> None:
        planned = list(tasks)
        start = cpu_of_self()
        for result in [function(task, lambda _: None) for task in planned]:
            on.done(result)
        PlainLoop.seconds = cpu_of_self() - start


@contextlib.contextmanager
def logging_to_nowhere() -> Iterator[None]:
    """JSON lines of all that is logged, formatted and thrown away."""
    with open(os.devnull, "w") as nowhere, patch.object(sys, "stderr", nowhere):
        configure_logging(json=True, level="info")
        yield
    import structlog

    structlog.reset_defaults()


def run_plain(source: Path, dest: Path) -> float:
    """CPU seconds of a run whose tasks run in a loop, unwatched."""
    start = cpu_of_self()
    with patch.object(reading, "open_cluster", lambda *_: PlainLoop()):
        dicomflow.extract(source, dest, compute__scheduler="in-process")
    return cpu_of_self() - start


def run_watched(source: Path, dest: Path, daemons: Daemons) -> float:
    """CPU seconds of the same run on a real scheduler and a real worker: driver, scheduler, worker; bar, log, metrics."""
    start = cpu_of_self() + cpu_of_daemons(daemons)
    with logging_to_nowhere(), open(os.devnull, "w") as nowhere:
        dicomflow.extract(
            source,
            dest,
            progress=dicomflow.show_progress(Console(file=nowhere, force_terminal=True)),
            compute__scheduler=daemons.address,
            compute__workers=1,
            metrics__port=0,
        )
    return cpu_of_self() + cpu_of_daemons(daemons) - start


def cpu_of_daemons(daemons: Daemons) -> float:
    """CPU seconds of scheduler and workers so far."""
    assert daemons.scheduler is not None
    processes = [psutil.Process(daemons.scheduler.pid), *daemons.worker_processes()]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@pytest.mark.benchmark(group="overhead", timer=cpu_of_self)
def test_overhead(benchmark: Any, many: Path, tmp_path: Path) -> None:
    """Round by round one after the other, so that both have the same neighbours; what is not the tasks is overhead.

    Scheduler and worker have the settings of ``configs/dask.yaml``, as those that a run starts.  They are there before: that
    starting them takes a second or two is no matter of files.
    """
    spare_pandas()
    found: list[tuple[float, float]] = []

    def both(daemons: Daemons) -> None:
        for dest in (WORK / "plain", WORK / "watched"):
            shutil.rmtree(dest, ignore_errors=True)
        plain = run_plain(many.absolute(), WORK / "plain")
        found.append((run_watched(many.absolute(), WORK / "watched", daemons) - plain, PlainLoop.seconds))

    with patch.dict(os.environ, DASK_CONFIG=str(SETTINGS)), Daemons(tmp_path, workers=1) as daemons:
        benchmark.pedantic(both, args=(daemons,), rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["overhead_share"] = statistics.median(extra / tasks for extra, tasks in found[1:])
