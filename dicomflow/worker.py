"""One task where the data is: read each file's header, write the rows and the ledger of the task.

In: a ScanTask and the job's settings.  Out: DataFiles in staging and a ScanResult of a few hundred bytes.
Knows neither Dask nor what other tasks do.  Expected faults of files are data: nothing a file holds raises.

Reading is one open, one read of a prefix, one close; a second read only where the header is longer.  Memory is bounded by the
batch.
"""

from __future__ import annotations

import os
import resource
import stat
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dicomflow.batch import Batch, RowFacts, build_batch
from dicomflow.config import Config
from dicomflow.dataset.ledger import LedgerRows
from dicomflow.dataset.plan_parts import read_plan
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import Code, Status
from dicomflow.header.element import Limits
from dicomflow.header.reader import HeaderReader
from dicomflow.header.verdict import EMPTY, ENDS_EARLY, NEED_MORE, TRUNCATED
from dicomflow.log import bound_task, get_logger
from dicomflow.model import DataFile, Outcome, ScanResult, ScanTask
from dicomflow.schema.arrow import files_schema, instances_schema
from dicomflow.schema.profile import Profile
from dicomflow.sources.local import code_for_os_error
from dicomflow.uri import path_from_uri

_log = get_logger("worker")

MAX_BATCH_BYTES = 1 << 27
"""Raw values of all rows that a batch may hold before it is written, whatever its number of rows."""

MAX_PREFIX_BYTES = 1 << 20
"""The first read of a file never takes more than this."""

MIN_PREFIX_BYTES = 1 << 12
PREFIX_WINDOW = 128
"""After so many files the first read is fitted to the longest header among as many rows."""

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0)  # never wait for a FIFO

_UNFINISHED = frozenset({NEED_MORE, TRUNCATED, ENDS_EARLY})
"""Verdicts after which the file is read on: a first read that came back short may have been cut, not ended."""

