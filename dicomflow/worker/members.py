"""Read the headers of members of ZIP archives, among those of plain files.

In: a task's files, some of them members.  Out: what ``FileReader`` gives, by the same rules.
Knows no directory of an archive: each member says where it lies (``sources.member``).

An archive stays open from one member to the next, and no longer than a stint.  Its descriptor is the thread's own
(``turn.held``): one that is given up closes it whenever its call comes back.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pyarrow as pa

from dicomflow.config import HeaderConfig
from dicomflow.errors import Code, Status
from dicomflow.header.verdict import EMPTY, NEED_MORE, NO_DICOM_HEADER, TOO_LONG, TRUNCATED
from dicomflow.model import Outcome
from dicomflow.schema.column import Column
from dicomflow.sources.directory import read_at
from dicomflow.sources.member import MemberPlace, parse_place
from dicomflow.unpack import FAULTS, Fault, MemberStream, Unreadable
from dicomflow.uri import path_from_uri
from dicomflow.worker.ahead import OPEN_FLAGS
from dicomflow.worker.files import SPECIAL, FileReader, Stint
from dicomflow.worker.meter import SAMPLE
from dicomflow.worker.watch import Turn

_MIN_GUESS = 512

_NO_PLACE = Outcome(
    status=Status.FAILED,
    code=Code.BAD_ARCHIVE,
    message="where it lies in the archive was noted by another version: run again",
)


def make_reader(files: pa.Table, columns: Sequence[Column], config: HeaderConfig) -> FileReader:
    """A reader of these files: most tasks have no members, and nothing of theirs is slower for it.

    Args:
        files: ``SOURCE_FILE_SCHEMA``.
        columns: what to take of each header.
        config: limits, and the size of the first read.
    """
    uris = files["uri"].to_pylist()
    if files["member"].null_count == files.num_rows:
        return FileReader(uris, columns, config)
    return MemberReader(uris, columns, config, files)


class MemberReader(FileReader):
    """Reads files, and members of archives; none ahead of the others, since members share their archive's descriptor."""

    reads_ahead = False

    def __init__(self, uris: Sequence[str], columns: Sequence[Column], config: HeaderConfig, files: pa.Table) -> None:
        super().__init__(uris, columns, config)
        self._names: list[str | None] = files["member"].to_pylist()
        self._etags: list[str | None] = files["etag"].to_pylist()
        self._sizes: list[int | None] = files["size"].to_pylist()
        self._open = ""  # uri of the archive that ``turn.held`` is of

    def member_of(self, index: int) -> str | None:
        """See ``FileReader``."""
        return self._names[index]

    def read(self, stint: Stint, turn: Turn) -> None:
        """See ``FileReader``."""
        super().read(stint, turn)
        self._close_archive(time.perf_counter(), turn)

    def _read_file(self, index: int, start: float, stint: Stint, turn: Turn) -> None:
        name = self._names[index]
        if name is None:
            self._close_archive(start, turn)
            return super()._read_file(index, start, stint, turn)
        if self.headers.buffer is not self.prefix.buffer:
            self.prefix.renew(self.headers)
        try:
            self._open_archive(self.uris[index], start, turn)
            stream, total = self._open_member(index, name, start, turn)
            self._read_member(index, stream, total, stint)
        except Unreadable as error:
            self.headers.abandon()
            stint.outcomes[index] = error.outcome
        except OSError as error:
            self._refuse(index, error, stint, turn)
            self._open = ""  # the next one opens it anew
        stint.settled = index
        if self.uris[index + 1 : index + 2] != [self.uris[index]]:
            self._close_archive(start, turn)  # once the next file is begun, that one would be blamed
        return None

    # ---- the archive ----

    def _open_archive(self, uri: str, start: float, turn: Turn) -> None:
        if turn.held >= 0 and uri == self._open:
            return
        self._close_archive(start, turn)
        turn.inside = start
        turn.held = descriptor = os.open(path_from_uri(uri), OPEN_FLAGS)
        found = os.fstat(descriptor)
        turn.leave()
        self._open = ""
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(SPECIAL)
        self._open = uri

    def _close_archive(self, start: float, turn: Turn) -> None:
        if turn.held < 0:
            return
        turn.inside = start
        descriptor, turn.held = turn.held, -1
        with suppress(OSError):  # nothing was written
            os.close(descriptor)
        turn.leave()

    # ---- the member ----

    def _open_member(self, index: int, name: str, start: float, turn: Turn) -> tuple[MemberStream, int]:
        """Where its bytes begin, and how many there are."""
        place, total = _parse(self._etags[index]), self._sizes[index]
        if place is None or total is None:
            raise Unreadable(_NO_PLACE)
        stream = MemberStream(place, partial(_read_archive, turn, start), self._limit)
        stream.begin(name, self.prefix.size)
        return stream, total

    def _read_member(self, index: int, stream: MemberStream, total: int, stint: Stint) -> None:
        size = self._load(stream, 0, min(self._guess(stream), total))
        came = self._scan_clock()
        verdict = self._scan(stream, size, total)
        if verdict != NEED_MORE and index % SAMPLE == 0:
            stint.times.sample(self._scan_clock() - came)
        while verdict == NEED_MORE and stream.fault is None and size < min(total, self._limit):
            size = self._load(stream, size, min(max(self.headers.needed, 2 * size), total, self._limit))
            came = self._scan_clock()
            verdict = self._scan(stream, size, total)
            stint.times.scanning_on += self._scan_clock() - came
        if verdict == NEED_MORE:
            self._give_up(size, stream.fault or (Fault.TOO_LONG if size < total else Fault.WRONG))
        self._accept(index, stint)

    def _guess(self, stream: MemberStream) -> int:
        """How many bytes the header may need: of what is deflated each one costs, and neighbours are alike."""
        lengths = self.facts.header_bytes
        if not (stream.is_deflated and lengths):
            return self.prefix.size
        return min(self.prefix.size, lengths[-1] + lengths[-1] // 16 + _MIN_GUESS)

    def _load(self, stream: MemberStream, size: int, wanted: int) -> int:
        """Fill the buffer up to ``wanted`` bytes, as far as there are any."""
        if wanted > len(self.headers.buffer):
            self.headers.grow(wanted)
        inflating = stream.seconds
        data = stream.read(wanted - size)
        self.headers.inflate_seconds += stream.seconds - inflating
        self.headers.view[size : size + len(data)] = data
        return size + len(data)

    def _scan(self, stream: MemberStream, size: int, total: int) -> int:
        """See ``HeaderReader``.  Only a header that ends with its member asks for the bytes to be those that were packed."""
        reader = self.headers
        verdict = reader.scan(size, at_end=False)
        if verdict != NEED_MORE or size < total or stream.fault or zlib.crc32(reader.view[:size]) != stream.crc:
            return verdict
        return reader.scan(size, at_end=True)

    def _give_up(self, size: int, fault: Fault) -> None:
        """There should be more, and is not.

        What a cut leaves is as true as it is of a file that was cut; bytes before the place where a stream is found damaged are
        not: it may have gone wrong long before.
        """
        if fault in (Fault.DAMAGED, Fault.WRONG):
            raise Unreadable(FAULTS[fault])
        self.headers.give_up(size, TRUNCATED if fault is Fault.CUT else TOO_LONG)
        if self.headers.verdict in (EMPTY, NO_DICOM_HEADER):
            raise Unreadable(FAULTS[fault])


def _parse(etag: str | None) -> MemberPlace | None:
    try:
        return parse_place(etag or "")
    except ValueError:
        return None


def _read_archive(turn: Turn, start: float, count: int, offset: int) -> bytes:
    """So many bytes, fewer only at the end; whoever waits for them may be given up."""
    turn.inside = start
    data = read_at(turn.held, count, offset)
    turn.leave()
    return data
