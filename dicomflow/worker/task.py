"""The story of one task: read its files, write batches of rows, try again what may do better, write the ledger.

In: a ScanTask and the job's settings.  Out: DataFiles in staging and a ScanResult of a few hundred bytes.
Knows neither Dask nor what other tasks do.  Memory is bounded by the batch.
"""

from __future__ import annotations

import resource
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from dicomflow.batch import Batch, build_batch
from dicomflow.config import Config
from dicomflow.dataset.ledger import LedgerRows
from dicomflow.dataset.plan_parts import read_plan
from dicomflow.dataset.records import write_records
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import Code, Status
from dicomflow.log import bound_task, get_logger
from dicomflow.model import BatchDone, DataFile, Outcome, ScanResult, ScanTask
from dicomflow.schema.arrow import files_schema, instances_schema
from dicomflow.schema.profile import Profile
from dicomflow.worker.ahead import Gear, ReadAhead
from dicomflow.worker.books import Books
from dicomflow.worker.failures import FailureLog
from dicomflow.worker.files import Stint
from dicomflow.worker.members import make_reader
from dicomflow.worker.meter import Meter
from dicomflow.worker.retry import try_again
from dicomflow.worker.watch import WatchedThread

LOOKS = 16
"""After so many files a task looks how long they take."""

NOTE_SECONDS = 0.5
"""After so long, a note says how far the task is: each costs the worker, the scheduler and the driver a millisecond."""

Note = Callable[[BatchDone], None]

_NO_KEY = Outcome(
    status=Status.FAILED,
    code=Code.MISSING_SOP_INSTANCE_UID,
    message="SOPInstanceUID (0008,0018) cannot be read as a UID",
)