_SPECIAL = Outcome(status=Status.SKIPPED, code=Code.SPECIAL_FILE, message="became a special file after it was listed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanJob:
    """What all tasks of a run have in common; travels once per task and stays small."""

    run_id: str
    started: int  # microseconds since the epoch
    staging: str
    profile: Profile
    config: Config


def scan_task(task: ScanTask, job: ScanJob) -> ScanResult:
    """Read all files of a task; write ``instances`` and ``files`` parts into the run's staging folder.

    Raises:
        DatasetError: the plan cannot be read, or a part cannot be written.
    """
    with bound_task(task.task_id):
        result = _TaskRun(task.task_id, read_plan(task), job).run()
        _log.info("task_done", files=result.files, seconds=sum(result.seconds.values()))
    return result


@dataclass(slots=True)
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


class _Prefix:
    """How much of each file the first read takes: follows the headers of late, so that one read is nearly always enough."""

    def __init__(self, reader: HeaderReader, first: int, largest: int) -> None:
        self.size = first
        self._smallest = min(first, MIN_PREFIX_BYTES)
        # beyond the limit of a header, its outcome would depend on its neighbours
        self._largest = min(largest, MAX_PREFIX_BYTES)
        self.buffers = [reader.view[:first]]
        self.buffer = reader.buffer

    def enlarge(self, reader: HeaderReader, length: int) -> None:
        """At once after a header that was longer."""
        self._resize(reader, min(length + length // 4, self._largest))

    def settle(self, reader: HeaderReader, lengths: Sequence[int]) -> None:
        """From time to time: no more than the longest header of late, and a quarter."""
        if len(lengths) >= PREFIX_WINDOW:
            longest = max(lengths[-PREFIX_WINDOW:])
            self._resize(reader, min(longest + longest // 4, self.size))

    def renew(self, reader: HeaderReader) -> None:
        """The reader has another buffer since a longer header: read into that one, and give back what was giant."""
        self._resize(reader, self.size)

    def _resize(self, reader: HeaderReader, size: int) -> None:
        self.size = max(size, self._smallest)
        if not self.size <= len(reader.buffer) <= MAX_PREFIX_BYTES * 4:
            reader.grow(self.size)
        self.buffer = reader.buffer
        self.buffers = [reader.view[: self.size]]


class _TaskRun:
    """The state of one running task."""

    def __init__(self, task_id: str, files: pa.Table, job: ScanJob) -> None:
        header = job.config.header
        self.task_id = task_id
        self.files = files
        self.job = job
        # of this attempt: another one, of a worker that was taken for lost, writes under names of its own
        self.stem = f"{task_id}-{uuid.uuid4().hex[:8]}"
        self.rows = min(header.batch_rows, max(1, files.num_rows))
        self.reader = HeaderReader(
            job.profile.columns,
            rows=self.rows,
            limits=Limits.from_config(header),
            prefix_bytes=header.prefix_bytes,
            headers_only=header.headers_only,
        )
        self.prefix = _Prefix(self.reader, header.prefix_bytes, header.max_header_bytes)
        self.ledger = LedgerRows(files.num_rows)
        self.facts = RowFacts()
        self.data_files: list[DataFile] = []
        self.clock = _Clock()
        self.header_bytes = self.issues = self.fallback_files = 0

    def run(self) -> ScanResult:
        uris = self.files["uri"].to_pylist()
        for index, uri in enumerate(uris):
            self._read_file(index, uri if uri[0] == "/" else path_from_uri(uri))
            if self.reader.batch.rows >= self.rows or self.reader.batch.value_bytes > MAX_BATCH_BYTES:
                self._write_batch()
            if index % PREFIX_WINDOW == 0:
                self.prefix.settle(self.reader, self.facts.header_bytes)
        if self.reader.batch.rows:
            self._write_batch()
        self.clock.lap("read")
        self._write_ledger()
        self.clock.lap("write")
        return ScanResult(
            task_id=self.task_id,
            files=self.files.num_rows,
            data_files=tuple(self.data_files),
            counts=self.ledger.counts(),
            header_bytes=self.header_bytes,
            file_bytes=pc.sum(self.files["size"]).as_py() or 0,
            fallback_files=self.fallback_files,
            issues=self.issues,
            seconds=self.clock.seconds,
            peak_rss=_peak_rss(),
        )

    def _read_file(self, index: int, path: str) -> None:
        """Read one header; whatever happens is an outcome."""
        reader = self.reader
        if reader.buffer is not self.prefix.buffer:
            self.prefix.renew(reader)
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
        except (OSError, ValueError) as error:
            return self.ledger.set(index, _os_outcome(error))
        try:
            size = os.readv(descriptor, self.prefix.buffers)
            verdict = reader.scan(size, size < self.prefix.size)
            if verdict in _UNFINISHED:
                self._read_more(descriptor, size)
            elif verdict == EMPTY and not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return self.ledger.set(index, _SPECIAL)
        except BlockingIOError:  # a FIFO or a device with nothing to read yet
            reader.abandon()
            return self.ledger.set(index, _SPECIAL)
        except OSError as error:
            reader.abandon()
            return self.ledger.set(index, _os_outcome(error))
        finally:
            os.close(descriptor)
        return self._accept(index)

    def _read_more(self, descriptor: int, size: int) -> None:
        """Read on until the scanner is content, the file ends, or the header is too long."""
        reader, limit = self.reader, self.job.config.header.max_header_bytes
        total = os.fstat(descriptor).st_size
        while True:
            rest = total + 1 if total >= size else limit  # the file may have grown since
            wanted = min(max(reader.needed, 2 * size), rest, limit)
            if wanted > len(reader.buffer):
                reader.grow(wanted)
            while size < wanted and (count := os.preadv(descriptor, [reader.view[size:wanted]], size)):
                size += count
            at_end = size < wanted
            if reader.scan(size, at_end) != NEED_MORE:
                return None
            if at_end or size >= limit:
                return reader.give_up(size)

    def _accept(self, index: int) -> None:
        reader, facts = self.reader, self.facts
        outcome = reader.accept()
        if reader.batch.rows > len(facts.file):
            header = reader.header
            length = len(header)
            facts.file.append(index)
            facts.header_bytes.append(length)
            facts.digest.append(xxhash.xxh3_64_hexdigest(header))
            if outcome is not None or reader.has_remarks or reader.by_pydicom:
                self._note_exception(index, outcome)
            if length > self.prefix.size - 8:
                self.prefix.enlarge(reader, length)
        if outcome is not None:
            self.ledger.set(index, outcome)

    def _note_exception(self, index: int, outcome: Outcome | None) -> None:
        """What is special about the row added last: few rows have anything."""
        row = len(self.facts.file) - 1
        if outcome is not None:
            self.facts.partial.append(row)
        if self.reader.has_remarks:
            self.facts.remarks[row] = self.reader.remarks()
        if self.reader.by_pydicom:
            self.fallback_files += 1
            self.ledger.by_pydicom.append(index)

    def _write_batch(self) -> None:
        self.clock.lap("read")
        batch = build_batch(self.reader, self.facts, self.files)
        self._book(batch)
        self.reader.batch.reset()
        self.facts = RowFacts()
        self.clock.lap("decode")
        if batch.rows.num_rows:
            name = f"{self.stem}-{len(self.data_files)}.parquet"
            self.data_files.append(
                write_data_file(
                    pa.Table.from_batches([batch.rows]),
                    instances_schema(self.job.profile),
                    "instances",
                    Path(self.job.staging),
                    name,
                    self.job.config.dataset,
                )
            )
        self.clock.lap("write")

    def _book(self, batch: Batch) -> None:
        """Enter the batch's keys and digests in the ledger; a key that cannot be read makes the file a failed one."""
        self.issues += batch.issues
        self.header_bytes += sum(self.facts.header_bytes)
        self.ledger.add_batch(self.facts.file, batch.keys, self.facts.digest)
        for row in batch.rows_without_key():
            self.ledger.set(
                self.facts.file[row],
                Outcome(
                    status=Status.FAILED,
                    code=Code.MISSING_SOP_INSTANCE_UID,
                    message="SOPInstanceUID (0008,0018) cannot be read as a UID",
                ),
            )

    def _write_ledger(self) -> None:
        rows = self.ledger.to_table(self.files, self.job.run_id, self.job.started)
        self.data_files.append(
            write_data_file(
                rows,
                files_schema(),
                "files",
                Path(self.job.staging),
                f"{self.stem}.parquet",
                self.job.config.dataset,
            )
        )


def _os_outcome(error: OSError | ValueError) -> Outcome:
    """Why a file could not be opened or read (ValueError: a name that no file can have)."""
    if not isinstance(error, OSError):
        return Outcome(status=Status.FAILED, code=Code.NOT_FOUND, message="not a possible file name")
    message = os.strerror(error.errno) if error.errno else "cannot be read"
    return Outcome(status=Status.FAILED, code=code_for_os_error(error), message=message)


def _peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
