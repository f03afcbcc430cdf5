"""Read one row of a Parquet file, decoding little else.

In: a part in memory, a key.  Out: the row by column, as Python values.  Knows what ``writer`` writes: the key first, plain and
never null; zstd; data pages of version 1 with a page index and checksums; lists of at most one level.

    key column -> row -> offset indexes -> one page of each leaf column -> entries of the row -> values

Arrow decodes each column from the start of a page, which for 160 columns takes some 20 ms; here the encoded bytes are walked
(``cells``, compiled).  What is not exactly as expected raises ValueError or IndexError, so this may only be wrong to the cost of
time: the caller then asks Arrow.  Every page that is looked at must match its checksum.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, NamedTuple

import pyarrow as pa

try:
    from dicomflow.dataset import cells

    COMPILED = not str(cells.__file__).endswith(
        ".py"
    )  # where Cython is there, what was not compiled can be imported, too
except ImportError:
    COMPILED = False

_PLAIN, _DICTIONARY = 0, (2, 8)
_MAX_BYTES = 1 << 28
"""Of the pages of a row, inflated."""

_PAGES_AT_ONCE = 2  # of the key
_FEW = 16  # texts of a row that are each looked for from the begin of a dictionary
_EPOCH = date(1970, 1, 1).toordinal()
_ZSTD = pa.Codec("zstd")

Cell = Any


class _Leaf(NamedTuple):
    """A leaf column: how its values are stored, and the definition levels at which list, item and value are there."""

    form: str  # of ``struct``; empty for text
    size: int
    in_list: int  # an item; 0 where there is no list
    in_inner: int  # an item of a list in the list; 0 where there is none
    highest: int
    to_python: Callable[[Any], Cell]


class _Column(NamedTuple):
    """A column: a leaf, a list of one, a list of lists of one, or a list of structs of some."""

    name: str
    leaves: tuple[_Leaf, ...]
    names: tuple[str, ...] = ()  # of the struct's fields
    item: int = 0  # definition level at which the struct, or the list in the list, is there


class RowReader:
    """Reads rows of parts that all have one schema.

    Args:
        schema: of the parts.
        key: name of the key, its first column.

    Raises:
        ValueError: the schema has what this does not know.
    """

    def __init__(self, schema: pa.Schema, key: str) -> None:
        first = schema.field(0)
        if not COMPILED or first.name != key or first.type != pa.string() or first.nullable:
            raise ValueError("the key is not first, or not text")
        self._key = key
        self._columns = [_describe(field) for field in schema]
        self._leaves = [leaf for column in self._columns for leaf in column.leaves]

    def find(self, part: mmap.mmap, index: int | None, key: bytes) -> dict[str, Cell] | None:
        """The row of a row group with this key, or None.

        Args:
            part: a whole file.
            index: where the offset index of the key in this row group begins.
            key: the value as stored.

        Raises:
            ValueError, IndexError, OSError: damaged, or written in another way.
        """
        if index is None:
            raise ValueError("no page index")
        footer = len(part) - 8 - int.from_bytes(part[-8:-4], "little")
        area = part[index:footer]
        pages = cells.read_pages(area, 0)
        row = _find_key(part, pages, key)
        if row is None:
            return None
        begin, offset, end = pages[-1]
        rows = begin + cells.read_page_header(part[offset:end], cells.DATA_PAGE)[2]
        return {self._key: key.decode(), **self._read_row(part, area, row, rows)}

    def _read_row(self, part: mmap.mmap, area: bytes, row: int, rows: int) -> dict[str, Cell]:
        """All columns but the key, of a row group of so many rows."""
        places = cells.find_pages(area, 0, len(self._leaves), row, rows)[1:]
        pages = _read_pages(part, [place[1:3] for place in places], cells.DATA_PAGE)
        entries = [
            _Entries(leaf, page, row - place[0], place[3])
            for leaf, page, place in zip(self._leaves[1:], pages, places, strict=True)
        ]
        coded = [(each, place[4:]) for each, place in zip(entries, places, strict=True) if each.is_coded]
        dictionaries = _read_pages(part, [place for _, place in coded], cells.DICTIONARY_PAGE)
        for (each, _), dictionary in zip(coded, dictionaries, strict=True):
            each.look_up(dictionary)
        read = iter(entries)
        return {column.name: _assemble(column, read) for column in self._columns[1:]}


# ---- what the schema says --------------------------------------------------------------------------------------------


def _describe(field: pa.Field) -> _Column:
    kind, level = field.type, int(field.nullable)
    if not pa.types.is_list(kind):
        return _Column(field.name, (_describe_leaf(kind, level),))
    item = kind.value_field
    inside = level + 1 + int(item.nullable)
    if pa.types.is_list(item.type):
        inner = item.type.value_field
        leaf = _describe_leaf(inner.type, inside + 1 + int(inner.nullable), level + 1, inside + 1)
        return _Column(field.name, (leaf,), item=inside)
    if not pa.types.is_struct(item.type):
        return _Column(field.name, (_describe_leaf(item.type, inside, level + 1),))
    fields = [item.type.field(index) for index in range(item.type.num_fields)]
    leaves = tuple(_describe_leaf(each.type, inside + int(each.nullable), level + 1) for each in fields)
    return _Column(field.name, leaves, tuple(each.name for each in fields), inside)


def _describe_leaf(kind: pa.DataType, highest: int, in_list: int = 0, in_inner: int = 0) -> _Leaf:
    known, form, to_python = _TYPES.get(kind.id, (None, "", _as_it_is))
    if kind != known:
        raise ValueError("a type that is not known here")
    return _make_leaf(form, in_list, in_inner, highest, to_python)


@cache
def _make_leaf(form: str, in_list: int, in_inner: int, highest: int, to_python: Callable[[Any], Cell]) -> _Leaf:
    """A few kinds of leaves make up hundreds of columns."""
    return _Leaf(form, struct.calcsize("<" + form), in_list, in_inner, highest, to_python)


def _to_date(days: int) -> date:
    return date.fromordinal(_EPOCH + days)


def _to_time(microseconds: int) -> time:
    seconds, rest = divmod(microseconds, 1_000_000)
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, rest)


def _to_datetime(microseconds: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=microseconds)


def _as_it_is(value: Any) -> Any:
    return value


_TYPES: dict[int, tuple[pa.DataType, str, Callable[[Any], Cell]]] = {
    kind.id: (kind, form, to_python)
    for kind, form, to_python in (
        (pa.string(), "", bytes.decode),
        (pa.int32(), "i", _as_it_is),
        (pa.int64(), "q", _as_it_is),
        (pa.float32(), "f", _as_it_is),
        (pa.float64(), "d", _as_it_is),
        (pa.date32(), "i", _to_date),
        (pa.time64("us"), "q", _to_time),
        (pa.timestamp("us"), "q", _to_datetime),
    )
}
"""By number: to hash a type, Arrow writes it out as text."""


# ---- where the row is ------------------------------------------------------------------------------------------------


def _find_key(part: mmap.mmap, pages: Sequence[tuple[int, int, int]], key: bytes) -> int | None:
    """The row, counted: the page index, which says where pages begin, has no checksum."""
    counted = 0
    for start in range(0, len(pages), _PAGES_AT_ONCE):
        some = pages[start : start + _PAGES_AT_ONCE]
        for (begin, _, _), page in zip(
            some, _read_pages(part, [place[1:] for place in some], cells.DATA_PAGE), strict=True
        ):
            if page.encoding != _PLAIN or begin != counted:
                raise ValueError("keys of another encoding, or another number of them")
            row = cells.find_text(page, key)
            if row >= 0:
                return begin + row
            counted += page.values
    return None


# ---- values ----------------------------------------------------------------------------------------------------------


def _read_pages(part: mmap.mmap, places: Sequence[tuple[int, int]], kind: int) -> list[cells.Page]:
    """Inflate pages all at once: each call costs as much as a hundred small pages.

    They are frames of zstd, any number of which is one text; Arrow refuses one that is not of the size that it is told.
    """
    bodies, cuts, heads, size = [], [], [], 0
    for offset, end in places:
        page = part[offset:end]
        inflated, crc, values, encoding, at = cells.read_page_header(page, kind)
        body = page[at:]
        if zlib.crc32(body) != crc:
            raise ValueError("damaged")
        bodies.append(body)
        cuts.append((size, size + inflated))
        heads.append((values, encoding))
        size += inflated
    if size > _MAX_BYTES:
        raise ValueError("large pages")
    text: bytes = _ZSTD.decompress(b"".join(bodies), size, asbytes=True) if bodies else b""
    return [cells.Page(text, *cut, *head) for cut, head in zip(cuts, heads, strict=True)]


class _Entries:
    """What a row has in one leaf column: the definition level of each entry, and the values of those that have one."""

    __slots__ = ("_indexes", "_leaf", "is_coded", "levels", "repeats", "values")

    def __init__(self, leaf: _Leaf, page: cells.Page, row: int, rows: int) -> None:
        self._leaf = leaf
        self.repeats = b""  # repetition levels, of lists of lists
        if leaf.in_inner:
            self.repeats, self.levels, before, at = cells.find_nested(page, row, rows, leaf.highest)
        else:
            self.levels, before, at = cells.find_entries(page, row, rows, bool(leaf.in_list), leaf.highest)
        count = self.levels.count(leaf.highest)
        self.is_coded = count > 0 and page.encoding in _DICTIONARY
        self.values: list[Cell] = []
        if self.is_coded:
            self._indexes = cells.read_indexes(page, at, before, count)
        elif count:
            if page.encoding != _PLAIN:
                raise ValueError("values of another encoding")
            self.values = [*map(leaf.to_python, _read_plain(page, leaf, at, before, count))]

    def look_up(self, dictionary: cells.Page) -> None:
        """Take the values from the dictionary."""
        if dictionary.encoding not in (_PLAIN, _DICTIONARY[0]) or max(self._indexes) >= dictionary.values:
            raise ValueError("not in the dictionary")
        self.values = [*map(self._leaf.to_python, _take(dictionary, self._leaf, self._indexes))]


def _take(dictionary: cells.Page, leaf: _Leaf, indexes: Sequence[int]) -> list[Any]:
    """Values of a dictionary.  Texts lie one behind the other: for many of them they are walked once, not once for each."""
    if not leaf.form and len(indexes) > _FEW:
        texts = _read_plain(dictionary, leaf, dictionary.begin, 0, max(indexes) + 1)
        return [texts[index] for index in indexes]
    return [_read_plain(dictionary, leaf, dictionary.begin, index, 1)[0] for index in indexes]


def _read_plain(page: cells.Page, leaf: _Leaf, at: int, before: int, count: int) -> Sequence[Any]:
    if not leaf.form:
        texts: list[bytes] = cells.read_texts(page, at, before, count)
        return texts
    at += before * leaf.size
    if at + count * leaf.size > page.end:
        raise IndexError("past the end")
    return struct.unpack_from(f"<{count}{leaf.form}", page.text, at)


def _assemble(column: _Column, entries: Iterator[_Entries]) -> Cell:
    leaf, first = column.leaves[0], next(entries)
    if not leaf.in_list:
        return first.values[0] if first.values else None
    others = [next(entries) for _ in column.leaves[1:]]
    for leaf, each in zip(column.leaves, (first, *others), strict=True):
        _check_list(leaf, column.item, each, first)
    leaf = column.leaves[0]
    if first.levels[0] < leaf.in_list:
        return [] if first.levels[0] == leaf.in_list - 1 else None
    items = _fill(leaf, first)
    if leaf.in_inner:
        return _nest(leaf, column.item, first, items)
    if not column.names:
        return items
    fields = [items, *map(_fill, column.leaves[1:], others)]
    return [
        dict(zip(column.names, item, strict=True)) if level >= column.item else None
        for level, item in zip(first.levels, zip(*fields, strict=True), strict=True)
    ]


def _check_list(leaf: _Leaf, item: int, entries: _Entries, first: _Entries) -> None:
    """A list that is null or empty is one entry; structs are null in all of their fields or in none."""
    levels = entries.levels
    if len(levels) > 1 and min(levels) < leaf.in_list:
        raise ValueError("an entry of a list that is not there")
    if entries is first:
        return
    there = [level >= item if level >= leaf.in_list else level for level in levels]
    if there != [level >= item if level >= leaf.in_list else level for level in first.levels]:
        raise ValueError("fields that do not agree")


def _fill(leaf: _Leaf, entries: _Entries) -> list[Cell]:
    """The items of a list, with None where there is no value."""
    each = iter(entries.values)
    return [next(each) if level == leaf.highest else None for level in entries.levels]


def _nest(leaf: _Leaf, inner: int, entries: _Entries, items: list[Cell]) -> list[list[Cell] | None]:
    """The lists of a list: an entry begins another one where it does not go on with the last."""
    lists: list[list[Cell] | None] = []
    for repeat, level, item in zip(entries.repeats, entries.levels, items, strict=True):
        last = lists[-1] if repeat == 2 else None
        if last and level >= leaf.in_inner:
            last.append(item)
        elif repeat == 2:
            raise ValueError("an entry goes on with a list that is not there")
        else:
            lists.append([item] if level >= leaf.in_inner else [] if level >= inner else None)
    return lists
