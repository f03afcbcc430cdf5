"""Which rows lack an attribute that they must have.

In: an opened dataset, names of columns.  Out: for each, how many rows lack it and the first files of these.  Never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.export.rows import iter_rows
from dicomflow.query import Dataset

MOST_EXAMPLES = 3
_BATCH_ROWS = 131_072


@dataclass(slots=True)
class Missing:
    """Rows that lack one attribute.

    Attributes:
        name: of the column.
        rows: how many.
        uris: of the files of the first few.
    """

    name: str
    rows: int = 0
    uris: list[str] = field(default_factory=list)


def find_missing(dataset: Dataset, required: Sequence[str], where: str | None = None) -> list[Missing]:
    """For each attribute that some row lacks, of those for which the condition holds; reads these columns alone."""
    found = [Missing(name) for name in required]
    if found:
        for batch in iter_rows(dataset, list(dict.fromkeys([*required, "source_uri"])), _BATCH_ROWS, where):
            for missing in found:
                _add(missing, batch)
    return [missing for missing in found if missing.rows]


def _add(missing: Missing, batch: pa.RecordBatch) -> None:
    absent = _is_absent(batch.column(missing.name))
    count = pc.sum(absent).as_py() or 0
    missing.rows += count
    if count and len(missing.uris) < MOST_EXAMPLES:
        uris = batch.column("source_uri").filter(absent)[: MOST_EXAMPLES - len(missing.uris)]
        missing.uris += uris.to_pylist()


def drop_incomplete(batches: Iterable[pa.RecordBatch], required: Sequence[str]) -> Iterable[pa.RecordBatch]:
    """The rows that lack none of these columns."""
    for batch in batches:
        whole = None
        for name in required:
            there = pc.invert(_is_absent(batch.column(name)))
            whole = there if whole is None else pc.and_(whole, there)
        yield batch if whole is None else batch.filter(whole)


def _is_absent(column: pa.Array) -> pa.Array:
    """Null, or a list without a value."""
    if not pa.types.is_list(column.type):
        return column.is_null()
    return pc.equal(pc.fill_null(pc.list_value_length(column), 0), 0)
