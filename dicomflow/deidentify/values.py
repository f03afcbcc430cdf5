"""Actions on Arrow columns; a value that repeats is worked on once.

In: a column, the function or the days of its rows.  Out: a column of the same type (text may come dictionary-encoded).
Knows no tags and no rules.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Days = npt.NDArray[np.float64]
"""For each row the days to add; NaN where nobody knows whose dates they are."""

_DAY_MICROSECONDS = 86_400_000_000
_FIRST_DAY = dt.date.min.toordinal() - dt.date(1970, 1, 1).toordinal()
_LAST_DAY = dt.date.max.toordinal() - dt.date(1970, 1, 1).toordinal()

_DUMMIES: tuple[tuple[Callable[[pa.DataType], bool], Any], ...] = (
    (pa.types.is_string, "ANONYMIZED"),
    (pa.types.is_date, dt.date(1900, 1, 1)),
    (pa.types.is_time, dt.time(0)),
    (pa.types.is_timestamp, dt.datetime(1900, 1, 1)),
    (pa.types.is_integer, 0),
    (pa.types.is_floating, 0.0),
)

DUMMY_TEXT = "ANONYMIZED"


def replace_texts(column: pa.Array, replace: Callable[[str], str | None]) -> pa.Array:
    """Each text by what ``replace`` makes of it; lists of texts item by item."""
    if is_nested(column.type):
        return rebuild_list(column, replace_texts(column.flatten(), replace))
    encoded = encode(column)
    made = [None if text is None else replace(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(encoded.indices)


def make_dummies(column: pa.Array) -> pa.Array:
    """A value that says nothing where there is one; lists keep their lengths."""
    if is_nested(column.type):
        return rebuild_list(column, make_dummies(column.flatten()))
    plain = decode(column)
    value = next(value for fits, value in _DUMMIES if fits(plain.type))
    return pc.if_else(plain.is_valid(), pa.scalar(value, plain.type), pa.scalar(None, plain.type))


def shift_dates(column: pa.Array, days: Days) -> pa.Array:
    """Dates and timestamps moved by whole days; null where that leaves the calendar, or the days are not known."""
    if is_nested(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        return rebuild_list(column, shift_dates(column.flatten(), np.repeat(days, lengths)))
    unknown = pa.array(np.isnan(days))
    whole = pa.array(np.nan_to_num(days).astype(np.int64))
    per_day = 1 if pa.types.is_date32(column.type) else _DAY_MICROSECONDS
    stored = column.cast(pa.int32()).cast(pa.int64()) if per_day == 1 else column.cast(pa.int64())
    moved = pc.add(stored, pc.multiply(whole, per_day))
    outside = pc.or_(pc.less(moved, _FIRST_DAY * per_day), pc.greater_equal(moved, (_LAST_DAY + 1) * per_day))
    kept = pc.if_else(pc.or_(unknown, pc.fill_null(outside, False)), pa.scalar(None, pa.int64()), moved)
    return kept.cast(pa.int32()).cast(column.type) if per_day == 1 else kept.cast(column.type)


def is_nested(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return bool(pa.types.is_list(kind))


def encode(column: pa.Array) -> pa.DictionaryArray:
    """Dictionary-encoded, with no more entries than rows: a part's dictionary can be that of a whole row group."""
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode()
    return column if len(column.dictionary) <= len(column) else decode(column).dictionary_encode()


def decode(column: pa.Array) -> pa.Array:
    """Without a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def rebuild_list(column: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Lists of the same lengths, nulls where they were, with other values (as many as ``column.flatten()`` has)."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    mask = column.is_null() if column.null_count else None
    return pa.ListArray.from_arrays(pa.array(ends), decode(values), mask=mask)
