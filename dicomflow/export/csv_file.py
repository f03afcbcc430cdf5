"""Write rows as CSV.

In: RecordBatches.  Out: a header line and a line a row (RFC 4180 but for the line ends, UTF-8).  Knows no rules.

Dates and times are ISO 8601; the values of a list are joined with a backslash, as DICOM does it (PS3.5 6.4); what is nested
deeper is JSON.  Null is an empty cell.  A text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from dicomflow.deidentify.values import decode, rebuild_list

FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"
"""How a text begins that a spreadsheet may run."""


def write_csv(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO, *, formulas: bool = False) -> int:
    """Write the rows; how many.

    Args:
        batches: of ``schema``; text may be dictionary-encoded.
        schema: gives the header line.
        sink: is written from its beginning to its end.
        formulas: whether texts that look like formulas are left as they are.
    """
    kinds = [pa.string() if _is_text(field.type) else field.type for field in schema]
    flat = pa.schema([field.with_type(kind).remove_metadata() for field, kind in zip(schema, kinds, strict=True)])
    rows = 0
    with csv.CSVWriter(pa.PythonFile(sink, "w"), flat) as writer:
        for batch in batches:
            columns = [_flatten(column, formulas=formulas) for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
            rows += batch.num_rows
    return rows


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_nested(kind))


def _flatten(column: pa.Array, *, formulas: bool) -> pa.Array:
    """A text or plain number for each cell."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _is_text(kind):
        return column
    if pa.types.is_dictionary(column.type):
        texts = column.dictionary if formulas else _disarm(column.dictionary)
        return texts.take(column.indices)
    texts = _join(column) if pa.types.is_nested(kind) else column
    numeric = pa.types.is_list(kind) and not _is_text(kind.value_type)  # a list of numbers may begin with a minus
    return texts if formulas or numeric else _disarm(texts)


def _join(column: pa.Array) -> pa.Array:
    items = column.type.value_type if pa.types.is_list(column.type) else None
    if items is None or pa.types.is_nested(items):
        return pa.array([None if value is None else _dump(value) for value in column.to_pylist()], pa.string())
    values = pc.fill_null(decode(column.flatten()).cast(pa.string()), "")
    return pc.binary_join(rebuild_list(column, values), "\\")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain, separators=(",", ":"))


def _plain(value: dt.date | dt.time) -> str:
    return value.isoformat()


def _disarm(texts: pa.Array) -> pa.Array:
    suspect = pc.match_substring_regex(texts, FORMULA)
    if not pc.any(suspect).as_py():
        return texts
    return pc.if_else(suspect, pc.binary_join_element_wise("'", texts, ""), texts)
