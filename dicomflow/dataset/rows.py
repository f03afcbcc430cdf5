"""Keep rows in their order in bounded memory: as Parquet on the disk, where they become too many.

In: tables of one schema.  Out: the same rows, a table after the other.  Knows nothing of what they mean.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.dataset.parts import iter_part
from dicomflow.dataset.spill import MAX_BYTES
from dicomflow.errors import DatasetError, describe

SHARE = 32
"""Of the memory of a run, a set of rows takes one part in so many."""

_GROUP_ROWS = 1 << 16


class Rows:
    """Rows of one schema; may be read while more are still to come.

    Args:
        schema: of the tables.
        spill: a folder for what does not fit; without one, all rows stay in memory.
        memory: bytes that the run may take.
    """

    def __init__(self, schema: pa.Schema, spill: Path | None = None, memory: int = 0) -> None:
        self.schema = schema
        self.num_rows = 0
        self._spill = spill
        self._max_bytes = min(memory // SHARE, MAX_BYTES)
        self._name = uuid.uuid4().hex[:12]
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._parts: list[Path] = []

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """The rows of a table.

        >>> Rows.of(pa.table({"uri": ["/a", "/b"]})).num_rows
        2
        """
        rows = cls(table.schema)
        rows.add(table)
        return rows

    def add(self, rows: pa.Table) -> None:
        """Take more rows: the columns of the schema, and perhaps others.

        Raises:
            DatasetError: the disk is full.
        """
        if not rows.num_rows:
            return
        rows = rows.select(self.schema.names).cast(self.schema)
        self._waiting.append(rows)
        self.num_rows += rows.num_rows
        self._bytes += rows.nbytes
        if self._spill is not None and self._bytes > self._max_bytes:
            self._write(self._spill)

    def tables(self) -> Iterator[pa.Table]:
        """All rows in their order; one table, where they are in memory.

        Raises:
            DatasetError: the disk gives back something else.
        """
        for part in self._parts:
            for rows in iter_part(part):
                yield rows.cast(self.schema)
        if self._waiting:
            yield pa.concat_tables(self._waiting)

    def whole(self) -> pa.Table:
        """All rows in one table: for few."""
        return pa.concat_tables([self.schema.empty_table(), *self.tables()])

    def parts(self) -> list[Path]:
        """Parquet files that hold all rows; none, where the rows are in memory."""
        if self._parts and self._waiting and self._spill is not None:
            self._write(self._spill)
        return self._parts

    def _write(self, folder: Path) -> None:
        """A part of its own: what is written is never opened again to be written."""
        rows, path = pa.concat_tables(self._waiting), folder / f"{self._name}-{len(self._parts):06}.parquet"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, path, _GROUP_ROWS, compression="lz4", use_dictionary=False, write_statistics=False)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be written: {describe(error)}") from None
        self._parts.append(path)
        self._waiting, self._bytes = [], 0


def group_rows(tables: Iterable[pa.Table], name: str) -> Iterator[tuple[str, pa.Table]]:
    """Rows that have the same text in this column and follow each other, in one table.

    >>> tables = [pa.table({"part": ["a", "a"]}), pa.table({"part": ["a", "b"]})]
    >>> [(part, rows.num_rows) for part, rows in group_rows(tables, "part")]
    [('a', 3), ('b', 1)]
    """
    last, held = "", list[pa.Table]()
    for table in tables:
        for value, rows in _runs(table, name):
            if held and value != last:
                yield last, pa.concat_tables(held)
                held = []
            last = value
            held.append(rows)
    if held:
        yield last, pa.concat_tables(held)


def _runs(table: pa.Table, name: str) -> Iterator[tuple[str, pa.Table]]:
    keys = table[name].to_numpy(zero_copy_only=False)
    bounds = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(keys)] if len(keys) else []
    for start, stop in pairwise(bounds):
        yield str(keys[start]), table.slice(start, stop - start)
