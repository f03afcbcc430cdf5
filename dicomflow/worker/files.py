"""Read the headers of files one after the other: one open, one read of a prefix, one close.

In: paths.  Out: rows in the batch of a ``HeaderReader``, and what is special about a file, in a ``Stint``.
Knows neither Parquet nor the ledger.  A second read only where the header is longer than the prefix.

It runs in a watched thread (``worker.watch``): whatever may not come back stands where ``turn.inside`` is set, and
touches nothing there but the buffer, which whoever goes on in its place replaces.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

from dicomflow.batch import RowFacts
from dicomflow.config import HeaderConfig
from dicomflow.errors import Code, Status
from dicomflow.header.element import Limits
from dicomflow.header.reader import HeaderReader
from dicomflow.header.verdict import EMPTY, ENDS_EARLY, NEED_MORE, TRUNCATED
from dicomflow.model import Outcome
from dicomflow.schema.column import Column
from dicomflow.sources.rows import code_for_os_error
from dicomflow.uri import path_from_uri
from dicomflow.worker.ahead import OPEN_FLAGS, ReadAhead
from dicomflow.worker.meter import SAMPLE, FileTimes
from dicomflow.worker.retry import may_pass
from dicomflow.worker.watch import GivenUp, Turn

MAX_BATCH_BYTES = 1 << 27
"""Raw values of all rows that a batch may hold before it is written, whatever its number of rows."""

MAX_PREFIX_BYTES = 1 << 20
"""The first read of a file never takes more than this."""

MIN_PREFIX_BYTES = 1 << 12
PREFIX_WINDOW = 128
"""After so many files the first read is fitted to the longest header among as many rows."""

_UNFINISHED = frozenset({NEED_MORE, TRUNCATED, ENDS_EARLY})
"""Verdicts after which the file is read on: a first read that came back short may have been cut, not ended."""

SPECIAL = Outcome(status=Status.SKIPPED, code=Code.SPECIAL_FILE, message="became a special file after it was listed")
_LATE = Outcome(
    status=Status.FAILED,
    code=Code.TIMEOUT,
    message="a read did not come back within header.max_seconds: the storage hangs",
)


@dataclass(slots=True)
class Stint:
    """Files that are read without a look at anything else, and what came of them.

    ``outcomes`` and ``by_pydicom`` name files by index, and only those that are not plain ``ok``; of the files in ``passing``
    another attempt may give more than this outcome.
    """

    indexes: Sequence[int]
    until: float  # perf_counter: no file is begun after this
    times: FileTimes = field(default_factory=FileTimes)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    passing: dict[int, Outcome] = field(default_factory=dict)
    by_pydicom: list[int] = field(default_factory=list)
    settled: int = -1  # the last file that was read and had only to be closed

    @property
    def done(self) -> Sequence[int]:
        """The files that were begun; all of them have their outcome, unless the last one hangs."""
        return self.indexes[: len(self.times.begun)]


class FileReader:
    """Collects the headers of a task's files in batches.

    Args:
        uris: of the files.
        columns: what to take of each header.
        config: limits, and the size of the first read.
    """

    reads_ahead = True
    """Whether ``ahead`` may be set."""

    def __init__(self, uris: Sequence[str], columns: Sequence[Column], config: HeaderConfig) -> None:
        self.uris = uris
        self._rows = min(config.batch_rows, max(1, len(uris)))
        self.headers = HeaderReader(
            columns,
            rows=self._rows,
            limits=Limits.from_config(config),
            prefix_bytes=config.prefix_bytes,
            headers_only=config.headers_only,
        )
        self.prefix = _Prefix(self.headers, config.prefix_bytes, config.max_header_bytes)
        self.facts = RowFacts()
        self.ahead: ReadAhead | None = None
        """Has opened the next files already, where storage is slow."""
        self._limit = config.max_header_bytes

    @property
    def room(self) -> int:
        """How many more rows the batch takes; none where it is to be written before another file is read."""
        batch = self.headers.batch
        return 0 if batch.value_bytes > MAX_BATCH_BYTES else int(self._rows - batch.rows)

    def member_of(self, index: int) -> str | None:
        """Its name in an archive; None for a plain file."""
        return None

    def begin_batch(self) -> None:
        """Forget the rows."""
        self.headers.batch.reset()
        self.facts = RowFacts()

    def read(self, stint: Stint, turn: Turn) -> None:
        """Read files of the stint until they are done, their values are too many, or it is time; the first in any case.

        The stint has no more files than the batch has ``room`` for.
        """
        batch, begun, until, clock = self.headers.batch, stint.times.begun, stint.until, time.perf_counter
        for place, index in enumerate(stint.indexes):
            start = clock()
            if start > until and place:
                break
            begun.append(start)
            self._read_file(index, start, stint, turn)
            if batch.value_bytes > MAX_BATCH_BYTES:
                break
            if place % PREFIX_WINDOW == 0:
                self.prefix.settle(self.headers, self.facts.header_bytes)
        stint.times.end = clock()

    def recover(self, stint: Stint, *, is_late: bool) -> None:
        """Make good what a thread left that was given up in this stint.

        The next one gets a buffer of its own, since a read that comes back late still fills this one.

        Args:
            stint: its last file gets its outcome, or is taken out of it.
            is_late: whether that file had its time.
        """
        times = stint.times
        times.end = time.perf_counter()
        if stint.done and stint.done[-1] != stint.settled:  # else it is the closing that hangs
            if is_late:
                stint.outcomes[stint.done[-1]] = _LATE
            else:
                times.begun.pop()
        self.headers.abandon()
        self.headers.grow(len(self.headers.buffer))

    def _read_file(self, index: int, start: float, stint: Stint, turn: Turn) -> None:  # noqa: C901 (a call costs)
        """Read one header; whatever happens is an outcome.  The hot path: no call that is not needed."""
        headers, uri = self.headers, self.uris[index]
        if headers.buffer is not self.prefix.buffer:
            self.prefix.renew(headers)
        buffers = self.prefix.buffers  # of this thread, whatever happens while it is inside
        turn.inside = start
        fetched = None if self.ahead is None else self.ahead.take(index, turn)
        try:
            path = uri if uri[0] == "/" else path_from_uri(uri)
            turn.held = descriptor = os.open(path, OPEN_FLAGS) if fetched is None else fetched.open()
        except (OSError, ValueError) as error:
            return self._refuse(index, error, stint, turn)
        try:
            wanted = self.prefix.size
            if fetched is None:
                size = os.readv(descriptor, buffers)
            else:
                size, wanted = fetched.copy_to(buffers[0])
            turn.inside = None
            if turn.given_up:
                raise GivenUp
            came = None if index % SAMPLE else self._scan_clock()
            verdict = headers.scan(size, size < wanted)
            if verdict in _UNFINISHED:
                came = None
                self._read_more(descriptor, size, stint, turn)
            if verdict == EMPTY and not stat.S_ISREG(_stat(descriptor, start, turn).st_mode):
                stint.outcomes[index] = SPECIAL
            else:
                self._accept(index, stint)
            if came is not None:
                stint.times.sample(self._scan_clock() - came)
        except OSError as error:
            self._refuse(index, error, stint, turn)
        stint.settled = index
        turn.inside = start
        turn.held = -1
        try:  # noqa: SIM105 (``suppress`` costs more than the call)
            os.close(descriptor)
        except OSError:
            pass  # the header was read, and nothing was written
        turn.inside = None
        if turn.given_up:
            raise GivenUp
        return None

    def _read_more(self, descriptor: int, size: int, stint: Stint, turn: Turn) -> None:
        """Read on until the scanner is content, the file ends, or the header is too long."""
        reader, limit, times = self.headers, self._limit, stint.times
        begun = times.begun[-1]
        total = _stat(descriptor, begun, turn).st_size
        while True:
            rest = total + 1 if total >= size else limit  # the file may have grown since
            wanted = min(max(reader.needed, 2 * size), rest, limit)
            if wanted > len(reader.buffer):
                reader.grow(wanted)
            view = reader.view  # of this thread, whatever happens while it is inside
            turn.inside = begun
            while size < wanted and (count := os.preadv(descriptor, [view[size:wanted]], size)):
                size += count
            turn.leave()
            came = self._scan_clock()
            is_last = reader.scan(size, at_end := size < wanted) != NEED_MORE
            if not is_last and (at_end or size >= limit):
                reader.give_up(size)
                is_last = True
            times.scanning_on += self._scan_clock() - came
            if is_last:
                return

    def _scan_clock(self) -> float:
        """A clock that stands still while a data set is inflated."""
        return time.perf_counter() - self.headers.inflate_seconds

    def _refuse(self, index: int, error: OSError | ValueError, stint: Stint, turn: Turn) -> None:
        """A call failed, which is still to be left: say how."""
        is_special = isinstance(error, BlockingIOError) and turn.held >= 0 and not _is_regular(turn.held)
        turn.leave()
        self.headers.abandon()
        if is_special:  # a FIFO or a device with nothing to read yet
            stint.outcomes[index] = SPECIAL
        else:
            (stint.passing if may_pass(error) else stint.outcomes)[index] = _os_outcome(error)

    def _accept(self, index: int, stint: Stint) -> None:
        reader, facts = self.headers, self.facts
        outcome = reader.accept()
        if reader.batch.rows > len(facts.file):
            header = reader.header
            length = len(header)
            facts.file.append(index)
            facts.header_bytes.append(length)
            facts.digest.append(xxhash.xxh3_64_hexdigest(header))
            if outcome is not None or reader.has_remarks or reader.by_pydicom:
                self._note_exception(index, outcome, stint)
            if length > self.prefix.size - 8:
                self.prefix.enlarge(reader, length)
        if outcome is not None:
            stint.outcomes[index] = outcome

    def _note_exception(self, index: int, outcome: Outcome | None, stint: Stint) -> None:
        """What is special about the row added last: few rows have anything."""
        row = len(self.facts.file) - 1
        if outcome is not None:
            self.facts.partial.append(row)
        if self.headers.has_remarks:
            self.facts.remarks[row] = self.headers.remarks()
        if self.headers.by_pydicom:
            stint.by_pydicom.append(index)


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


def _stat(descriptor: int, begun: float, turn: Turn) -> os.stat_result:
    turn.inside = begun
    found = os.fstat(descriptor)
    turn.leave()
    return found


def _is_regular(descriptor: int) -> bool:
    """As far as can be told: a storage that fails is no reason to take a file for something else."""
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True


def _os_outcome(error: OSError | ValueError) -> Outcome:
    """Why a file could not be opened or read (ValueError: a name that no file can have)."""
    if not isinstance(error, OSError):
        return Outcome(status=Status.FAILED, code=Code.NOT_FOUND, message="not a possible file name")
    message = os.strerror(error.errno) if error.errno else "cannot be read"
    return Outcome(status=Status.FAILED, code=code_for_os_error(error), message=message)
