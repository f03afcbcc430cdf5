"""What tasks have written and no run has published yet: task commit, and taking up where a killed run stopped.

In: the staging folder, which of its rows still hold.  Out: the rows of the completed tasks, and the parts of those that hold.
Knows no headers, no Dask.

A task writes its ``instances`` parts first and its ledger part last, whole or not at all: the ledger part is the record that the
task is done.  Names are those of one attempt, so that an attempt which was given up cannot spoil another.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.config import DatasetConfig
from dicomflow.dataset.changes import Mask, place_of
from dicomflow.dataset.commit import discard
from dicomflow.dataset.comparison import KNOWN_SCHEMA
from dicomflow.dataset.layout import ROLLUPS, Layout, list_parts
from dicomflow.dataset.parts import count_rows, read_part
from dicomflow.dataset.snapshot import read_json
from dicomflow.dataset.storage import write_json
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import DatasetError, Status
from dicomflow.schema.rollup import rollup_schema

_WITH_ROW = (str(Status.OK), str(Status.PARTIAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemas:
    """How the parts of a dataset are written."""

    instances: pa.Schema
    files: pa.Schema
    config: DatasetConfig

    def of(self, table: str) -> pa.Schema:
        """The schema of a table; that of ``conflicts`` is that of ``instances``."""
        if table in ROLLUPS:
            return rollup_schema(table)
        return self.files if table == "files" else self.instances


class Staging:
    """The staging folder of the run that holds the lock."""

    def __init__(self, layout: Layout, schemas: Schemas) -> None:
        self._layout = layout
        self._schemas = schemas
        self.completed: list[Path] = []
        """Ledger parts of the tasks that count; what a worker that was given up adds later does not."""
        self._read: list[tuple[Path, int]] = []

    def open(self, job: str) -> None:
        """Keep what an earlier run left for the same job; discard all else.

        Args:
            job: fingerprint of what tasks are asked for: columns, settings, versions.

        Raises:
            DatasetError: the record of the job cannot be written.
        """
        if self._read_job() == job:
            return
        discard(self._layout.staging)
        if self._layout.staging.exists():
            raise DatasetError(f"{self._layout.staging}: cannot be removed; remove it, then run again")
        write_json(self._layout.job_record, {"job": job})

    def _read_job(self) -> object:
        try:
            return (read_json(self._layout.job_record) or {}).get("job")
        except DatasetError:
            return None  # torn by the crash: nothing of it is taken up

    def ledgers(self) -> list[Path]:
        """Ledger parts that are there now."""
        return list_parts(self._layout.staging / "files")

    def instances(self, ledgers: Iterable[Path]) -> list[Path]:
        """The ``instances`` parts of these tasks."""
        folder = self._layout.staging / "instances"
        wanted = {ledger.stem for ledger in ledgers}
        return [part for part in list_parts(folder) if part.stem.rpartition("-")[0] in wanted]

    def keep_only(self, ledgers: Iterable[Path]) -> None:
        """Close the books: these tasks count; all other parts, of attempts that were given up, are removed."""
        self.completed = sorted(ledgers)
        kept = set(self.completed)
        kept |= set(self.instances(kept))
        for part in [*self.ledgers(), *list_parts(self._layout.staging / "instances")]:
            if part not in kept:
                part.unlink(missing_ok=True)

    def read_rows(self) -> Iterator[pa.Table]:
        """Ledger rows of the tasks that an earlier run completed, one task after the other: ``KNOWN_SCHEMA``.

        Drawn to its end, it leaves no other tasks in staging.
        """
        parts = self._parts_by_task()
        self._read = []
        for ledger in self.ledgers():
            found = _read_known(ledger, parts[ledger.stem])
            if found is not None:
                self._read.append((ledger, found.num_rows))
                yield found
        self.keep_only(ledger for ledger, _ in self._read)

    def keep_rows(self, kept: Mask) -> None:
        """Of the rows that ``read_rows`` gave, keep these; all others hold no longer.

        Args:
            kept: one for each row.

        Raises:
            DatasetError: the rest of a task cannot be written again.
        """
        parts, start, completed = self._parts_by_task(), 0, []
        for ledger, rows in self._read:
            own = np.flatnonzero(kept[start : start + rows])
            if len(own) == rows:
                completed.append(ledger)
            elif (other := self._keep_rows(ledger, parts[ledger.stem], own)) is not None:
                completed.append(other)
            start += rows
        self.completed = sorted(completed)

    def _parts_by_task(self) -> defaultdict[str, list[Path]]:
        parts: defaultdict[str, list[Path]] = defaultdict(list)
        for part in list_parts(self._layout.staging / "instances"):
            parts[part.stem.rpartition("-")[0]].append(part)
        return parts

    def _keep_rows(self, ledger: Path, parts: list[Path], kept: np.ndarray) -> Path | None:
        """Write a task's parts again without the rows that hold no longer, under a new name, the ledger last; where it is."""
        written = None
        if len(kept):
            table = read_part(ledger).cast(self._schemas.files).take(pa.array(kept))
            stem = f"{ledger.stem.partition('-')[0]}-{uuid.uuid4().hex[:8]}"
            for number, part in enumerate(parts):
                found = read_part(part)
                sources = place_of(found.select(["source_uri", "source_member"]).rename_columns(["uri", "member"]))
                self._write(
                    found.filter(pc.is_in(sources, value_set=_combine(place_of(table)))),
                    "instances",
                    f"{stem}-{number}",
                )
            self._write(table, "files", stem)
            written = ledger.with_name(f"{stem}.parquet")
        for part in (ledger, *parts):
            part.unlink()
        return written

    def _write(self, rows: pa.Table, table: str, stem: str) -> None:
        if rows.num_rows:
            write_data_file(
                rows, self._schemas.of(table), table, self._layout.staging, f"{stem}.parquet", self._schemas.config
            )


def _read_known(ledger: Path, parts: list[Path]) -> pa.Table | None:
    """The ledger of a task; None if it or a part that belongs to it did not survive the crash."""
    try:
        known = read_part(ledger, KNOWN_SCHEMA.names).cast(KNOWN_SCHEMA)
        rows = count_rows(parts)
    except DatasetError:
        return None
    return known if rows == pc.sum(pc.is_in(known["status"], value_set=pa.array(_WITH_ROW))).as_py() else None


def _combine(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
