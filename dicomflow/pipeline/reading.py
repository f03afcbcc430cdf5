"""Files onto a cluster: plan tasks as files are found, run them, book what comes back.

In: SourceFiles to be read, as they are found.  Out: parts in staging, ``Totals``.  A bounded number of tasks exists at a time;
the others are not planned yet.  Knows neither how a task works nor what a commit is.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from dicomflow import __version__
from dicomflow.compute import (
    Cluster,
    Handlers,
    Loss,
    Note,
    WorkerCounts,
    choose_scheduler,
    count_workers,
    depends_on_job,
    open_cluster,
    record_stages,
)
from dicomflow.dataset.changes import is_below
from dicomflow.dataset.commit import discard
from dicomflow.dataset.ledger import LedgerRows
from dicomflow.dataset.plan_parts import cut_task, read_plan, write_plan
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import Code, ComputeError, OutOfMemory, Status
from dicomflow.log import LogContext, get_logger, joined, log_context, write_relayed
from dicomflow.model import BatchDone, Outcome, ScanResult, ScanTask
from dicomflow.pipeline.outlook import foresee
from dicomflow.pipeline.stages import Stages
from dicomflow.plan import cut_slice, group_files, make_task_id
from dicomflow.schema.arrow import files_schema
from dicomflow.summary import Totals
from dicomflow.surprise import contain
from dicomflow.uri import path_from_uri
from dicomflow.watch import Watcher
from dicomflow.worker import ScanJob, scan_task

PIECES = 8
"""A task that was lost is divided into so many: of 16,384 files, one is found in five rounds."""

_KILLS = Outcome(status=Status.FAILED, code=Code.WORKER_KILLED, message="every worker that read this file died")
_NO_MEMORY = Outcome(
    status=Status.FAILED,
    code=Code.OUT_OF_MEMORY,
    message="reading this file takes more memory than a process gets that reads nothing else",
)

_log = get_logger("pipeline")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the driver knows of the tasks, and workers need not.

    Attributes:
        plan: folder of the plan.
        fingerprint: of columns and versions: rows with others are other tasks'.
        sources: absolute paths; Dask's metrics are grouped by them.
    """

    plan: Path
    fingerprint: str
    sources: Sequence[str]

    def source_of(self, uri: str) -> str:
        """The SOURCE that a file is of: the longest one above it."""
        above = (source for source in self.sources if is_below(path_from_uri(uri), source))
        return max(above, key=len, default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What is kept up to date while tasks run, and who is told; ``changed`` is called when it was."""

    totals: Totals
    stages: Stages
    watcher: Watcher
    changed: Callable[[], None]


class Reading:
    """Reads headers into staging; may be asked more than once in a run, on one cluster; a context manager.

    The cluster is opened when there is something to read, and stays open until ``close``, or until the block is left.
    """

    def __init__(self, job: ScanJob, about: About, books: Books) -> None:
        """Nothing is read yet.

        Args:
            job: what all tasks have in common.
            about: what the driver knows beside it.
            books: where results are booked.
        """
        self._job = job
        self._about = about
        self._totals = books.totals
        self._stages = books.stages
        self._changed = books.changed
        self._watcher = books.watcher
        self.parts: set[str] = set()
        """Parts that workers reported, relative to staging."""
        self.tasks = 0
        self.scheduler = "threads"
        self._cluster: Cluster | None = None
        self._open = contextlib.ExitStack()
        self.seconds = 0.0
        """Wall seconds with tasks in flight."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)

    def close(self) -> None:
        """There is nothing more to read: end the cluster, which takes memory of its machine, and may cost."""
        with self._stages.of("scan"):
            self._cluster = None
            self._open.close()

    def read(self, files: Iterator[pa.Table]) -> None:
        """Read these files.

        Raises:
            ComputeError: the cluster cannot be reached or was lost.
            DatasetError: staging cannot be written.
        """
        compute, described = self._job.config.compute, self._job.config.cluster
        files = (batch for batch in files if batch.num_rows)
        first = next(files, None)
        if first is None:
            return
        with self._planning():
            files, cluster = self._open_cluster(itertools.chain([first], files))
            workers = count_workers(compute, self.scheduler, described)
            start = time.perf_counter()
            handlers = Handlers(
                done=self._book,
                split=self._split,
                give_up=self._give_up,
                note=self._hear,
                flow=self._note_flow,
                workers=self._note_workers,
            )
            run = partial(_scan_and_record, job=self._job, log=log_context(), version=__version__)
            cluster.map(
                run, self._plan(files, workers), name="scan_task", on=handlers, span=("dicomflow", self._job.run_id)
            )
            self.seconds += time.perf_counter() - start

    def _open_cluster(self, files: Iterator[pa.Table]) -> tuple[Iterator[pa.Table], Cluster]:
        """The same files, and a cluster that suits them; the one that is open, if there is one."""
        if self._cluster is not None:
            return files, self._cluster
        compute, described = self._job.config.compute, self._job.config.cluster
        seconds = 0.0
        if depends_on_job(compute, described):
            with self._stages.of("plan"):
                files, seconds = foresee(files, self._job, compute.small_job_seconds)
        self.scheduler = choose_scheduler(compute, seconds, described)
        cluster = self._cluster = self._open.enter_context(open_cluster(compute, self.scheduler, described))
        self._totals.dashboard = cluster.dashboard
        self._changed()
        return files, cluster

    @contextlib.contextmanager
    def _planning(self) -> Iterator[None]:
        """The plan is of no use to anybody when tasks are done, or given up."""
        try:
            yield
        finally:
            discard(self._about.plan)

    def _plan(self, files: Iterator[pa.Table], workers: int) -> Iterator[ScanTask]:
        """Tasks, each made when there is room for it."""
        groups = group_files(files, config=self._job.config.plan, workers=workers)
        for group in self._stages.drawn("plan", groups):
            with self._stages.of("plan"):
                task_id = make_task_id(group, self._about.fingerprint)
                task = write_plan(self._about.plan, group, task_id, self._about.source_of(group["uri"][0].as_py()))
            self.tasks += 1
            yield task

    def _book(self, result: ScanResult) -> None:
        self._totals.add(result)
        self._watcher.on_result(result)
        self.parts.update(part.path for part in result.data_files)
        self._changed()

    def _hear(self, said: dict[str, Any]) -> None:
        """On a thread of the cluster's: how far a task is, or a line of a worker's log."""
        if "log" in said:
            return write_relayed(str(said["log"]))
        # no totals change: whoever is told of those is told by one thread
        return self._watcher.on_batch(BatchDone(**said))

    def _note_flow(self, in_flight: int) -> None:
        self._totals.in_flight = in_flight

    def _note_workers(self, counts: WorkerCounts) -> None:
        """On a thread of the cluster's, like notes."""
        self._totals.workers_running, self._totals.workers_paused = counts.running, counts.paused

    def _split(self, task: ScanTask) -> list[ScanTask]:
        """What was told of a lost task does not count: the pieces begin anew."""
        self._watcher.on_task_lost(task.task_id)
        return cut_task(task, cut_slice(task.start, task.stop, PIECES))

    def _give_up(self, task: ScanTask, loss: Loss) -> None:
        """The ledger row of a file that no worker can read."""
        files = read_plan(task)
        rows = LedgerRows(files.num_rows)
        outcome = _NO_MEMORY if isinstance(loss, OutOfMemory) else _KILLS
        for index, place in enumerate(files.select(["uri", "member"]).to_pylist()):
            rows.set(index, outcome)
            where = {name: text for name, text in place.items() if text is not None}
            _log.error("file_given_up", **where, code=str(outcome.code), task_id=task.task_id)
        part = write_data_file(
            rows.to_table(files, self._job.run_id, self._job.started),
            files_schema(),
            "files",
            Path(self._job.staging),
            f"{task.task_id}-{uuid.uuid4().hex[:8]}.parquet",
            self._job.config.dataset,
        )
        self._book(ScanResult(task_id=task.task_id, files=task.files, data_files=(part,), counts=rows.counts()))


def _scan_and_record(task: ScanTask, note: Note, job: ScanJob, log: LogContext, version: str) -> ScanResult:
    """Runs on the worker: the task, with the run's log, and its stages for the dashboard.

    Raises:
        ComputeError: this worker has another dicomflow, whose rows would pass for those of this one.
    """
    if version != __version__:
        raise ComputeError(
            f"a worker has dicomflow {__version__}, and this run is of {version}: install the same version there"
        )
    with joined(log, lambda line: note({"log": line})):
        result = contain(lambda: scan_task(task, job, lambda done: note(asdict(done))))
        record_stages(result.seconds)
        return result
