"""The rows of a dataset, batch by batch.

In: an opened dataset, names of columns, a condition.  Out: RecordBatches in the order of the dataset; repetitive text may be
dictionary-encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.dataset.parts import explained
from dicomflow.dataset.writer import repeating_text
from dicomflow.errors import DatasetError
from dicomflow.query import Dataset


def iter_rows(
    dataset: Dataset, columns: Sequence[str], batch_rows: int, where: str | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of ``instances``; memory is bounded by a row group.

    Args:
        dataset: as opened.
        columns: names, in the order wanted.
        batch_rows: most rows of a batch.
        where: only rows for which this condition of SQL holds; all if None.

    Raises:
        DatasetError: a part cannot be read, a later run has replaced it, or it is no condition.
    """
    if where is not None:
        yield from _iter_some(dataset, list(columns), batch_rows, where)
        return
    repeating = repeating_text(dataset.schema)
    names = list(columns)
    for part in dataset.instances.files:
        with explained(Path(part)), _open(dataset, part, repeating) as file:
            for batch in file.iter_batches(batch_rows, columns=names):
                yield batch.select(names)


def _iter_some(dataset: Dataset, names: list[str], batch_rows: int, where: str) -> Iterator[pa.RecordBatch]:
    """As DuckDB finds them, in the types of the dataset."""
    schema = dataset.schema
    wanted = pa.schema([schema.field(name) for name in names])
    with dataset.open_sandbox() as sandbox:
        for batch in sandbox.ask_where("instances", names, where).batches(rows=batch_rows):
            for start in range(0, batch.num_rows, batch_rows):
                piece = batch.slice(start, batch_rows)
                columns = [column.cast(field.type) for column, field in zip(piece.columns, wanted, strict=True)]
                yield pa.RecordBatch.from_arrays(columns, schema=wanted.remove_metadata())


def _open(dataset: Dataset, part: str, repeating: Sequence[str]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(part, read_dictionary=list(repeating))
    except FileNotFoundError:
        raise DatasetError(
            f"{dataset.root}: version {dataset.version} is no longer whole, a later run replaced parts of it; open it again"
        ) from None
