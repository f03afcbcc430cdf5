"""The order of the rows of a part.

In: rows.  Out: the same rows, sorted.  Pure: Arrow in, Arrow out.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

SORT_COLUMNS = {
    "instances": ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    "conflicts": ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    "files": ("uri", "member"),
    "series": ("StudyInstanceUID", "SeriesInstanceUID"),
    "studies": ("StudyInstanceUID",),
    "patients": ("PatientID",),
}
"""Order of the rows of a part."""

_ANY = "SOPInstanceUID"
"""What rows without any of these columns are sorted by."""


def sort_keys(table: str, schema: pa.Schema) -> list[str]:
    """Those of the sort columns that are there and can be sorted by; the key of rows that have none of them."""
    found = [
        name for name in SORT_COLUMNS[table] if name in schema.names and not pa.types.is_list(schema.field(name).type)
    ]
    return found or [name for name in (_ANY,) if name in schema.names]


def sort_rows(pieces: list[pa.Table], keys: list[str]) -> pa.Table:
    """All these rows, sorted, nulls last.  ``pieces`` is emptied: there are never two copies of all."""
    rows = pa.concat_tables(pieces)
    pieces.clear()
    order, names = (
        pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in keys]) if keys else None,
        rows.column_names,
    )
    columns = rows.unify_dictionaries().columns
    del rows
    taken = []
    for index in range(len(columns)):  # one after the other
        column, columns[index] = columns[index], None
        taken.append(column.combine_chunks() if order is None else column.combine_chunks().take(order))
    return pa.Table.from_arrays(taken, names=names)
