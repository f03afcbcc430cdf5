"""The rows of a dataset, batch by batch.

In: an opened dataset, names of columns.  Out: RecordBatches in the order of the dataset, repetitive text dictionary-encoded.
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


def iter_rows(dataset: Dataset, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Rows of ``instances``; memory is bounded by a row group.

    Args:
        dataset: as opened.
        columns: names, in the order wanted.
        batch_rows: most rows of a batch.

    Raises:
        DatasetError: a part cannot be read, or a later run has replaced it.
    """
    repeating = repeating_text(dataset.schema)
    names = list(columns)
    for part in dataset.instances.files:
        with explained(Path(part)), _open(dataset, part, repeating) as file:
            for batch in file.iter_batches(batch_rows, columns=names):
                yield batch.select(names)


def _open(dataset: Dataset, part: str, repeating: Sequence[str]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(part, read_dictionary=list(repeating))
    except FileNotFoundError:
        raise DatasetError(
            f"{dataset.root}: version {dataset.version} is no longer whole, a later run replaced parts of it; open it again"
        ) from None
