"""A hundred million files planned and submitted: what the driver needs for it.

    python -m tests.cluster.planning --files 100000000

The listing is simulated, and so is the cluster (its workers take no time); grouping, task ids, the plan's parts on the disk and
the submit loop are those of a run.  Prints memory, tasks and what was in flight as it goes; fails above a gigabyte.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.compute import Handlers
from dicomflow.compute.submit import run_tasks
from dicomflow.config import load_config
from dicomflow.model import SOURCE_FILE_SCHEMA, ScanResult, ScanTask
from dicomflow.pipeline import reading
from dicomflow.pipeline.stages import Stages
from dicomflow.schema.profile import load_profile
from dicomflow.summary import Totals
from dicomflow.watch import Watcher
from dicomflow.worker import ScanJob
from tests.cluster.simulation import Simulation

BATCH = 65_536
LIMIT = 1 << 30


def list_simulated(files: int) -> Iterator[pa.Table]:
    """What listing an archive gives: long paths, sizes, times."""
    for start in range(0, files, BATCH):
        numbers = pa.array(np.arange(start, min(start + BATCH, files)))
        study = pc.cast(pc.divide(numbers, 400), pa.string())
        names = pc.binary_join_element_wise(
            "/archive/2019/1.2.840.113619.2.1", study, "series", pc.cast(numbers, pa.string()), "/"
        )
        columns = {field.name: pa.nulls(len(numbers), field.type) for field in SOURCE_FILE_SCHEMA}
        columns |= {
            "uri": names,
            "size": pc.add(pc.multiply(numbers, 0), 532_480),
            "mtime": pc.cast(pc.add(numbers, 1_500_000_000_000_000), pa.timestamp("us")),
        }
        yield pa.table(columns, schema=SOURCE_FILE_SCHEMA)


class SimulatedCluster:
    """Tasks end as soon as they are submitted; their part of the plan is read, counted and removed."""

    dashboard: str | None = None

    def __init__(self, workers: int) -> None:
        self.transport = Simulation(run=self._end, is_poison=lambda _: False, workers=workers, death=0.0)
        self.files = self.tasks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def map(
        self, function: Any, tasks: Iterable[Any], *, name: str, on: Handlers[Any, Any], span: Sequence[str]
    ) -> None:
        run_tasks(iter(tasks), self.transport, on)

    def _end(self, task: ScanTask) -> ScanResult:
        self.files += task.files
        self.tasks += 1
        Path(task.plan).unlink()
        return ScanResult(task_id=task.task_id, files=task.files, data_files=(), counts={("ok", None): task.files})


def plan(listing: Iterator[pa.Table], files: int, workers: int) -> SimulatedCluster:
    """Plan and submit these files, so many."""
    cluster, totals = SimulatedCluster(workers), Totals()
    config = load_config(None, {"compute.scheduler": "tcp://127.0.0.1:8786", "compute.workers": workers})
    with tempfile.TemporaryDirectory() as folder, patch.object(reading, "open_cluster", lambda *_: cluster):
        job = ScanJob(run_id="r", started=0, staging=folder, profile=load_profile("minimal"), config=config)
        about = reading.About(plan=Path(folder) / "plan", fingerprint="f", sources=["/archive"])
        seen = Watch(files, totals)
        books = reading.Books(totals=totals, stages=Stages(), watcher=Watcher(), changed=seen)
        reading.Reading(job, about, books).read(listing)
    assert cluster.files == totals.done == files and totals.counts == {("ok", None): files}
    return cluster


class Watch:
    """Prints how it goes, a tenth at a time."""

    def __init__(self, files: int, totals: Totals) -> None:
        self._files = files
        self._totals = totals
        self._next = files // 10
        self._started = time.perf_counter()

    def __call__(self) -> None:
        if self._totals.done >= self._next:
            self._next += max(1, self._files // 10)
            memory = psutil.Process().memory_info().rss
            seconds = time.perf_counter() - self._started
            print(f"{self._totals.done:>13,} files  {seconds:7.1f} s  {memory / 1e6:6.0f} MB", flush=True)


def main() -> int:
    """Exit code 1 where the driver needed more than a gigabyte."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000_000)
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    cluster = plan(list_simulated(options.files), options.files, options.workers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{cluster.files:,} files in {cluster.tasks:,} tasks, at most {cluster.transport.most_in_flight:,} in flight; "
        f"the driver's peak memory was {peak / 1e6:,.0f} MB"
    )
    return 0 if peak < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
