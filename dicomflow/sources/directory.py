"""What a ZIP archive says of itself: its end record and its directory (APPNOTE 4.3), read within bounds.

In: an open file.  Out: entries, one after the other; None for a file that is no ZIP archive.  Knows no rows.

``zipfile`` makes objects of all entries before it gives the first, and refuses an archive for one odd entry.  So the directory is
read here: its size is known and bounded before it is read, and its bytes are all that is held of it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from dicomflow.sources.member import DEFLATED, STORED, MemberPlace, decode_name

MAX_DIRECTORY_BYTES = 256 << 20

_END, _END64, _LOCATOR, _ENTRY = (
    Struct("<4s4H2LH"),
    Struct("<4sQ2H2L4Q"),
    Struct("<4sLQL"),
    Struct("<4s4xHH4xLLLHHH8xL"),
)
_END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC, _ENTRY_MAGIC = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2"
_LOCAL_MAGIC, _LOCAL_BYTES = b"PK\3\4", 30
_TAIL_BYTES = _LOCATOR.size + _END64.size + _END.size + 0xFFFF  # where the end record must be: a comment may follow

_NOWHERE, _MASK_16 = 0xFFFFFFFF, 0xFFFF
"""What stands in place of a number that is in the ZIP64 extra field; what old programs count up to."""

_ZIP64_FIELD = 1
_MISPLACED = "its directory is not where its end record says"
_MOST = (1 << 62) - 1
"""No size or offset is larger: it fits a column of 64 bits."""

_MOST_TIMES = {STORED: 1, DEFLATED: 1032}
"""So many bytes come out of a packed one at the most: 258 of two bits (RFC 1951).  Sums of true sizes fit a column, too."""


class BadArchive(Exception):
    """A file that is a ZIP archive, but not one that can be listed; says why."""


class Entry(NamedTuple):
    """One file in the archive.

    Attributes:
        name: as ``decode_name`` gives it.
        size: bytes, unpacked; None where the entry says something impossible.
        place: where it lies.
    """

    name: str
    size: int | None
    place: MemberPlace


class Directory:
    """The entries of an archive, folders left out, in their order.

    Args:
        data: the bytes of the directory.
        start: where it begins in the file: members lie before it.
        shift: bytes before the archive, such as those of a program that unpacks it.

    Raises:
        BadArchive: the directory is damaged.
    """

    def __init__(self, data: bytes, start: int, shift: int) -> None:
        self._data = data
        self._last = start - _LOCAL_BYTES  # where a member begins at the most
        self._shift = shift
        self.count = 0
        """Entries, folders included."""
        self.hashes = array("q", self._hash_names())
        """Of the name of each file: what tells whether one is there twice takes no more memory than this."""

    def __iter__(self) -> Iterator[Entry]:
        """Each file."""
        shift = self._shift
        for name, flags, method, crc, packed, size, offset, extra in self._walk():
            if size == 0 and name.endswith("/"):
                continue
            wide = (
                (size, packed, offset) if max(size, packed, offset) < _NOWHERE else _widen(extra, size, packed, offset)
            )
            if wide is None or not self._can_be(method, *wide):
                yield Entry(name, None, MemberPlace(method, flags, crc, 0, 0))
            else:
                yield Entry(name, wide[0], MemberPlace(method, flags, crc, wide[2] + shift, wide[1]))

    def _can_be(self, method: int, size: int, packed: int, offset: int) -> bool:
        """Whether a member of so many bytes may lie there: all of it before the directory."""
        return (
            0 <= offset + self._shift <= self._last - packed
            and size <= _MOST
            and size <= packed * _MOST_TIMES.get(method, _MOST)
        )

    def _hash_names(self) -> Iterator[int]:
        for name, _, _, _, _, size, _, _ in self._walk():
            self.count += 1
            if size or not name.endswith("/"):
                yield hash(name)

    def _walk(self) -> Iterator[_Fields]:
        data, at, end, unpack, length = self._data, 0, len(self._data), _ENTRY.unpack_from, _ENTRY.size
        while at < end:
            if end - at < length or data[at : at + 4] != _ENTRY_MAGIC:
                raise BadArchive(f"no entry stands at byte {at:,} of its directory")
            _, flags, method, crc, packed, size, name_bytes, extra_bytes, comment_bytes, offset = unpack(data, at)
            name_end = at + length + name_bytes
            extra_end = name_end + extra_bytes
            if extra_end + comment_bytes > end:
                raise BadArchive(f"the entry at byte {at:,} of its directory reaches beyond it")
            name = decode_name(data[at + length : name_end], flags)
            yield name, flags, method, crc, packed, size, offset, data[name_end:extra_end]
            at = extra_end + comment_bytes


_Fields = tuple[str, int, int, int, int, int, int, bytes]
"""Name, flags, method, CRC-32, packed size, size, offset, extra field."""


def read_directory(descriptor: int, size: int, max_entries: int) -> Directory | None:
    """The directory of an open file.

    Args:
        descriptor: of the file.
        size: of the file.
        max_entries: more are refused before they are read.

    Returns:
        None where the file is no ZIP archive at all.

    Raises:
        BadArchive: it is one, but cannot be listed.
        OSError: it cannot be read.
    """
    tail_at = max(0, size - _TAIL_BYTES)
    tail = read_at(descriptor, size - tail_at, tail_at)
    at = _find_end(tail)
    if at < 0:
        if _begins_like_archive(read_at(descriptor, 132, 0)):
            raise BadArchive("begins like a ZIP archive, but has no end record: it was cut short")
        return None
    end = _read_end(descriptor, tail, at, tail_at)
    _check_size(end, max_entries)
    directory = _read_entries(descriptor, end)
    _check_count(directory.count, end.entries, max_entries)
    return directory


class _End(NamedTuple):
    at: int  # where the end record begins (that of ZIP64, if there is one): behind the directory
    entries: int
    bytes: int
    offset: int  # of the directory, as the archive counts


def _find_end(tail: bytes) -> int:
    """Where the end record begins that is followed by its comment and nothing else; else the last one; else -1."""
    at = last = tail.rfind(_END_MAGIC, 0, max(0, len(tail) - _END.size + len(_END_MAGIC)))
    while at >= 0:
        if at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            return at
        at = tail.rfind(_END_MAGIC, 0, at)
    return last


def _begins_like_archive(head: bytes) -> bool:
    """A DICOM file may have anything in its preamble."""
    return head[:4] == _LOCAL_MAGIC and head[128:132] != b"DICM"


def _read_end(descriptor: int, tail: bytes, at: int, tail_at: int) -> _End:
    _, disk, first_disk, _, entries, size, offset, _ = _END.unpack_from(tail, at)
    end = _End(tail_at + at, entries, size, offset)
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size :][:4] == _LOCATOR_MAGIC:
        _, _, offset64, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        for place in (tail_at + at - _LOCATOR.size - _END64.size, offset64):
            if (found := _read_end64(descriptor, place)) is not None:
                return found
    if disk or first_disk:
        raise BadArchive("is one part of an archive in several parts")
    return end


def _read_end64(descriptor: int, place: int) -> _End | None:
    if not 0 <= place <= _MOST:
        return None
    record = read_at(descriptor, _END64.size, place)
    if len(record) < _END64.size or record[:4] != _END64_MAGIC:
        return None
    _, _, _, _, disk, first_disk, _, entries, size, offset = _END64.unpack(record)
    if disk or first_disk:
        raise BadArchive("is one part of an archive in several parts")
    return _End(place, entries, size, offset)


def _check_size(end: _End, max_entries: int) -> None:
    """Before anything of that size is read."""
    if end.bytes > end.at:
        raise BadArchive(_MISPLACED)
    if end.bytes > MAX_DIRECTORY_BYTES:
        raise BadArchive(f"its directory has {end.bytes:,} bytes, more than the {MAX_DIRECTORY_BYTES:,} that are read")
    if end.entries > end.bytes // _ENTRY.size:
        raise BadArchive(f"its end record says {end.entries:,} entries, for which its directory is too short")
    _check_entries(end.entries, max_entries)


def _check_entries(entries: int, most: int) -> None:
    if entries > most:
        raise BadArchive(
            f"its directory has {entries:,} entries, more than sources.max_archive_members ({most:,}) allows"
        )


def _check_count(found: int, said: int, most: int) -> None:
    """Old programs count no further than 16 bits."""
    _check_entries(found, most)
    if found & _MASK_16 != said & _MASK_16:
        raise BadArchive(f"its directory has {found:,} entries, its end record says {said:,}")


def _read_entries(descriptor: int, end: _End) -> Directory:
    """The directory ends where the end record begins; else it is where the archive says."""
    for start in dict.fromkeys((end.at - end.bytes, end.offset)):
        if not 0 <= start <= end.at - end.bytes:
            continue
        head = read_at(descriptor, 4, start) if end.bytes else _ENTRY_MAGIC
        if head == _ENTRY_MAGIC and start >= end.offset:
            data = read_at(descriptor, end.bytes, start)
            if len(data) < end.bytes:
                raise BadArchive("ends inside its directory")
            return Directory(data, start, start - end.offset)
    raise BadArchive(_MISPLACED)


def read_at(descriptor: int, size: int, at: int) -> bytes:
    """So many bytes, fewer only where the file ends: a single call may give less."""
    data = os.pread(descriptor, size, at)
    while len(data) < size and (more := os.pread(descriptor, size - len(data), at + len(data))):
        data += more
    return data


def _widen(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int] | None:
    """The numbers that stand in the ZIP64 extra field, in their order (APPNOTE 4.5.3); None where it lacks one."""
    wide = _find_field(extra, _ZIP64_FIELD)
    numbers = []
    for number in (size, packed, offset):
        if number == _NOWHERE:
            if len(wide) < 8:
                return None
            number, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        numbers.append(number)
    return numbers[0], numbers[1], numbers[2]


def _find_field(extra: bytes, wanted: int) -> bytes:
    """The data of an extra field; empty where it is not there."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""
