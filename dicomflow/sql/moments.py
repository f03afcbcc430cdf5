"""Dates and times that Arrow and Python cannot write: infinite ones, years beyond 9999 or before 1, 24:00:00.

In: a RecordBatch as DuckDB makes it.  Out: the same, with text in place of the columns that hold such a value.  Looks at the
numbers alone: a column without such values costs next to nothing, and stays as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_DAY = 86_400
_FIRST, _LAST = -719_162, 2_932_896
"""Days from 1970-01-01 to 0001-01-01 and to 9999-12-31."""

_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}

Numbers = npt.NDArray[np.int64]


def spell_out(batch: pa.RecordBatch, *, for_python: bool = False) -> pa.RecordBatch:
    """The batch with text where a column has a value that cannot be written otherwise.

    Args:
        batch: of any types; what is nested is left as it is.
        for_python: values of a nanosecond are such, too: there they are rounded or refused.

    >>> day = pa.array([2**31 - 1], pa.int32()).view(pa.date32())
    >>> spell_out(pa.record_batch({"day": day})).to_pylist()
    [{'day': 'infinity'}]
    """
    columns = [_spell(column, for_python) if _is_moment(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date32(kind) or pa.types.is_timestamp(kind) or pa.types.is_time64(kind))


def _spell(column: pa.Array, for_python: bool) -> pa.Array:
    kind = column.type
    stored = _numbers(column)
    if not len(stored) or not _is_strange(kind, stored, for_python).any():
        return column
    valid = np.array([value is not None for value in column.view(_integer(kind)).to_pylist()])
    if not _is_strange(kind, stored[valid], for_python).any():  # what lies under a null is no value
        return column
    return pa.array(_texts(kind, stored), pa.string(), mask=~valid)


def _integer(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if pa.types.is_date32(kind) else pa.int64()


def _numbers(column: pa.Array) -> Numbers:
    width = np.int32 if pa.types.is_date32(column.type) else np.int64
    stored = np.frombuffer(column.buffers()[1] or b"", width)
    return stored[column.offset : column.offset + len(column)].astype(np.int64)


def _is_strange(kind: pa.DataType, stored: Numbers, for_python: bool) -> npt.NDArray[np.bool_]:
    if pa.types.is_date32(kind):
        return (stored < _FIRST) | (stored > _LAST)
    day = _DAY * _PER_SECOND[kind.unit]
    if pa.types.is_time64(kind):
        strange = (stored < 0) | (stored >= day)
    else:  # the bounds of a nanosecond lie beyond 64 bits
        lowest, highest = max(_FIRST * day, -(2**63) + 2), min((_LAST + 1) * day - 1, 2**63 - 2)
        strange = (stored < lowest) | (stored > highest)
    return strange | (stored % 1000 != 0) if for_python and kind.unit == "ns" else strange


def _texts(kind: pa.DataType, stored: Numbers) -> list[str]:
    if pa.types.is_time64(kind):
        return [_write_time(value, kind.unit) for value in stored.tolist()]
    unit = "D" if pa.types.is_date32(kind) else kind.unit
    zone = "+0000" if pa.types.is_timestamp(kind) and kind.tz else ""
    written = np.datetime_as_string(stored.astype(f"datetime64[{unit}]")).tolist()
    most = 2**31 - 1 if unit == "D" else 2**63 - 1
    endless = {most: "infinity", -most: "-infinity"}
    pairs = zip(stored.tolist(), written, strict=True)
    return [endless.get(value) or _four_digits(text).replace("T", " ") + zone for value, text in pairs]


def _four_digits(text: str) -> str:
    """ISO 8601: the year 44 BC is -0043; numpy counts the sign as a digit."""
    year, _, rest = text[1:].partition("-")
    return f"-{year:0>4}-{rest}" if text.startswith("-") else text


def _write_time(value: int, unit: str) -> str:
    seconds, rest = divmod(value, _PER_SECOND[unit])
    digits = len(str(_PER_SECOND[unit])) - 1
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:0{digits}}"
