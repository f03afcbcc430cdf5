"""Decode the raw value of a column, whatever its kind: one attribute, a sequence as JSON, a value of each item.

In: a Column, a RawValue.  Out: Decoded.  Knows the three kinds of columns; the values themselves are ``values``' trade.
"""

from __future__ import annotations

from dicomflow.header.dicom_json import decode_sequence
from dicomflow.header.items import PACKED, unpack_items
from dicomflow.header.values import MAX_ISSUES, Decoded, decode_value
from dicomflow.model import RawValue
from dicomflow.schema.column import Column


def decode_column_value(value: RawValue, column: Column) -> Decoded:
    """What the column holds for this value.

    With ``[*]`` it is a list with one place per item, null where an item has no value; the value of a path without ``[*]``
    is a list of one.
    """
    if not column.each:
        return _decode_one(value, column)
    if value.vr != PACKED:
        return _make_list([_decode_one(value, column)])
    return _make_list([Decoded(None) if one is None else _decode_one(one, column) for one in unpack_items(value)])


def _decode_one(value: RawValue, column: Column) -> Decoded:
    return decode_sequence(value) if column.vr == "SQ" else decode_value(value, column.vr, column.many)


def _make_list(places: list[Decoded]) -> Decoded:
    issues = tuple(issue for place in places for issue in place.issues)[:MAX_ISSUES]
    values = [place.value for place in places]
    return Decoded(values if any(value is not None for value in values) else None, issues)
