"""Decode many distinct values at once where they are plain: the fast half of decoding, for columns that differ per instance.

In: the distinct raw values of one column in one context, as Arrow binary.  Out: an Arrow array, or None: "not all plain".
Knows nothing of rows.  Law: where this gives an array, ``values.decode_value`` gives the same values and no issue; whatever
is not obviously plain (other characters, odd forms, faults) is left to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.header.items import NONE, make_value, split_items
from dicomflow.model import RawValue
from dicomflow.schema.column import Column

Decode = Callable[["RawColumn"], pa.Array | None]

_UID = r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*$"
_DECIMAL = r"^[+-]?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})([eE][+-]?[0-9]{1,2})?$"
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_TIME = r"^([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](\.[0-9]{1,6})?$"
_MAX_UID = 64


class RawColumn:
    """Distinct raw values, all of one VR and byte order: ``offsets`` int32[n+1] into ``data``."""

    def __init__(self, offsets: npt.NDArray[np.int32], data: bytearray, big_endian: bool) -> None:
        self.offsets = offsets
        self.data = data
        self.big_endian = big_endian
        self.count = len(offsets) - 1

    def texts(self) -> pa.Array | None:
        """The values as strings without their trailing padding, if all else in them is printable ASCII."""
        raw = np.frombuffer(self.data, np.uint8, int(self.offsets[-1]))
        if not bool((((raw >= 0x20) & (raw < 0x7F)) | (raw == 0)).all()):
            return None
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        texts = pc.ascii_rtrim(pa.Array.from_buffers(pa.string(), self.count, buffers), characters=" \0")
        return None if bool((raw == 0).any()) and pc.any(pc.match_substring(texts, "\0")).as_py() else texts

    def numbers(self, kind: str) -> npt.NDArray[np.generic] | None:
        """The values as numbers of this numpy type, if each has exactly its size."""
        dtype = np.dtype(kind).newbyteorder(">" if self.big_endian else "<")
        if not bool((np.diff(self.offsets) == dtype.itemsize).all()):
            return None
        return np.frombuffer(self.data, dtype, self.count).astype(dtype.newbyteorder("="))


def decode_plain(column: Column, vr: str, raw: RawColumn) -> pa.Array | None:
    """The typed values of a column, or None where ``decode_value`` has to look at each one.

    Args:
        column: how the values are delivered.
        vr: the VR of all of them in the file; only values of the column's own VR are plain.
        raw: the values.
    """
    table = _LISTS if column.many else _SCALARS
    decode = table.get(column.vr) if vr == column.vr else None
    return None if decode is None else decode(raw)


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask).as_py())


def _text(raw: RawColumn) -> pa.Array | None:
    texts = _without_leading_spaces(raw)
    return None if texts is None else pc.if_else(pc.equal(texts, ""), None, texts)


def _without_leading_spaces(raw: RawColumn) -> pa.Array | None:
    """For the VRs whose leading spaces mean nothing (PS3.5 table 6.2-1)."""
    texts = raw.texts()
    return None if texts is None else pc.ascii_ltrim(texts, characters=" ")


def _uid(raw: RawColumn) -> pa.Array | None:
    texts = raw.texts()
    if texts is None or not _all(pc.match_substring_regex(texts, _UID)):
        return None
    return texts if pc.max(pc.binary_length(texts)).as_py() <= _MAX_UID else None


def _decimal(raw: RawColumn) -> pa.Array | None:
    texts = _without_leading_spaces(raw)
    return None if texts is None else _parse_decimals(texts)


def _parse_decimals(texts: pa.Array) -> pa.Array | None:
    if not _all(pc.match_substring_regex(texts, _DECIMAL)):
        return None
    return pc.cast(pc.ascii_ltrim(texts, characters="+"), pa.float64())


def _decimal_list(raw: RawColumn) -> pa.Array | None:
    texts = raw.texts()
    if texts is None:
        return None
    lists = pc.split_pattern(texts, "\\")
    values = _parse_decimals(pc.ascii_trim(lists.values, characters=" "))
    return None if values is None else pa.ListArray.from_arrays(lists.offsets, values)


def _integer(raw: RawColumn) -> pa.Array | None:
    texts = _without_leading_spaces(raw)
    if texts is None or not _all(pc.match_substring_regex(texts, _INTEGER)):
        return None
    return pc.cast(texts, pa.int64())


def _time(raw: RawColumn) -> pa.Array | None:
    texts = raw.texts()
    if texts is None or not _all(pc.match_substring_regex(texts, _TIME)):
        return None
    whole = pc.cast(pc.utf8_slice_codeunits(texts, 0, 6), pa.int64()).to_numpy(zero_copy_only=False)
    fraction = pc.utf8_rpad(pc.utf8_slice_codeunits(texts, 7, 13), 6, "0")
    micros = pc.cast(fraction, pa.int64()).to_numpy(zero_copy_only=False)
    seconds = whole // 10000 * 3600 + whole // 100 % 100 * 60 + whole % 100
    return pa.array(seconds * 1_000_000 + micros, pa.int64()).cast(pa.time64("us"))


def _binary(kind: str, to: pa.DataType) -> Decode:
    def decode(raw: RawColumn) -> pa.Array | None:
        numbers = raw.numbers(kind)
        if numbers is None or (numbers.dtype.kind == "f" and not bool(np.isfinite(numbers).all())):
            return None
        return pa.array(numbers).cast(to)

    return decode


_SCALARS: dict[str, Decode] = {
    "UI": _uid,
    "CS": _text,
    "SH": _text,
    "LO": _text,
    "DS": _decimal,
    "IS": _integer,
    "TM": _time,
    "US": _binary("u2", pa.int32()),
    "SS": _binary("i2", pa.int32()),
    "UL": _binary("u4", pa.int64()),
    "SL": _binary("i4", pa.int64()),
    "FD": _binary("f8", pa.float64()),
    "FL": _binary("f4", pa.float32()),
}


def _binary_list(kind: str, to: pa.DataType) -> Decode:
    size = np.dtype(kind).itemsize

    def decode(raw: RawColumn) -> pa.Array | None:
        if bool((np.diff(raw.offsets) % size != 0).any()):
            return None
        every = RawColumn(np.arange(0, int(raw.offsets[-1]) + 1, size, dtype=np.int32), raw.data, raw.big_endian)
        values = _binary(kind, to)(every)
        return None if values is None else pa.ListArray.from_arrays(pa.array(raw.offsets // size), values)

    return decode


_LISTS: dict[str, Decode] = {
    "DS": _decimal_list,
    "US": _binary_list("u2", pa.int32()),
    "SS": _binary_list("i2", pa.int32()),
    "UL": _binary_list("u4", pa.int64()),
    "SL": _binary_list("i4", pa.int64()),
    "FD": _binary_list("f8", pa.float64()),
    "FL": _binary_list("f4", pa.float32()),
}


def decode_plain_items(column: Column, packed: RawValue) -> pa.Array | None:
    """The typed values of all items of a packed list, null where an item has none; None where not all are plain."""
    items = split_items(packed)
    present = (items.lengths != NONE) & (items.lengths > 0)
    contexts = items.contexts[present]
    if not len(contexts) or bool((contexts != contexts[0]).any()):
        return None
    offsets = np.zeros(len(contexts) + 1, np.int32)
    np.cumsum(items.lengths[present], out=offsets[1:])
    first = make_value(b"", int(contexts[0]), None)
    values = decode_plain(column, first.vr, RawColumn(offsets, bytearray(items.values), first.big_endian))
    if values is None:
        return None
    if values.null_count == len(values):  # nothing but padding: the list is null, and no list of nulls
        return None
    places = np.cumsum(present) - 1
    return values.take(pa.array(places, pa.int64(), mask=~present))
