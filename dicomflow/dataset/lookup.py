"""Find the row of one SOP Instance UID without scanning.

In: the parts of a table, its schema, a UID.  Out: a table of one row or none.  Knows no layout of datasets and no DICOM.

    Bloom filters -> row groups that may hold the key -> the key column of those -> the row

The filters are asked without Arrow (see ``keyfilter``); all values are read by Arrow, with the page checksums verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomflow.dataset.keyfilter import KeyFilter
from dicomflow.errors import DatasetError

_KEY = "SOPInstanceUID"
_KEYS_AT_ONCE = 16_384


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
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DatasetError(f"{part}: cannot be read: {_reason(error)}") from None
        if found is not None:
            return found
    return schema.empty_table()


def _encode(uid: str) -> bytes | None:
    """Text as Parquet stores it; there is none for a lone surrogate."""
    try:
        return uid.encode()
    except UnicodeEncodeError:
        return None


def _reason(error: Exception) -> str:
    """One line, and never a value."""
    if isinstance(error, KeyError):
        return "a column of the schema is missing"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _look_into(part: Path, groups: list[int] | None, schema: pa.Schema, uid: str) -> pa.Table | None:
    about = pq.read_metadata(part)
    with _open(part, about) as file:
        for group in range(about.num_row_groups) if groups is None else groups:
            row = _find_key(file, group, uid)
            if row is not None:
                return _read_row(file, group, row, schema)
    return None


def _open(part: Path, about: pq.FileMetaData) -> pq.ParquetFile:
    """Text stays in its dictionary until there is only one row of it."""
    first = about.row_group(0) if about.num_row_groups else None
    columns = [first.column(index) for index in range(about.num_columns)] if first else []
    encoded = [
        column.path_in_schema
        for column in columns
        if column.has_dictionary_page and column.physical_type == "BYTE_ARRAY"
    ]
    return pq.ParquetFile(
        part, metadata=about, read_dictionary=encoded, pre_buffer=False, page_checksum_verification=True
    )


def _find_key(file: pq.ParquetFile, group: int, uid: str) -> int | None:
    wanted, start = pa.scalar(uid, pa.string()), 0
    for batch in file.iter_batches(_KEYS_AT_ONCE, row_groups=[group], columns=[_KEY], use_threads=False):
        row = pc.index(batch.column(0), wanted).as_py()
        if row >= 0:
            return start + int(row)
        start += batch.num_rows
    return None


def _read_row(file: pq.ParquetFile, group: int, row: int, schema: pa.Schema) -> pa.Table:
    """Decode no row group further than to the row, and no column that holds nothing."""
    empty = _empty_columns(file.metadata.row_group(group))
    columns = [name for name in schema.names if name not in empty]
    batches = file.iter_batches(row + 1, row_groups=[group], columns=columns, use_threads=False)
    found = pa.Table.from_batches([next(batches).slice(row, 1)])
    arrays = [
        pa.nulls(1, field.type) if field.name in empty else found[field.name].cast(field.type) for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _empty_columns(group: pq.RowGroupMetaData) -> set[str]:
    """Flat columns of nothing but nulls, by their statistics."""
    columns = (group.column(index) for index in range(group.num_columns))
    return {
        column.path_in_schema
        for column in columns
        if "." not in column.path_in_schema
        and column.is_stats_set
        and column.statistics.null_count == group.num_rows
    }
