"""Open a dataset and ask it: Arrow, pandas, SQL.

In: DEST.  Out: a ``Dataset``.  Reads only what is published; knows nothing of how it came to be.
SQL runs in a ``Sandbox`` that sees the dataset's parts and nothing else.  What SQL does not need is loaded by those who do: to
import Arrow's datasets and functions takes as long as a small query.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.parts import explained, read_schema
from dicomflow.dataset.published import find_published
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.errors import Code, DatasetError, Status
from dicomflow.sql.sandbox import Answer, Limits, Sandbox
from dicomflow.uri import path_from_source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    from dicomflow.compute import DaskFrame
    from dicomflow.dataset.lookup import RowFinder

Filters: TypeAlias = "Sequence[tuple[str, str, Any]] | Sequence[Sequence[tuple[str, str, Any]]] | pc.Expression"

_NOT_OK = tuple(status for status in Status if status is not Status.OK)

_BATCH_ROWS = 16_384


def open_dataset(dest: str | os.PathLike[str]) -> Dataset:
    """Open the dataset at ``dest``: its newest version, whole, even where a run is publishing or was killed at it.

    Raises:
        DatasetError: there is none, or a part of it is gone.

    >>> import dicomflow
    >>> dataset = dicomflow.open_dataset("headers/")                                          # doctest: +SKIP
    >>> dataset.sql("select Modality, count(*) as n from instances group by 1").to_pandas()   # doctest: +SKIP
    """
    layout = Layout(Path(os.path.abspath(dest)))
    return Dataset(layout.root, *find_published(layout))


class Dataset:
    """A published version of a dataset.  Later runs do not change what it is; they may take parts of it away, which is an error.

    Attributes:
        root: its folder.
        snapshot: version, profile, sources and parts, as recorded by the run that published it.
    """

    def __init__(self, root: Path, snapshot: Snapshot, parts: dict[str, list[Path]]) -> None:
        self.root = root
        self.snapshot = snapshot
        self._parts = parts

    @property
    def version(self) -> int:
        """1 for the first run that published, one more for each later one."""
        return self.snapshot.version

    @property
    def schema(self) -> pa.Schema:
        """Schema of ``instances``; its fields carry ``dicom.tag``, ``dicom.vr`` and ``dicom.paths``."""
        return self.instances.schema

    @property
    def instances(self) -> pads.Dataset:
        """One row per SOP Instance UID, as a ``pyarrow.dataset.Dataset``."""
        return self._table("instances")

    @property
    def files(self) -> pads.Dataset:
        """The ledger: one row per input."""
        return self._table("files")

    @property
    def conflicts(self) -> pads.Dataset:
        """Full rows that lost against another file with the same key but another header."""
        return self._table("conflicts")

    @property
    def series(self) -> pads.Dataset:
        """One row per Series Instance UID: counts, attributes that are constant, geometry, what is irregular.

        Instances without one are the row whose key is null, in ``studies`` and ``patients`` likewise: counts add up.
        """
        return self._table("series")

    @property
    def studies(self) -> pads.Dataset:
        """One row per Study Instance UID."""
        return self._table("studies")

    @property
    def patients(self) -> pads.Dataset:
        """One row per Patient ID."""
        return self._table("patients")

    def to_arrow(self, columns: Sequence[str] | None = None, filters: Filters | None = None) -> pa.Table:
        """``instances`` as an Arrow table.

        Args:
            columns: names to read; all by default.
            filters: as ``pyarrow.parquet.read_table`` takes them, such as ``[("Modality", "==", "CT")]``.

        Raises:
            DatasetError: there is no such column, or a later run has replaced parts.
        """
        expression = None if filters is None else _to_expression(filters)
        try:
            with self._naming_columns():
                return self.instances.to_table(columns=None if columns is None else list(columns), filter=expression)
        except FileNotFoundError:
            raise DatasetError(
                f"{self.root}: version {self.version} is no longer whole, a later run replaced parts of it; open it again"
            ) from None

    def to_pandas(self, columns: Sequence[str] | None = None, filters: Filters | None = None) -> pd.DataFrame:
        """``instances`` as a pandas DataFrame; arguments as for ``to_arrow``."""
        frame: pd.DataFrame = self.to_arrow(columns, filters).to_pandas()
        return frame

    def to_dask(self, columns: Sequence[str] | None = None, filters: Filters | None = None) -> DaskFrame:
        """``instances`` as a Dask DataFrame, one partition per row group; arguments as for ``to_arrow``.

        Whole numbers are pandas' nullable ones: in plain pandas their type depends on whether one is missing, and partitions
        would not agree.
        """
        from dicomflow.compute import make_frame  # here, because it brings Dask

        table = self.instances
        expression = None if filters is None else _to_expression(filters)
        names = table.schema.names if columns is None else list(columns)
        with self._naming_columns():
            table.scanner(
                columns=names, filter=expression
            )  # reads nothing; where Dask computes it would be late to say
            pieces = [
                piece for part in table.get_fragments(expression) for piece in part.split_by_row_group(expression)
            ]
        pieces = pieces or list(table.get_fragments())[:1]  # a frame has at least one partition, be it without rows
        read = partial(_read_piece, schema=table.schema, columns=names, expression=expression)
        return make_frame(read, pieces, _to_frame(table.schema.empty_table().select(names)))

    def get(self, uid: str) -> dict[str, Any] | None:
        """The row of ``instances`` with this SOP Instance UID, by column; None if there is none.  Scans nothing.

        Raises:
            DatasetError: a part cannot be read.
        """
        return self._rows_by_key.find(uid)

    def get_files(self, uid: str) -> list[dict[str, Any]]:
        """Ledger rows of all files with this SOP Instance UID: that of the row, duplicates, conflicts, and removed ones.

        Raises:
            DatasetError: a part cannot be read.
        """
        import pyarrow.compute as pc

        with explained(self.root):
            found = self.files.to_table(filter=pc.field("SOPInstanceUID") == uid)
        order = {str(status): place for place, status in enumerate(Status)}
        return sorted(
            found.to_pylist(), key=lambda row: (order.get(row["status"], 99), row["uri"], row["member"] or "")
        )

    def iter_files(
        self,
        statuses: Sequence[Status | str] = (),
        codes: Sequence[Code | str] = (),
        under: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """The ledger, a batch at a time.

        Args:
            statuses: of these alone; all but ``ok`` if empty.
            codes: of these alone; all if empty.
            under: only what this folder holds, or this file.
            columns: in this order; all by default.

        Raises:
            DatasetError: a part cannot be read.
        """
        import pyarrow.compute as pc

        from dicomflow.dataset.changes import below

        wanted = pc.is_in(pc.field("status"), pa.array(map(str, statuses or _NOT_OK), pa.string()))
        if codes:
            wanted &= pc.is_in(pc.field("code"), pa.array(map(str, codes), pa.string()))
        table = self.files
        names = table.schema.names if columns is None else list(columns)
        scanner = table.scanner(
            list({*names, "uri"}),
            filter=wanted,
            batch_size=_BATCH_ROWS,
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
        )
        folder = None if under is None else [path_from_source(under)]
        with explained(self.root):
            for batch in scanner.to_batches():
                rows = pa.Table.from_batches([batch])
                kept = rows if folder is None else rows.filter(pa.array(below(rows["uri"], folder)))
                if kept.num_rows:
                    yield kept.select(names)

    def sql(self, query: str) -> pa.Table:
        """Ask DuckDB about the views ``instances``, ``files``, ``conflicts``, ``series``, ``studies`` and ``patients``.

        Nothing outside can be reached.

        Args:
            query: one statement that reads: SELECT, FROM, PIVOT, DESCRIBE, SUMMARIZE ...

        Raises:
            DatasetError: it does not read only, or DuckDB refuses it.
        """
        with self.ask(query) as answer:
            return answer.to_table()

    @contextlib.contextmanager
    def ask(self, query: str, limits: Limits | None = None) -> Iterator[Answer]:
        """As ``sql``, for answers of any size: batch by batch, in bounded memory.

        Raises:
            DatasetError: as of ``sql``, also while batches are read.

        >>> with dataset.ask("select SOPInstanceUID from instances") as answer:       # doctest: +SKIP
        ...     for batch in answer.batches():
        ...         print(batch.num_rows)
        """
        with self.open_sandbox(limits) as sandbox:
            yield sandbox.ask(query)

    def parts(self, table: str) -> list[Path]:
        """Files of a table; none if this dataset has no such table."""
        return list(self._parts.get(table, ()))

    def open_sandbox(self, limits: Limits | None = None) -> Sandbox:
        """DuckDB with a view for each table of this version, for several questions in one ``with`` block."""
        views = {name: parts for name, parts in self._parts.items() if parts}
        return Sandbox(views, self.root, limits)

    def __repr__(self) -> str:
        return f"Dataset({str(self.root)!r}, version={self.version}, profile={self.snapshot.profile!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: where it is, and how large its tables are, as the run recorded it; reads no rows."""
        about = f"{self.root}: version {self.version}, profile {self.snapshot.profile}"
        rows = "".join(map(self._to_html, (name for name in TABLES if self._parts.get(name))))
        head = "<th></th><th>rows</th><th>columns</th><th>parts</th><th>MB</th>"
        return (
            f"<table><caption>{html.escape(about)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _to_html(self, table: str) -> str:
        parts = self._parts[table]
        columns = ""
        with contextlib.suppress(DatasetError):  # a later run has replaced it: no reason to show nothing
            columns = f"{len(read_schema(parts[0]).names):,}"
        megabytes = self.snapshot.bytes(table) / 1e6
        numbers = (f"{self.snapshot.rows(table):,}", columns, f"{len(parts):,}", f"{megabytes:,.1f}")
        return f"<tr><th>{table}</th>{''.join(f'<td>{number}</td>' for number in numbers)}</tr>"

    @contextlib.contextmanager
    def _naming_columns(self) -> Iterator[None]:
        """A column that is not there is named, without the list of all others that Arrow gives."""
        try:
            yield
        except pa.ArrowInvalid as error:
            unknown = re.match(r"No match for FieldRef\.Name\((.*)\) in ", str(error))
            if unknown is None:
                raise
            name = unknown[1]
            near = get_close_matches(name[:64], self.schema.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" (profile {self.snapshot.profile!r})"
            raise DatasetError(f"{self.root}: has no column {name!r}{hint}") from None

    @cached_property
    def _rows_by_key(self) -> RowFinder:
        from dicomflow.dataset.lookup import RowFinder

        parts = self._parts["instances"]
        return RowFinder(parts, read_schema(parts[0]))

    def _table(self, name: str) -> pads.Dataset:
        parts = self._parts[name]
        if not parts:
            raise DatasetError(f"{self.root}: has no {name} yet; the next `dicomflow extract` makes them")
        import pyarrow.dataset as pads

        return pads.dataset([str(part) for part in parts], format="parquet", schema=read_schema(parts[0]))


def _read_piece(
    piece: pads.ParquetFileFragment, schema: pa.Schema, columns: list[str], expression: pc.Expression | None
) -> pd.DataFrame:
    """Runs where Dask computes."""
    return _to_frame(piece.to_table(schema=schema, columns=columns, filter=expression))


def _to_frame(table: pa.Table) -> pd.DataFrame:
    """The same types whatever the values."""
    import pandas as pd

    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame


def _to_expression(filters: Filters) -> pc.Expression:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return filters if isinstance(filters, pc.Expression) else pq.filters_to_expression(filters)
