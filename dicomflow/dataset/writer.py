"""Write a table of rows as one Parquet DataFile.

In: a RecordBatch or Table, the schema of its table, a path.  Out: a DataFile, written under a temporary name and renamed.
Knows no DICOM and no dataset.

Repetitive text arrives dictionary-encoded and is written as it is, which spares hashing each value again; the file's Arrow
schema still says ``string``, so that every part reads back with the very schema that was decided before the scan.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.dataset.storage import write_atomically
from dicomflow.model import DataFile

if TYPE_CHECKING:
    from dicomflow.config import DatasetConfig  # its models take long to make, and readers ask what is written, too

DISTINCT_COLUMNS = frozenset({"SOPInstanceUID", "source_uri", "uri", "header_digest", "slice_positions"})
"""Different in every row: a dictionary would only cost, that of ``slice_positions`` half of ``series``."""

_KEY = "SOPInstanceUID"

_BATCH_ROWS = 4096
"""Rows after which the size of a page is looked at: Arrow's 1,024 cost a quarter more, 16,384 a twentieth less."""

_PAGE_BYTES = 64 * 1024
"""Before compression.  Keys, paths and lists have pages of a few thousand rows, so that a row among them is found soon; what
repeats is small, and goes on to Arrow's 20,000 rows."""


def repeating_text(schema: pa.Schema) -> list[str]:
    """Text columns whose values repeat: worth a dictionary, in a file and in memory."""
    return [field.name for field in schema if pa.types.is_string(field.type) and field.name not in DISTINCT_COLUMNS]


def write_data_file(
    rows: pa.Table, schema: pa.Schema, table: str, folder: Path, name: str, config: DatasetConfig
) -> DataFile:
    """Write ``rows`` to ``folder/table/name``.

    Args:
        rows: columns in the order of ``schema``; text may be dictionary-encoded.
        schema: what readers see.
        table: ``instances``, ``files`` or ``conflicts``.
        folder: the dataset, or a staging folder.
        name: name of the file, with ``.parquet``.
        config: compression, row groups, bloom filter.

    Raises:
        DatasetError: it cannot be written; nothing is left behind.
    """
    path = folder / table / name
    rows = _conform(rows, schema)
    write_atomically(path, lambda temporary: _write(rows, schema, temporary, config))
    return DataFile(table=table, path=f"{table}/{name}", rows=rows.num_rows, bytes=path.stat().st_size)


def _conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Check names and types against the schema; dictionary-encoded text counts as text."""
    if rows.column_names != schema.names:
        raise ValueError("the columns are not those of the schema")
    for found, declared in zip(rows.schema, schema, strict=True):
        value_type = found.type.value_type if pa.types.is_dictionary(found.type) else found.type
        if value_type != declared.type:
            raise ValueError(f"column {declared.name}: {found.type} instead of {declared.type}")
    return rows


def _write(rows: pa.Table, schema: pa.Schema, path: Path, config: DatasetConfig) -> None:
    stored = pa.schema([field.with_type(rows.schema.field(index).type) for index, field in enumerate(schema)])
    # a sink of our own is closed, and gives its space back, even where the writer cannot be closed
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(
            sink,
            stored,
            compression="zstd",
            compression_level=config.compression_level,
            write_batch_size=_BATCH_ROWS,
            use_dictionary=[path for field in schema for path in _repeating_leaves(field)],
            data_page_size=_PAGE_BYTES,
            write_page_index=True,
            write_page_checksum=True,
            store_schema=False,
            bloom_filter_options=_bloom_filter(rows, config),
        ) as writer,
    ):
        if rows.num_rows:  # an empty row group costs as much as a full one
            writer.write_table(rows.cast(stored) if rows.schema != stored else rows, config.row_group_rows)
        writer.add_key_value_metadata(_key_values(schema))


def _repeating_leaves(field: pa.Field) -> list[str]:
    """Paths of the leaves of a column that are worth a dictionary: ``ImageType.list.element``."""
    if field.name in DISTINCT_COLUMNS:
        return []
    if not pa.types.is_list(field.type):
        return [field.name]
    path, item = f"{field.name}.list.element", field.type.value_type
    return [f"{path}.{item.field(place).name}" for place in range(item.num_fields)] or [path]


def _bloom_filter(rows: pa.Table, config: DatasetConfig) -> dict[str, object] | None:
    if not config.bloom_filter or _KEY not in rows.column_names:
        return None
    return {_KEY: {"ndv": max(1, rows.num_rows), "fpp": 0.01}}


def _key_values(schema: pa.Schema) -> dict[str, str]:
    """The schema's own metadata, and the Arrow schema as Arrow stores it (base64 of the IPC message)."""
    plain = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    return {**plain, "ARROW:schema": base64.b64encode(schema.serialize().to_pybytes()).decode()}
