"""Which rows lack an attribute that they must have.

In: an opened dataset, names of columns.  Out: for each, how many rows lack it and which are the first of these: their numbers,
and, only where identities may be named, their files: names of folders are often names of patients.  Never a value.
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
        first: numbers of the first few in ``instances``, from 1, in the order of ``Dataset.to_arrow``; where there is a
            condition, among the rows for which it holds.
        uris: of their files, and members where these lie in archives; none where identities are taken out.
    """

    name: str
    rows: int = 0
    first: list[int] = field(default_factory=list)
    uris: list[str] = field(default_factory=list)


def find_missing(
    dataset: Dataset, required: Sequence[str], where: str | None = None, *, name_files: bool
) -> list[Missing]:
    """For each attribute that some row lacks; reads these columns alone.

    Args:
        dataset: as opened.
        required: names of columns.
        where: a condition: only rows for which it holds.
        name_files: whether files may be named.
    """
    found = [Missing(name) for name in required]
    before = 0
    if found:
        names = [*required, *(["source_uri", "source_member"] if name_files else [])]
        for batch in iter_rows(dataset, list(dict.fromkeys(names)), _BATCH_ROWS, where):
            for missing in found:
                _add(missing, batch, before, name_files=name_files)
            before += batch.num_rows
    return [missing for missing in found if missing.rows]


def _add(missing: Missing, batch: pa.RecordBatch, before: int, *, name_files: bool) -> None:
    at = pc.indices_nonzero(_is_absent(batch.column(missing.name)))
    missing.rows += len(at)
    at = at[: MOST_EXAMPLES - len(missing.first)]
    missing.first += [before + place + 1 for place in at.to_pylist()]
    if name_files:
        rows = batch.select(["source_uri", "source_member"]).take(at).to_pylist()
        missing.uris += [" member ".join(part for part in row.values() if part is not None) for row in rows]


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
