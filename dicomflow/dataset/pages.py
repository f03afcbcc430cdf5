"""Let a reader of a row group begin at the pages of one row.

In: a part in private memory, a row.  Out: the same with pages hidden, and the row at which each column now begins.  Knows the
page index (PageIndex.md of parquet-format); no values.

Arrow cannot be told to skip pages, but passes over pages of a kind that it has no use for.  So the header of a column's first
data page is written over with that of an index page which reaches to the page wanted: what it covers is never read.
"""

from __future__ import annotations

import mmap

from dicomflow.dataset.footer import (
    STRUCT,
    count_row_groups,
    end_of_schema,
    expect,
    find_i64,
    find_keys,
    read_list,
    read_varint,
)

_PATH_FIELD, _METADATA_FIELD, _INDEX_FIELD = 3, 3, 4
_HIDE = b"\x15\x02\x15\x00\x15%b\x00"
"""PageHeader: an index page (type 1), of no bytes uncompressed, and these compressed."""

_HIDE_BYTES = 11


def hide_pages(part: mmap.mmap, group: int, row: int, leaves: list[int]) -> list[int]:
    """Hide what comes before the pages of ``row`` in a row group whose first column is the key.

    Args:
        part: the whole file, mapped copy-on-write.
        group: the row group.
        row: its row.
        leaves: number of leaf columns of each column.

    Returns:
        For each column the row at which it now begins.  All its leaves begin there.

    Raises:
        ValueError, IndexError: there is no page index, or none as expected; nothing is hidden.
    """
    indexes = iter(_read_indexes(part, group, sum(leaves)))
    begins, hidden = [], {}
    for count in leaves:
        column = [next(indexes) for _ in range(count)]
        begin = max(begin for begin in set.intersection(*map(set, column)) if begin <= row)
        begins.append(begin)
        hidden.update({pages[0]: _hide(pages[begin] - pages[0]) for pages in column if begin})
    for offset, header in hidden.items():
        part[offset : offset + _HIDE_BYTES] = header
    return begins


def _hide(size: int) -> bytes:
    """A page header that reaches over so many bytes, itself included."""
    if not _HIDE_BYTES <= size < 1 << 31:
        raise ValueError("pages out of order")
    signed = (size - _HIDE_BYTES) << 1
    return _HIDE % bytes([*(signed >> shift & 127 | 128 for shift in (0, 7, 14, 21)), signed >> 28])


def _read_indexes(part: mmap.mmap, group: int, leaves: int) -> list[dict[int, int]]:
    """Per leaf: first row of each page -> its offset in the file."""
    start = len(part) - 8 - int.from_bytes(part[-8:-4], "little")
    offsets = _index_offsets(part[start:-8], group, leaves)
    low = min(offsets)
    area = part[low:start]
    return [_read_index(area, offset - low) for offset in offsets]


def _index_offsets(footer: bytes, group: int, leaves: int) -> list[int]:
    """Where the offset index of each leaf begins: field 4 of its ColumnChunk, the first of which is the key's."""
    groups, at = count_row_groups(footer, end_of_schema(footer))
    _, at = find_i64(footer, find_keys(footer, "SOPInstanceUID", at, groups)[group], _PATH_FIELD, -1)
    offset, at = find_i64(footer, at, _METADATA_FIELD, _INDEX_FIELD)
    offsets = [offset]
    for _ in range(leaves - 1):
        offset, at = find_i64(footer, at, 0, _INDEX_FIELD)
        offsets.append(offset)
    expect(footer, at, 0x16)  # what follows the list of columns: so the key was the first, and these are all
    if None in offsets:
        raise ValueError("no page index")
    return [offset for offset in offsets if offset is not None]


def _read_index(area: bytes, at: int) -> dict[int, int]:
    """OffsetIndex: a list of PageLocation (offset, i64; size, i32; first row, i64)."""
    size, kind, at = read_list(area, expect(area, at, 0x19))
    if kind != STRUCT:
        raise ValueError("no pages")
    pages: dict[int, int] = {}
    row = end = -1
    for _ in range(size):
        offset, at = read_varint(area, expect(area, at, 0x16))
        length, at = read_varint(area, expect(area, at, 0x15))
        begin, at = read_varint(area, expect(area, at, 0x16))
        at = expect(area, at, 0x00)
        if begin <= row or (pages and offset != end):
            raise ValueError("pages out of order")
        row, end = begin, offset + length
        pages[begin >> 1] = offset >> 1
    return pages
