"""Say what the next run over a dataset would find.

In: a published dataset, its SOURCEs as they are now.  Out: ``Rerun``.  Reads only; knows no headers, no Dask and no rendering.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.config import DatasetConfig, SourcesConfig
from dicomflow.dataset.changes import Mode, place_of
from dicomflow.dataset.comparison import Bucket, Comparison
from dicomflow.dataset.known import SourceCheck, iter_known
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.errors import DatasetError, SourceError, Status
from dicomflow.sources import list_files
from dicomflow.summary import Totals
from dicomflow.uri import uri_from_path
from dicomflow.watch import Progress

MEMORY = DatasetConfig().memory_bytes
"""Bytes for holding a listing against the ledger; what does not fit is spilled to the folder for temporary files."""


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


def compare_with_sources(
    layout: Layout, snapshot: Snapshot, ledger: Sequence[Path], config: SourcesConfig, progress: Progress | None
) -> Rerun:
    """List the SOURCEs of a dataset and hold them against its ledger.

    Args:
        layout: of the dataset.
        snapshot: what is published.
        ledger: its ledger parts.
        config: how SOURCEs are listed.
        progress: called while listing.

    Raises:
        DatasetError: the ledger cannot be read, or the disk is full.
    """
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
            for listed in _list_files(present, layout, config, progress):
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
