"""Ask the Bloom filters of a Parquet file which row groups may hold a key, reading about a hundred bytes of each.

In: a path, the key.  Out: the row groups that may hold it, or None where this cannot be said.  Knows that the key column is one
of text at the top of the schema; no DICOM, no rows.

No library at hand reads less than the whole footer: 1 ms for 160 columns, which for 80 parts is a quarter of a scan.  Here the
footer is searched for the key column's metadata, of which every row group has exactly one.  Its bytes may also stand in a value
among the statistics; but where they are found just as often as there are row groups, each find is a true one.  Whatever is not
exactly as expected is answered with None, so this may only be wrong to the cost of time.

Formats: Thrift's compact protocol; parquet.thrift (FileMetaData, ColumnMetaData); BloomFilter.md of parquet-format.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import xxhash

_MAGIC = b"PAR1"
_SALT = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)
_SPLIT_BLOCK_XXHASH_PLAIN = b"\x1c\x1c\x00\x00" * 3 + b"\x00"
"""What follows a filter's size: split blocks, hashed with XXH64, not compressed; nothing else has been defined."""

_BLOCK = 32
_HEADER = 32
"""Bytes read for a filter's header, which has at most 19."""

_VARINTS, _BINARY, _LISTS, _STRUCT = (3, 4, 5, 6), 8, (9, 10), 12
_PATH_FIELD, _BLOOM_FIELD = 3, 14
_MAX_DEPTH = 8


class KeyFilter:
    """One key, to be asked of many files.

    Args:
        column: name of the key column.
        key: the value as stored.
    """

    def __init__(self, column: str, key: bytes) -> None:
        name = column.encode()
        self._path = b"\x19\x18" + bytes([len(name)]) + name  # field 3: a list of one text
        self._high, low = divmod(xxhash.xxh64_intdigest(key), 1 << 32)
        bits = (1 << ((low * salt & 0xFFFFFFFF) >> 27) for salt in _SALT)
        self._mask = int.from_bytes(struct.pack("<8I", *bits), "little")
        self._head = b"\x00"  # version and schema, the same in all parts of a table: walked once, then compared

    def ask(self, path: Path) -> list[int] | None:
        """The row groups that may hold the key; None: any.

        Raises:
            OSError: the file cannot be read.
        """
        with open(path, "rb", buffering=0) as stream:
            descriptor = stream.fileno()
            try:
                return self._ask(descriptor)
            except (IndexError, ValueError):
                return None

    def _ask(self, descriptor: int) -> list[int]:
        footer = _read_footer(descriptor)
        offsets = self._offsets(footer)
        return [group for group, offset in enumerate(offsets) if self._may_hold(descriptor, offset)]

    def _offsets(self, footer: bytes) -> list[int]:
        """Where the filter of each row group begins."""
        if not footer.startswith(self._head):
            self._head = footer[: _end_of_schema(footer)]
        groups, at = _count_row_groups(footer, len(self._head))
        if footer.count(self._path, at) != groups:
            raise ValueError("not one key column in each row group")
        return [_bloom_offset(footer, end) for end in _ends(footer, self._path, at)]

    def _may_hold(self, descriptor: int, offset: int) -> bool:
        header = os.pread(descriptor, _HEADER, offset)
        size, at = _varint(header, 1)
        size >>= 1
        end = at + len(_SPLIT_BLOCK_XXHASH_PLAIN)
        if header[0] != 0x15 or header[at:end] != _SPLIT_BLOCK_XXHASH_PLAIN or size < _BLOCK or size % _BLOCK:
            raise ValueError("another kind of filter")
        block = (self._high * (size // _BLOCK)) >> 32
        found = os.pread(descriptor, _BLOCK, offset + end + block * _BLOCK)
        if len(found) != _BLOCK:
            raise ValueError("the filter reaches past the end of the file")
        return int.from_bytes(found, "little") & self._mask == self._mask


def _read_footer(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 8, max(0, size - 8))
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > size - 12:
        raise ValueError("no footer")
    return os.pread(descriptor, length, size - 8 - length)


def _end_of_schema(footer: bytes) -> int:
    """FileMetaData begins with the version (field 1, i32) and the schema (field 2, a list)."""
    if footer[0] != 0x15:
        raise ValueError("no version")
    _, at = _varint(footer, 1)
    if footer[at] != 0x19:
        raise ValueError("no schema")
    return _skip(footer, at + 1, 9, 0)


def _count_row_groups(footer: bytes, at: int) -> tuple[int, int]:
    """Then come the number of rows (field 3, i64) and the row groups (field 4, a list of structs)."""
    if footer[at] != 0x16:
        raise ValueError("no number of rows")
    _, at = _varint(footer, at + 1)
    if footer[at] != 0x19:
        raise ValueError("no row groups")
    size, kind, at = _list(footer, at + 1)
    if size and kind != _STRUCT:
        raise ValueError("no row groups")
    return size, at


def _ends(footer: bytes, pattern: bytes, at: int) -> Iterator[int]:
    while (at := footer.find(pattern, at)) >= 0:
        at += len(pattern)
        yield at


def _bloom_offset(footer: bytes, at: int) -> int:
    """Field 14 (i64) of a ColumnMetaData, read on from the end of field 3."""
    field = _PATH_FIELD
    while field < _BLOOM_FIELD and footer[at]:
        step, kind = divmod(footer[at], 16)
        field += step
        at += 1
        if not step:
            raise ValueError("a field in the long form")
        if field == _BLOOM_FIELD and kind == 6:
            return _varint(footer, at)[0] >> 1
        at = _skip(footer, at, kind, 0)
    raise ValueError("no filter")


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """The end of a value of this type; what Parquet's footers do not use is refused."""
    if kind in (1, 2):  # the value is the type
        return at
    if kind in _VARINTS:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind == _BINARY:
        size, at = _varint(data, at)
        return at + size
    if kind in _LISTS and depth < _MAX_DEPTH:
        return _skip_list(data, at, depth)
    if kind == _STRUCT and depth < _MAX_DEPTH:
        return _skip_struct(data, at, depth)
    raise ValueError("not a type of a footer")


def _skip_list(data: bytes, at: int, depth: int) -> int:
    size, kind, at = _list(data, at)
    if kind in (1, 2) and at + size <= len(data):  # inside a list, a truth value has a byte
        return at + size
    for _ in range(size):
        at = _skip(data, at, kind, depth + 1)
        if at > len(data):
            raise ValueError("a list reaches past the end")
    return at


def _skip_struct(data: bytes, at: int, depth: int) -> int:
    while head := data[at]:
        at += 1
        if head < 16:  # the field's number in full
            _, at = _varint(data, at)
        at = _skip(data, at, head & 15, depth + 1)
    return at + 1


def _list(data: bytes, at: int) -> tuple[int, int, int]:
    size, kind = divmod(data[at], 16)
    at += 1
    if size == 15:
        size, at = _varint(data, at)
    return size, kind, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
    return value | byte << shift, at + 1
