"""Say how a dataset is: what is published, how its inputs ended, who is at work, what a re-run would do.

In: DEST.  Out: ``DatasetStatus``.  Reads only; takes no lock and changes nothing.  Knows no headers, no Dask and no rendering.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dicomflow.config import SourcesConfig
from dicomflow.dataset.known import count_outcomes
from dicomflow.dataset.layout import TABLES, Layout, list_parts, partition_of
from dicomflow.dataset.lock import Owner, find_owner
from dicomflow.dataset.parts import count_rows
from dicomflow.dataset.published import find_published
from dicomflow.dataset.snapshot import Snapshot, read_json
from dicomflow.errors import DatasetError
from dicomflow.rerun import Rerun, compare_with_sources
from dicomflow.uri import uri_from_path
from dicomflow.watch import Progress

NEWEST_RUNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatus:
    """How large a table is."""

    name: str
    rows: int
    bytes: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run record; None where it does not say (compacting lists and reads nothing)."""

    run_id: str
    started: str | None = None
    mode: str | None = None
    listed: int | None = None
    read: int | None = None
    removed: int | None = None
    seconds: float | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What a run that is under way, or was interrupted, has read and not published."""

    tasks: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStatus:
    """How a dataset is.

    Attributes:
        version: 0 where no run has published yet; profile and what else is published are empty then.
        dicomflow: version of dicomflow that published it.
        sources: their uris: where a name is not UTF-8, a ``file:`` URI, which ``extract`` takes, too.
        partition_by: what parts of ``instances`` are split by.
        partitions: how many folders that gives.
        outcomes: (status, code or None, files), most files first; removed files left out.
        removed: files that are gone, and kept in the ledger.
        runs: the newest first.
        writer: who holds the lock; whoever is not alive was killed.
        commit_pending: a commit was recorded, and is completed by the next run.
        rerun: None if nothing was listed.
    """

    dest: str
    version: int
    profile: str | None
    dicomflow: str | None
    sources: tuple[str, ...]
    partition_by: tuple[str, ...]
    partitions: int
    tables: tuple[TableStatus, ...]
    outcomes: tuple[tuple[str, str | None, int], ...]
    removed: int
    runs: tuple[RunStatus, ...]
    writer: Owner | None
    commit_pending: bool
    staged: Staged | None
    rerun: Rerun | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: tables by name, outcomes as objects."""
        tables = {table.name: {"rows": table.rows, "bytes": table.bytes, "parts": table.parts} for table in self.tables}
        outcomes = [{"status": status, "code": code, "files": files} for status, code, files in self.outcomes]
        return {**asdict(self), "tables": tables, "outcomes": outcomes}


def dataset_status(
    dest: str | os.PathLike[str],
    *,
    listing: bool = True,
    config: SourcesConfig | None = None,
    progress: Progress | None = None,
) -> DatasetStatus:
    """Look at a dataset, and at its SOURCEs.

    Args:
        dest: a dataset, or a folder in which a first run has begun.
        listing: whether to list the SOURCEs and say what a re-run would do.
        config: how a run lists them.
        progress: called while listing.

    Raises:
        DatasetError: there is no dataset, or it cannot be read.

    >>> import dicomflow
    >>> dicomflow.dataset_status("headers/").rerun.new    # doctest: +SKIP
    12
    """
    layout = Layout(Path(os.path.abspath(dest)))
    snapshot, parts = _find_published(layout)
    ledger = parts.get("files", [])
    outcomes, removed = _count_files(ledger)
    rerun = None
    if snapshot and listing:
        rerun = compare_with_sources(layout, snapshot, ledger, config or SourcesConfig(), progress)
    return DatasetStatus(
        dest=str(layout.root),
        version=snapshot.version if snapshot else 0,
        profile=snapshot.profile if snapshot else None,
        dicomflow=snapshot.dicomflow if snapshot else None,
        sources=tuple(map(uri_from_path, snapshot.sources)) if snapshot else (),
        partition_by=tuple(snapshot.partition_by) if snapshot else (),
        partitions=_count_partitions(snapshot) if snapshot else 0,
        tables=_measure_tables(snapshot) if snapshot else (),
        outcomes=outcomes,
        removed=removed,
        runs=tuple(_read_runs(layout)),
        writer=find_owner(layout),
        commit_pending=layout.commit_record.exists(),
        staged=_count_staged(layout),
        rerun=rerun,
    )


def _find_published(layout: Layout) -> tuple[Snapshot | None, dict[str, list[Path]]]:
    """What is published; nothing, where the first run has not come so far."""
    begun = layout.private.is_dir() and not layout.is_dataset() and not layout.commit_record.exists()
    return (None, {}) if begun else find_published(layout)


# ---- what is published -----------------------------------------------------------------------------------------------


def _measure_tables(snapshot: Snapshot) -> tuple[TableStatus, ...]:
    return tuple(
        TableStatus(
            name=name, rows=snapshot.rows(name), bytes=snapshot.bytes(name), parts=len(snapshot.tables.get(name, {}))
        )
        for name in TABLES
    )


def _count_partitions(snapshot: Snapshot) -> int:
    return len({partition_of(name) for name in snapshot.tables.get("instances", {})} - {""})


def _count_files(ledger: Sequence[Path]) -> tuple[tuple[tuple[str, str | None, int], ...], int]:
    """Files by outcome, and how many are gone."""
    counts = count_outcomes(ledger)
    outcomes = sorted(((s, c, n) for (s, c), n in counts.items()), key=lambda row: (-row[2], row[0], row[1] or ""))
    return tuple(outcomes), count_rows(ledger) - sum(counts.values())


def _read_runs(layout: Layout) -> Iterator[RunStatus]:
    """The newest run records, as far as they can be read."""
    for path in sorted(layout.runs.glob("*.json"), key=lambda path: path.stem, reverse=True)[:NEWEST_RUNS]:
        with contextlib.suppress(DatasetError):
            found = read_json(path) or {}
            known = {name: found.get(name) for name in RunStatus.__dataclass_fields__ if name != "run_id"}
            yield RunStatus(run_id=path.stem, **known)


# ---- what is under way -----------------------------------------------------------------------------------------------


def _count_staged(layout: Layout) -> Staged | None:
    """Tasks whose ledger part is there, and whole."""
    tasks = files = 0
    for part in list_parts(layout.staging / "files"):
        with contextlib.suppress(DatasetError):
            files += count_rows([part])
            tasks += 1
    return Staged(tasks=tasks, files=files) if tasks else None
