"""Say how a dataset is: what is published, how its inputs ended, who is at work, what a re-run would do.

In: DEST.  Out: ``DatasetStatus``.  Reads only; takes no lock and changes nothing.  Knows no headers, no Dask and no rendering.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.config import DatasetConfig, SourcesConfig
from dicomflow.dataset.changes import Mode, place_of
from dicomflow.dataset.comparison import Bucket, Comparison
from dicomflow.dataset.known import SourceCheck, count_outcomes, iter_known
from dicomflow.dataset.layout import TABLES, Layout, list_parts, partition_of
from dicomflow.dataset.lock import Owner, find_owner
from dicomflow.dataset.parts import count_rows
from dicomflow.dataset.published import find_published
from dicomflow.dataset.snapshot import Snapshot, read_json
from dicomflow.errors import DatasetError, SourceError, Status
from dicomflow.sources import list_files
from dicomflow.summary import Totals
from dicomflow.uri import uri_from_path
from dicomflow.watch import Progress

NEWEST_RUNS = 10

MEMORY = DatasetConfig().memory_bytes
"""Bytes for holding a listing against the ledger; what does not fit is spilled to the folder for temporary files."""


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
class Rerun:
    """What the same run would find now.

    Attributes:
        listed: the sum of the five counts that follow.
        new: files that are not known, or were gone.
        changed: known ones with another size or time, or written while they were read.
        retried: files that failed earlier.
        settled: what listing alone settles, otherwise than before: special files, folders that cannot be read.
        unchanged: files that would not be read.
        removed: known files that are gone.
        problems: SOURCEs that are gone or empty: a run over them would be refused.
    """

    listed: int
    new: int
    changed: int
    retried: int
    settled: int
    unchanged: int
    removed: int
    problems: tuple[str, ...]


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
        rerun=_compare(layout, snapshot, ledger, config, progress) if snapshot and listing else None,
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


# ---- what a re-run would do ------------------------------------------------------------------------------------------


def _compare(
    layout: Layout,
    snapshot: Snapshot,
    ledger: Sequence[Path],
    config: SourcesConfig | None,
    progress: Progress | None,
) -> Rerun:
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    present = [source for source in snapshot.sources if os.path.lexists(source)]
    problems = {
        source: f"{uri_from_path(source)}: is not there any more"
        for source in snapshot.sources
        if source not in present
    }
    with tempfile.TemporaryDirectory(prefix="dicomflow-status-", ignore_cleanup_errors=True) as spill:
        comparison = Comparison(Path(spill) / "files", MEMORY)
        checks = {source: SourceCheck([source]) for source in present}
        try:
            for listed in _list_files(present, layout, config or SourcesConfig(), progress):
                comparison.add_listed(listed)
                for check in checks.values():
                    check.add(listed)
        except SourceError as error:  # it went away just now
            problems[""], checks, comparison = str(error), {}, Comparison(Path(spill) / "nothing", MEMORY)
        problems |= _find_empty(checks, ledger)
        for known in iter_known(ledger):
            comparison.add_known(known)
        counts: Counter[str] = Counter()
        for bucket in comparison.compare([source for source in checks if source not in problems], Mode.INCREMENT, now):
            counts.update(_count_changes(bucket))
    return Rerun(**counts, problems=tuple(problems.values()))


def _list_files(
    sources: Sequence[str], layout: Layout, config: SourcesConfig, progress: Progress | None
) -> Iterator[pa.Table]:
    totals = Totals()
    for batch in list_files(sources, config=config, exclude=layout.root) if sources else ():
        totals.listed += batch.num_rows
        yield pa.Table.from_batches([batch])
        if progress is not None:
            progress("list", totals)


def _find_empty(checks: Mapping[str, SourceCheck], ledger: Sequence[Path]) -> dict[str, str]:
    """SOURCEs that had files and have none."""
    found = {}
    for source, check in checks.items():
        try:
            check.finish(iter_known(ledger))
        except DatasetError as error:
            found[source] = str(error)
    return found


def _count_changes(bucket: Bucket) -> dict[str, int]:
    """Of some files: what ``Rerun`` has a count of."""
    known, changes = bucket.known, bucket.changes
    to_read, settled = changes.to_read.num_rows, changes.settled.num_rows
    present = _count_known(changes.to_read, known, pc.not_equal(known["status"], str(Status.REMOVED)))
    retried = _count_known(changes.to_read, known, pc.equal(known["status"], str(Status.FAILED)))
    return {
        "listed": changes.listed,
        "new": to_read - present,
        "changed": present - retried,
        "retried": retried,
        "settled": settled,
        "unchanged": changes.listed - to_read - settled,
        "removed": changes.removed.num_rows,
    }


def _count_known(files: pa.Table, known: pa.Table, mask: pa.ChunkedArray) -> int:
    """How many of these files are known, of those that the mask picks."""
    places = place_of(known.filter(mask))
    return pc.sum(pc.is_in(place_of(files), value_set=places)).as_py() or 0
