"""The bytes of one member of a ZIP archive, from the first on, no more of them than are asked for.

In: where the member lies, and how the archive is read.  Out: its bytes, unpacked, and what is wrong where there are no more.
Knows no DICOM and no files: whoever owns the archive reads.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from enum import Enum, auto
from struct import Struct

from dicomflow.errors import Code, Status
from dicomflow.header.inflate import Inflater
from dicomflow.model import Outcome
from dicomflow.sources.member import STORED, MemberPlace, decode_name

CHUNK_BYTES = 1 << 16
"""So much of a deflated member is read at a time, behind the first read."""

MAX_SALVAGE_BYTES = 1 << 24
"""Of a damaged member, so much is inflated once more, up to the very byte."""

_LOCAL = Struct("<4s2xHH4xL8xHH")  # APPNOTE 4.3.7
_LOCAL_MAGIC = b"PK\3\4"
_SPARE_BYTES = 64  # of the extra field, which is longer here than in the directory, or shorter
_CRC_FOLLOWS = 1 << 3

Read = Callable[[int, int], bytes]
"""So many bytes of the archive from this offset on; fewer only where it ends."""


class Fault(Enum):
    """Why a member has no more bytes, where it should."""

    CUT = auto()  # the archive ends
    DAMAGED = auto()  # no deflated stream goes on like this
    WRONG = auto()  # the stream ends before the size that the directory says
    TOO_LONG = auto()  # more packed bytes than a header may have


class Unreadable(Exception):
    """Nothing of the member can be read; its outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class MemberStream:
    """Begins with the first byte of a member.

    Args:
        place: what the directory said of it.
        read: reads the archive.
        limit: packed bytes that may be read in all.
    """

    def __init__(self, place: MemberPlace, read: Read, limit: int) -> None:
        self.fault: Fault | None = None
        self.crc = place.crc
        self.seconds = 0.0  # spent inflating so far
        self._place = place
        self._read = read
        self._limit = limit
        self._start = 0  # of the data in the archive
        self._taken = 0  # packed bytes read so far
        self._given = 0  # bytes given so far
        self._rest = b""  # packed, read and not yet used
        self._zlib = None if place.method == STORED else zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def is_deflated(self) -> bool:
        """Whether each byte costs time to unpack."""
        return self._zlib is not None

    def begin(self, name: str, wanted: int) -> None:
        """Read its local header, and so many bytes behind it.

        Raises:
            Unreadable: something else stands there.
        """
        place = self._place
        head = self._read(_LOCAL.size + len(name.encode()) + _SPARE_BYTES + min(place.packed, wanted), place.offset)
        start = _measure_header(head, name, place)
        self._start = place.offset + start
        self._rest = head[start : start + place.packed]
        self._taken = len(self._rest)

    def read(self, count: int) -> bytes:
        """The next bytes; fewer where there are no more, and ``fault`` says why, if there should be."""
        data = self._take(count) if self._zlib is None else self._inflate(self._zlib, count)
        self._given += len(data)
        if self._zlib is None and len(data) < count:
            self.fault = Fault.CUT if self._taken < self._place.packed else Fault.WRONG
        return data

    def _take(self, count: int) -> bytes:
        """The next packed bytes."""
        data, self._rest = self._rest[:count], self._rest[count:]
        wanted = min(count - len(data), self._place.packed - self._taken)
        if wanted > 0:
            more = self._read(wanted, self._start + self._taken)
            self._taken += len(more)
            data = data + more if data else more
        return data

    def _inflate(self, stream: zlib._Decompress, count: int) -> bytes:
        parts: list[bytes] = []
        missing = count
        while missing and self.fault is None and not stream.eof:
            packed = self._rest or self._take(CHUNK_BYTES)
            if self._taken > self._limit:
                self.fault = Fault.TOO_LONG
                break
            began = time.perf_counter()
            part, self._rest = self._step(stream, packed, count, missing)
            self.seconds += time.perf_counter() - began
            parts.append(part)
            missing -= len(part)
            if not packed and not part and not stream.eof:
                self.fault = self.fault or (Fault.CUT if self._taken < self._place.packed else Fault.DAMAGED)
        if missing and stream.eof:
            self.fault = Fault.WRONG
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _step(self, stream: zlib._Decompress, packed: bytes, count: int, missing: int) -> tuple[bytes, bytes]:
        """Inflate some more; what comes out of a damaged stream does not depend on the steps in which it was read."""
        try:
            return stream.decompress(packed, missing), stream.unconsumed_tail
        except zlib.error:
            self.fault = Fault.DAMAGED
        if self._taken > MAX_SALVAGE_BYTES:
            return b"", b""
        again = Inflater(self._read(self._taken, self._start))
        again.inflate(self._given + count)
        return bytes(again.out[self._given + count - missing :]), b""


def _measure_header(head: bytes, name: str, place: MemberPlace) -> int:
    """Bytes of the local header, which must be that of this member.

    The directory that said where it is may be older than what is there now.
    """
    if len(head) < _LOCAL.size:
        raise Unreadable(_CUT)
    magic, flags, method, crc, name_bytes, extra_bytes = _LOCAL.unpack_from(head)
    raw = head[_LOCAL.size : _LOCAL.size + name_bytes]
    is_named = name == decode_name(raw, place.flags) or name == decode_name(raw, flags)
    has_crc = crc in (0, place.crc) or flags & _CRC_FOLLOWS
    if magic != _LOCAL_MAGIC or not is_named or method != place.method or not has_crc:
        raise Unreadable(_MISPLACED)
    return _LOCAL.size + int(name_bytes) + int(extra_bytes)


_CUT = Outcome(status=Status.FAILED, code=Code.BAD_ARCHIVE, message="the archive ends before this member")
_MISPLACED = Outcome(
    status=Status.FAILED,
    code=Code.BAD_ARCHIVE,
    message="it is not where the archive's directory says: damaged, or changed while it was read; run again",
)

FAULTS = {
    Fault.TOO_LONG: Outcome(
        status=Status.FAILED,
        code=Code.LIMIT_HEADER_BYTES,
        message="more packed bytes than header.max_header_bytes allows, and no header yet",
    ),
    Fault.CUT: Outcome(status=Status.FAILED, code=Code.BAD_ARCHIVE, message="the archive ends inside this member"),
    Fault.DAMAGED: Outcome(
        status=Status.FAILED, code=Code.INFLATE_ERROR, message="the deflated member is damaged inside its header"
    ),
    Fault.WRONG: Outcome(
        status=Status.FAILED, code=Code.BAD_ARCHIVE, message="its bytes are not those that were packed (size, CRC-32)"
    ),
}
"""What each is for a file of which nothing can be read."""
