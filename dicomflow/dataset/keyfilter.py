"""Ask the Bloom filters of a Parquet file which row groups may hold a key, reading about a hundred bytes of each.

In: a path, the key.  Out: the row groups that may hold it, or None where this cannot be said.  Knows that the key is a column of
text at the top of the schema; no DICOM, no rows.

No library at hand reads less than the whole footer: 0.9 ms for 160 columns, which for 80 parts is a quarter of a scan of the key
column.  Whatever is not exactly as expected is answered with None, so this may only be wrong to the cost of time.
Formats: parquet.thrift and BloomFilter.md of parquet-format.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

import xxhash

from dicomflow.dataset.footer import count_row_groups, end_of_schema, expect, find_i64, find_keys, read_varint

_MAGIC = b"PAR1"
_SALT = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)
_SPLIT_BLOCK_XXHASH_PLAIN = b"\x1c\x1c\x00\x00" * 3 + b"\x00"
"""What follows a filter's size: split blocks, hashed with XXH64, not compressed; nothing else has been defined."""

_BLOCK = 32
_HEADER = 32
"""Bytes read for a filter's header, which has at most 19."""

_PATH_FIELD, _BLOOM_FIELD = 3, 14
_METADATA_FIELD, _INDEX_FIELD = 3, 4


class KeyPlace(NamedTuple):
    """Where in a file the filter and the page index of a row group's key column begin; None: there is none."""

    bloom: int | None
    pages: int | None


class KeyPlaces:
    """What the footers of many files say of their key column, each read once: parts do not change.

    Args:
        column: name of the key column.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._head = b"\x00"  # version and schema, the same in all parts of a table: walked once, then compared
        self._known: dict[Path, list[KeyPlace]] = {}

    def of(self, path: Path, descriptor: int) -> list[KeyPlace]:
        """Of an open file, by row group.

        Raises:
            OSError: it cannot be read.
            ValueError, IndexError: it is not as expected.
        """
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._walk(_read_footer(descriptor))
        return found

    def _walk(self, footer: bytes) -> list[KeyPlace]:
        if not footer.startswith(self._head):
            self._head = footer[: end_of_schema(footer)]
        groups, at = count_row_groups(footer, len(self._head))
        return [_read_place(footer, end) for end in find_keys(footer, self._column, at, groups)]


class KeyFilter:
    """One key, to be asked of many files.

    Args:
        column: name of the key column.
        key: the value as stored.
        places: what is known of the files.
    """

    def __init__(self, column: str, key: bytes, places: KeyPlaces | None = None) -> None:
        self._places = places or KeyPlaces(column)
        self._high, low = divmod(xxhash.xxh64_intdigest(key), 1 << 32)
        bits = (1 << ((low * salt & 0xFFFFFFFF) >> 27) for salt in _SALT)
        self._mask = int.from_bytes(struct.pack("<8I", *bits), "little")

    def ask(self, path: Path) -> list[int] | None:
        """The row groups that may hold the key; None: any.

        Raises:
            OSError: the file cannot be read.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            places = self._places.of(path, descriptor)
            return [group for group, place in enumerate(places) if self._may_hold(descriptor, place.bloom)]
        except (IndexError, ValueError, OverflowError):
            return None
        finally:
            os.close(descriptor)

    def _may_hold(self, descriptor: int, offset: int | None) -> bool:
        if offset is None:
            raise ValueError("no filter")
        header = os.pread(descriptor, _HEADER, offset)
        size, at = read_varint(header, expect(header, 0, 0x15))
        size >>= 1
        end = at + len(_SPLIT_BLOCK_XXHASH_PLAIN)
        if header[at:end] != _SPLIT_BLOCK_XXHASH_PLAIN or size < _BLOCK or size % _BLOCK:
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


def _read_place(footer: bytes, at: int) -> KeyPlace:
    """From behind the path of a ColumnMetaData: its field 14, and field 4 of the ColumnChunk that it is field 3 of."""
    bloom, at = find_i64(footer, at, _PATH_FIELD, _BLOOM_FIELD)
    pages, _ = find_i64(footer, at, _METADATA_FIELD, _INDEX_FIELD)
    return KeyPlace(bloom, pages)
