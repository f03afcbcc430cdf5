# cython: language_level=3, annotation_typing=False
"""Walk the footer of a Parquet file in place, as far as a lookup needs it.  Compiled where it can be; types: ``footer.pxd``.

In: bytes.  Out: numbers and places in these bytes.  Knows Thrift's compact protocol, and of parquet.thrift that FileMetaData
begins with version, schema, number of rows and row groups; reads no file.

Whatever is not exactly as expected raises ValueError or IndexError.  Each step consumes a byte, and depth is bounded, so
hostile bytes end the walk soon.
"""

from __future__ import annotations

BINARY, LIST, STRUCT = 8, 9, 12
I64 = 6
_FALSE, _SET = 2, 10  # types 1 and 2 are true and false, 3 to 6 integers, 9 and 10 lists and sets
_MAX_DEPTH = 8
_LIST_OF_ONE_TEXT = b"\x19\x18"


def end_of_schema(footer: bytes) -> int:
    """Where version (field 1, i32) and schema (field 2, a list) end."""
    _, at = read_varint(footer, expect(footer, 0, 0x15))
    return skip(footer, expect(footer, at, 0x19), LIST, 0)


def count_row_groups(footer: bytes, at: int) -> tuple[int, int]:
    """Behind the schema: number of rows (field 3, i64), row groups (field 4); how many, and where they begin."""
    _, at = read_varint(footer, expect(footer, at, 0x16))
    size, kind, at = read_list(footer, expect(footer, at, 0x19))
    if size and kind != STRUCT:
        raise ValueError("no row groups")
    return size, at


def find_keys(footer: bytes, column: str, at: int, groups: int) -> list[int]:
    """For each row group, where the path of this column ends (field 3 of a ColumnMetaData).

    The path is searched as bytes, which may also stand in a value among the statistics; but each row group has one, so
    where they are found just as often as there are row groups, each find is a true one.
    """
    text = bytes([len(column)]) + column.encode()  # looked for without what is before it: twice as quick
    found = []
    while (at := footer.find(text, at)) >= 0:
        is_path = footer.startswith(_LIST_OF_ONE_TEXT, at - len(_LIST_OF_ONE_TEXT))
        at += len(text)
        if is_path:
            found.append(at)
    if len(found) != groups:
        raise ValueError("not one key column in each row group")
    return found


def find_i64(data: bytes, at: int, field: int, wanted: int) -> tuple[int | None, int]:
    """A field (i64) of a struct that is read on from behind ``field``; and where the struct ends."""
    value = None
    while head := data[at]:
        step, kind = divmod(head, 16)
        field += step
        if not step:
            raise ValueError("a field's number in full")
        if field == wanted and kind == I64:
            value = read_varint(data, at + 1)[0] >> 1
        at = skip(data, at + 1, kind, 0)
    return value, at + 1


def skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """The end of a value of this type; what footers do not use is refused."""
    if _FALSE < kind <= I64:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = read_varint(data, at)
        return at + size
    if 0 < kind <= _FALSE:  # the value is the type
        return at
    if LIST <= kind <= _SET and depth < _MAX_DEPTH:
        return _skip_list(data, at, depth)
    if kind == STRUCT and depth < _MAX_DEPTH:
        return _skip_struct(data, at, depth)
    raise ValueError("not a type of a footer")


def _skip_list(data: bytes, at: int, depth: int) -> int:
    size, kind, at = read_list(data, at)
    if 0 < kind <= _FALSE:  # inside a list it has a byte
        return at + size
    for _ in range(size):
        at = skip(data, at, kind, depth + 1)
        if at > len(data):
            raise ValueError("a list reaches past the end")
    return at


def _skip_struct(data: bytes, at: int, depth: int) -> int:
    while head := data[at]:
        at += 1
        if head < 16:  # the field's number in full
            _, at = read_varint(data, at)
        at = skip(data, at, head & 15, depth + 1)
    return at + 1


def expect(data: bytes, at: int, value: int) -> int:
    """This byte stands here; the place behind it."""
    if data[at] != value:
        raise ValueError("another layout")
    return at + 1


def read_list(data: bytes, at: int) -> tuple[int, int, int]:
    """Size, type of the elements, and where they begin."""
    size, kind = divmod(data[at], 16)
    at += 1
    if size == 15:
        size, at = read_varint(data, at)
    return size, kind, at


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and where it ends; signed ones hold their sign in the lowest bit."""
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
    return value | byte << shift, at + 1
