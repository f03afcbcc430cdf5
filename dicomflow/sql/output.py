"""An answer as CSV, JSON, NDJSON or Parquet, batch by batch: however long it is, memory holds some thousand rows.

In: an Answer.  Out: bytes, or a Parquet file.  Knows no command.

DuckDB makes the text of JSON, and nested columns of CSV; here it is only passed on.  All text is UTF-8.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from dicomflow.errors import DatasetError
from dicomflow.sql.expressions import to_csv_columns, to_json_line, to_parquet_columns, to_table_columns
from dicomflow.sql.moments import spell_out
from dicomflow.sql.sandbox import BATCH_ROWS, Answer

ROW_GROUP_ROWS = 65_536
_LINES = 4096
"""Lines of JSON at once; of instances each has some kB."""


def iter_csv(answer: Answer, limit: int | None = None) -> Iterator[bytes]:
    """CSV with a header line, RFC 4180 but for the line ends; text is quoted, null is empty and not quoted.

    Lists and structs are JSON.  In a batch that has a date or time which cannot be written as one (``infinity``), that column
    is text.

    Raises:
        DatasetError: the query fails on the way.
    """
    yield ",".join('"' + name.replace('"', '""') + '"' for name, _ in answer.columns).encode() + b"\n"
    options = csv.WriteOptions(include_header=False)
    for batch in take(answer.batches(to_csv_columns(answer.columns)), limit):
        sink = io.BytesIO()
        csv.write_csv(spell_out(batch), sink, options)
        yield sink.getvalue()


def iter_ndjson(answer: Answer, limit: int | None = None) -> Iterator[bytes]:
    """A JSON object a line.

    Raises:
        DatasetError: two columns have one name, or the query fails on the way.
    """
    return _iter_lines(answer, "|| chr(10)", limit)


def iter_json(answer: Answer, limit: int | None = None) -> Iterator[bytes]:
    """One JSON array of objects, an object a line.

    Raises:
        DatasetError: two columns have one name, or the query fails on the way.
    """
    is_first = True
    for chunk in _iter_lines(answer, "", limit, before="',' || chr(10) ||"):
        yield b"[" + chunk[1:] if is_first else chunk
        is_first = False
    yield b"[]\n" if is_first else b"\n]\n"


FORMATS: dict[str, Callable[[Answer, int | None], Iterator[bytes]]] = {
    "csv": iter_csv,
    "json": iter_json,
    "ndjson": iter_ndjson,
}
"""Name of a format that is text -> what makes it."""


def write_parquet(answer: Answer, path: Path, limit: int | None = None) -> None:
    """A Parquet file, zstd.  Types that Parquet has not (INTERVAL, BIT) are text.

    Raises:
        DatasetError: two columns have one name, or the query fails on the way.
        OSError: the file cannot be written.
    """
    _check_names(answer)
    batches = take(answer.batches(to_parquet_columns(answer.columns), ROW_GROUP_ROWS), limit)
    first = next(batches, None)
    schema = answer.schema(to_parquet_columns(answer.columns)) if first is None else first.schema
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in () if first is None else chain([first], batches):
            writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)


def iter_rows(answer: Answer, limit: int | None = None, at_once: int = BATCH_ROWS) -> Iterator[tuple[Any, ...]]:
    """Rows as Python values, to be shown; without names: two columns may have the same.

    Args:
        answer: whose rows.
        limit: no more than so many.
        at_once: how many to ask for.

    Raises:
        DatasetError: the query fails on the way.
    """
    for batch in take(answer.batches(to_table_columns(answer.columns), at_once), limit):
        columns = spell_out(batch, for_python=True).columns
        yield from zip(*(column.to_pylist() for column in columns), strict=True)


def take(batches: Iterable[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """No more than so many rows; nothing is computed for others.

    >>> [batch.num_rows for batch in take([pa.record_batch({"n": [1, 2, 3]})] * 3, 4)]
    [3, 1]
    """
    left = limit
    for batch in batches if limit != 0 else ():
        yield batch if left is None else batch.slice(0, left)
        left = None if left is None else left - min(left, batch.num_rows)
        if left == 0:
            return


def _iter_lines(answer: Answer, after: str, limit: int | None, before: str = "") -> Iterator[bytes]:
    _check_names(answer)
    line = f"{before} {to_json_line(answer.columns)} {after}"
    for batch in take(answer.batches([line], _LINES), limit):
        if batch.num_rows:
            yield _join(batch.column(0))


def _join(texts: pa.StringArray) -> bytes:
    """All texts of an array, one behind the other: they lie so."""
    offsets = memoryview(texts.buffers()[1]).cast("i")
    start, end = offsets[texts.offset], offsets[texts.offset + len(texts)]
    return bytes(memoryview(texts.buffers()[2])[start:end])


def _check_names(answer: Answer) -> None:
    seen: set[str] = set()
    for name, _ in answer.columns:
        if name in seen:
            raise DatasetError(f"two columns are called {name[:64]!r}; give one of them another name: ... AS name")
        seen.add(name)
