"""Write rows as one Parquet file.

In: RecordBatches.  Out: a file with the types and the field metadata of ``instances``.  Knows no rules.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.dataset.writer import DISTINCT_COLUMNS, repeating_text
from dicomflow.deidentify.values import decode

ROW_GROUP_ROWS = 131_072


def write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO, *, level: int = 1) -> int:
    """Write the rows; how many.

    Args:
        batches: of ``schema``; text may be dictionary-encoded.
        schema: what readers see.
        sink: is written from its beginning to its end.
        level: of zstd.
    """
    stored = _stored(schema)
    rows = 0
    with pq.ParquetWriter(
        pa.PythonFile(sink, "w"),
        stored,
        compression="zstd",
        compression_level=level,
        write_batch_size=16_384,
        use_dictionary=[name for name in schema.names if name not in DISTINCT_COLUMNS],
        write_page_index=True,
        store_schema=False,
    ) as writer:
        for table in _group(batches, stored):
            writer.write_table(table, ROW_GROUP_ROWS)
            rows += table.num_rows
        writer.add_key_value_metadata(_key_values(schema))
    return rows


def _stored(schema: pa.Schema) -> pa.Schema:
    """Repetitive text stays dictionary-encoded on its way into the file, which spares hashing it again."""
    coded = set(repeating_text(schema))
    kinds = [pa.dictionary(pa.int32(), pa.string()) if field.name in coded else field.type for field in schema]
    return pa.schema([field.with_type(kind) for field, kind in zip(schema, kinds, strict=True)])


def _group(batches: Iterable[pa.RecordBatch], stored: pa.Schema) -> Iterator[pa.Table]:
    """Tables of a row group each; a column chunk has one dictionary."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        columns = [_conform(column, field) for column, field in zip(batch.columns, stored, strict=True)]
        waiting.append(pa.RecordBatch.from_arrays(columns, schema=stored))
        rows += batch.num_rows
        if rows >= ROW_GROUP_ROWS:
            yield pa.Table.from_batches(waiting, stored).unify_dictionaries()
            waiting, rows = [], 0
    yield pa.Table.from_batches(waiting, stored).unify_dictionaries()


def _conform(column: pa.Array, field: pa.Field) -> pa.Array:
    if not pa.types.is_dictionary(field.type):
        return decode(column)
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _key_values(schema: pa.Schema) -> dict[str, str]:
    """The schema's own metadata, and the Arrow schema as Arrow stores it (base64 of the IPC message)."""
    plain = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    return {**plain, "ARROW:schema": base64.b64encode(schema.serialize().to_pybytes()).decode()}