_log = get_logger("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanJob:
    """What all tasks of a run have in common; travels once per task and stays small."""

    run_id: str
    started: int  # microseconds since the epoch
    staging: str
    profile: Profile
    config: Config


def scan_task(task: ScanTask, job: ScanJob, note: Note | None = None) -> ScanResult:
    """Read all files of a task; write ``instances`` and ``files`` parts into the run's staging folder.

    Args:
        task: which files.
        job: how, and where to.
        note: called in this thread whenever some more files are done; what it is given adds up to the result.

    Raises:
        StorageHangs: too many reads do not come back.
        DatasetError: the plan cannot be read, or a part cannot be written.
    """
    with bound_task(task.task_id):
        result = _TaskRun(task, job, note or _say_nothing).run()
        _log.info("task_done", files=result.files, retries=result.retries, seconds=sum(result.seconds.values()))
    return result


def _say_nothing(_done: BatchDone) -> None:
    """Nobody wants to know."""


class _TaskRun:
    """The state of one running task."""

    def __init__(self, task: ScanTask, job: ScanJob, note: Note) -> None:
        self.meter = Meter()
        self.task_id = task.task_id
        self.files = read_plan(task)
        self.job = job
        self.note = note
        # of this attempt: another one, of a worker that was taken for lost, writes under names of its own
        self.stem = f"{task.task_id}-{uuid.uuid4().hex[:8]}"
        self.reader = make_reader(self.files, job.profile.columns, job.config.header)
        self.uris = self.reader.uris
        self.thread = WatchedThread(job.config.header.max_seconds)
        may_read_ahead = self.reader.reads_ahead and len(self.uris) > LOOKS
        self.gear = Gear(job.config.header.read_ahead if may_read_ahead else 0)
        self.ledger = LedgerRows(len(self.uris))
        self.failures = FailureLog()
        self.data_files: list[DataFile] = []
        # files that may do better another time: their outcome else, and how long they took
        self.passing: dict[int, tuple[Outcome, float]] = {}
        self.issues = self.fallback_files = 0
        self.books = Books(task.task_id, self.files["size"])

    def run(self) -> ScanResult:
        with self.thread:
            left = self._read_first()
            try_again(left, self._read_again, self.job.config.retry, self._sleep)
        self._settle_passing()
        if self.reader.headers.batch.rows:
            self._write_batch()
        self.failures.close()
        self._write_ledger()
        self._note()
        self.meter.lap("other")
        return self._result()

    def _result(self) -> ScanResult:
        books = self.books
        return ScanResult(
            task_id=self.task_id,
            files=books.files,
            data_files=tuple(self.data_files),
            counts=self.ledger.counts(),
            header_bytes=books.header_bytes,
            file_bytes=books.file_bytes,
            fallback_files=self.fallback_files,
            issues=self.issues,
            seconds=self.meter.seconds,
            peak_rss=_peak_rss(),
            retries=books.retries,
            latency=self.meter.latency,
        )

    # ---- reading ----

    def _read_first(self) -> list[int]:
        """Read all files, where storage is slow with others ahead; the indexes of those whose fault may pass."""
        try:
            return self._read_all(range(len(self.uris)))
        finally:
            self._read_alone()  # what is tried again is few, and not in order

    def _read_all(self, indexes: Sequence[int]) -> list[int]:
        """Read these files; the indexes of those whose fault may pass."""
        place = 0
        while place < len(indexes):
            most = self.reader.room if place else min(self.reader.room, LOOKS)
            stint = self._read_some(indexes[place : place + most])
            place += len(stint.done)
            self._book(stint)
            if not self.reader.room:
                self._write_batch()
            if place != LOOKS or place == len(indexes):  # a look is soon over
                self._note()
        return list(self.passing)

    def _read_again(self, indexes: list[int]) -> list[int]:
        self.passing.clear()
        self.ledger.try_again(indexes)
        self.books.retries += len(indexes)
        return self._read_all(indexes)

    def _read_some(self, indexes: Sequence[int]) -> Stint:
        """Let the thread read until it is time to look at what came of it."""
        self.meter.lap("other")
        stint = Stint(indexes, until=time.perf_counter() + NOTE_SECONDS)
        inflated, rows = self.reader.headers.inflate_seconds, len(self.reader.facts.file)
        if not self.thread.run(partial(self.reader.read, stint), self.uris[indexes[0]]):
            self.reader.recover(stint, is_late=self.thread.is_late)
            self._read_alone()  # threads that hang may hold every file
        stint.times.inflating = self.reader.headers.inflate_seconds - inflated
        self.meter.lap_files(stint.times)
        self._shift(stint)
        self.books.header_bytes += sum(self.reader.facts.header_bytes[rows:])
        return stint

    def _shift(self, stint: Stint) -> None:
        """Have files read ahead, or no more, by how long these took."""
        ahead = self.reader.ahead
        threads = self.gear.shift(stint.times.latencies(), ahead.fetch_seconds() if ahead else 0.0)
        if ahead is not None and not threads:
            self._end_ahead()
        elif ahead is None and threads:
            start = stint.indexes[0] + len(stint.done)
            self.reader.ahead = ReadAhead(self.uris, start, lambda: self.reader.prefix.size, threads)

    def _read_alone(self) -> None:
        """From now on no file is read ahead, however slow storage is."""
        self.gear = Gear(0)
        self._end_ahead()

    def _end_ahead(self) -> None:
        if self.reader.ahead is not None:
            self.reader.ahead.close()
            self.reader.ahead = None

    def _book(self, stint: Stint) -> None:
        """Enter what came of a stint; what may pass is kept back until there is no other attempt."""
        done = stint.done
        for index, outcome in stint.outcomes.items():
            self._settle(index, outcome)
        self.fallback_files += len(stint.by_pydicom)
        self.ledger.by_pydicom.extend(stint.by_pydicom)
        latencies = stint.times.latencies()
        if stint.passing:
            seconds = dict(zip(done, latencies.tolist(), strict=True))
            self.passing.update((index, (outcome, seconds[index])) for index, outcome in stint.passing.items())
            done = [index for index in done if index not in stint.passing]
            latencies = np.array([seconds[index] for index in done])
        self.meter.count(latencies)
        self.books.settle(done)

    def _settle_passing(self) -> None:
        """There is no other attempt."""
        for index, (outcome, _) in self.passing.items():
            self._settle(index, outcome)
        self.meter.count(np.array([seconds for _, seconds in self.passing.values()]))
        self.books.settle(list(self.passing))

    def _settle(self, index: int, outcome: Outcome) -> None:
        self.ledger.set(index, outcome)
        self.failures.note(self.uris[index], self.reader.member_of(index), outcome)

    def _sleep(self, seconds: float) -> None:
        """Before files are tried again."""
        _log.warning("storage_fails", files=len(self.passing), wait=round(seconds, 3))
        self.meter.lap("other")
        time.sleep(seconds)
        self.meter.lap("wait")

    def _note(self) -> None:
        """Say what was done since the last time."""
        self.books.failed = self.ledger.failed
        if (done := self.books.take()) is not None:
            self.note(done)

    # ---- writing ----

    def _write_batch(self) -> None:
        self.meter.lap("other")
        facts = self.reader.facts
        batch = build_batch(self.reader.headers, facts, self.files)
        self.issues += batch.issues
        self.ledger.add_batch(facts.file, batch.keys, facts.digest)
        for row in batch.rows_without_key():
            self._settle(facts.file[row], _NO_KEY)
        self.reader.begin_batch()
        self.meter.lap("decode")
        if batch.rows.num_rows:
            self._write_rows(batch)
        self.meter.lap("write")

    def _write_rows(self, batch: Batch) -> None:
        rows, schema = pa.Table.from_batches([batch.rows]), instances_schema(self.job.profile)
        name = f"{self.stem}-{len(self.data_files)}.parquet"
        write_records(rows, Path(self.job.staging), name)
        self._write(rows, schema, "instances", name)

    def _write_ledger(self) -> None:
        self.meter.lap("other")
        rows = self.ledger.to_table(self.files, self.job.run_id, self.job.started)
        self._write(rows, files_schema(), "files", f"{self.stem}.parquet")
        self.meter.lap("write")

    def _write(self, rows: pa.Table, schema: pa.Schema, table: str, name: str) -> None:
        folder, config = Path(self.job.staging), self.job.config.dataset
        self.data_files.append(write_data_file(rows, schema, table, folder, name, config))


def _peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
