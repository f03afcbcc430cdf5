"""Which series, studies and patients a run touches: their rollups are made anew, those of others stay.

In: rows that come into ``instances`` or leave it.  Out: keys.  Knows no rollups.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from dicomflow.dataset.parts import read_part, read_schema
from dicomflow.rollup.fold import is_text
from dicomflow.schema.rollup import KEYS

_FOLD_ABOVE = 1 << 16
"""Rows that wait until their keys are told apart."""


class Touched:
    """Keys of the rows that were added."""

    def __init__(self) -> None:
        self._schema = pa.schema([pa.field(name, pa.string()) for name in KEYS.values()])
        self._pieces: list[pa.Table] = []
        self._waiting = 0
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Rows that come or go; a key that they have no column for is null."""
        count = rows.num_rows
        names = [name for name in KEYS.values() if name in rows.column_names and is_text(rows.schema.field(name).type)]
        columns = {
            name: rows[name].cast(pa.string()) if name in names else pa.nulls(count, pa.string())
            for name in KEYS.values()
        }
        self._pieces.append(_distinct(pa.table(columns)))
        self.rows += count
        self._waiting += self._pieces[-1].num_rows
        if self._waiting > _FOLD_ABOVE:
            self._pieces = [_distinct(pa.concat_tables(self._pieces))]
            self._waiting = 0

    def add_parts(self, parts: Iterable[Path]) -> None:
        """All rows of these parts."""
        for part in parts:
            names = [name for name in KEYS.values() if name in read_schema(part).names]
            self.add(read_part(part, names or ["source_uri"], read_dictionary=names))

    def keys(self, table: str) -> pa.Array:
        """The different keys of a rollup."""
        rows = pa.concat_tables([self._schema.empty_table(), *self._pieces])
        return rows[KEYS[table]].unique()


def _distinct(rows: pa.Table) -> pa.Table:
    return rows.group_by(rows.column_names).aggregate([])
