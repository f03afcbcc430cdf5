"""Find the row of one SOP Instance UID without scanning.

In: the parts of a table, its schema, a UID.  Out: a table of one row or none.  Knows no layout of datasets and no DICOM.

    Bloom filters -> row groups that may hold the key -> the key column of those -> page index -> the row's pages

Filters and page index are read without Arrow, which has no way to ask for them (``keyfilter``, ``pages``); all values are
read by Arrow, with the page checksums verified.  Parts are mapped into memory: they are replaced, never written to.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomflow.dataset.keyfilter import KeyFilter
from dicomflow.dataset.pages import hide_pages
from dicomflow.dataset.writer import DISTINCT_COLUMNS
from dicomflow.errors import DatasetError, describe

_KEY = "SOPInstanceUID"
_ROWS_AT_ONCE = 16_384
_FIRST_PAGE_ROWS = 16_384
"""Rows that are read from the beginning: to learn where other pages begin costs as much."""


def find_row(parts: Sequence[Path], schema: pa.Schema, uid: str) -> pa.Table:
    """Find the row of this SOP Instance UID; in a table that has several, the first.

    Args:
        parts: Parquet files, looked through in this order until the row is found.
        schema: what every part holds.
        uid: compared exactly.

    Returns:
        One row or none, with all columns of ``schema`` in its types.

    Raises:
        DatasetError: a part cannot be read, or is damaged where it had to be read.
    """
    key = _encode(uid)
    if key is None:
        return schema.empty_table()
    ask = KeyFilter(_KEY, key).ask
    for part in parts:
        try:
            groups = ask(part)
            found = None if groups == [] else _look_into(part, groups, schema, uid)
        except OSError as error:
            raise DatasetError(f"{part}: cannot be read: {describe(error)}") from None
        except (pa.ArrowException, LookupError, ValueError, StopIteration) as error:  # their text may quote a value
            raise DatasetError(f"{part}: damaged, or not of this schema: {type(error).__name__}") from None
        if found is not None:
            return found
    return schema.empty_table()


def _encode(uid: str) -> bytes | None:
    """Text as Parquet stores it; there is none for a lone surrogate."""
    try:
        return uid.encode()
    except UnicodeEncodeError:
        return None


def _look_into(part: Path, groups: list[int] | None, schema: pa.Schema, uid: str) -> pa.Table | None:
    with open(part, "rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    file = _open(data, schema)
    for group in range(file.num_row_groups) if groups is None else groups:
        row = _find_key(file, group, uid)
        if row is not None:
            found = _read_row(file, group, row, schema, _hide_pages(data, group, row, schema))
            if found[_KEY].to_pylist() != [uid]:
                raise ValueError("the page index leads to another row")
            return found
    return None


def _open(data: mmap.mmap, schema: pa.Schema) -> pq.ParquetFile:
    """Text stays in its dictionary until there is only one row of it.

    What the footer says of a column is not asked for in Python: of a damaged footer, Arrow answers by ending the process.
    """
    repeated = [field.name for field in schema if field.type == pa.string() and field.name not in DISTINCT_COLUMNS]
    source = pa.BufferReader(pa.py_buffer(data))
    return pq.ParquetFile(source, read_dictionary=repeated, pre_buffer=False, page_checksum_verification=True)


def _find_key(file: pq.ParquetFile, group: int, uid: str) -> int | None:
    wanted, start = pa.scalar(uid, pa.string()), 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[_KEY], use_threads=False):
        row = pc.index(batch[_KEY], wanted).as_py()
        if row >= 0:
            return start + int(row)
        start += batch.num_rows
    return None


def _hide_pages(data: mmap.mmap, group: int, row: int, schema: pa.Schema) -> list[int]:
    """The row at which each column now begins: 0 where nothing is gained, or the page index is not as expected."""
    unchanged = [0] * len(schema)
    if row < _FIRST_PAGE_ROWS or schema.names[0] != _KEY:
        return unchanged
    try:
        return hide_pages(data, group, row, [_count_leaves(field.type) for field in schema])
    except (ValueError, IndexError, KeyError):
        return unchanged


def _count_leaves(kind: pa.DataType) -> int:
    return sum(_count_leaves(kind.field(index).type) for index in range(kind.num_fields)) or 1


def _read_row(file: pq.ParquetFile, group: int, row: int, schema: pa.Schema, begins: list[int]) -> pa.Table:
    """Decode the columns no further than to the row, together where they begin together."""
    together: dict[int, list[str]] = {}
    for name, begin in zip(schema.names, begins, strict=True):
        together.setdefault(begin, []).append(name)
    found = {}
    for begin, names in together.items():
        batch = _read_one(file, group, row - begin, names)
        found.update({name: batch[name] for name in names})
    return pa.Table.from_arrays([found[field.name].cast(field.type) for field in schema], schema=schema)


def _read_one(file: pq.ParquetFile, group: int, row: int, names: list[str]) -> pa.RecordBatch:
    size = min(row + 1, _ROWS_AT_ONCE)
    batches = file.iter_batches(size, row_groups=[group], columns=names, use_threads=False)
    return next(islice(batches, row // size, None)).slice(row % size, 1)
