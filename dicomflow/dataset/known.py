"""What the ledger already knows, and whether a run may be added to it.

In: the ledger parts of a dataset, what a run was asked for.  Out: rows to compare with, counts, or one clear refusal.
Knows no headers; writes nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.dataset.changes import Changes, Mode, below, place_of
from dicomflow.dataset.comparison import KNOWN_SCHEMA
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.parts import iter_part, read_part
from dicomflow.dataset.snapshot import Snapshot, read_json
from dicomflow.errors import DatasetError, Status
from dicomflow.uri import uri_from_path

Outcomes = dict[tuple[str, str | None], int]
"""(status, code) -> files."""

COMPACT = "compact"
"""The mode, in the records, of a run that lists nothing."""

_HAS_ROW = (str(Status.OK), str(Status.PARTIAL), str(Status.CONFLICT))


def iter_known(ledger_parts: Sequence[Path]) -> Iterator[pa.Table]:
    """What a run compares with of the ledger, some rows after the others: ``KNOWN_SCHEMA``."""
    for part in ledger_parts:
        for rows in iter_part(part, KNOWN_SCHEMA.names):
            yield rows.cast(KNOWN_SCHEMA)


def count_outcomes(ledger_parts: Sequence[Path], sources: Sequence[str] | None = None) -> Outcomes:
    """Number of ledger rows by (status, code), removed files left out.

    Args:
        ledger_parts: which parts.
        sources: count only files below these; None for all.
    """
    counts: Counter[tuple[str, str | None]] = Counter()
    columns = ["status", "code", *(["uri"] if sources is not None else [])]
    for part in ledger_parts:
        rows = read_part(part, columns)
        if sources is not None:
            rows = rows.filter(pa.array(below(rows["uri"], sources)))
        for row in rows.group_by(["status", "code"]).aggregate([([], "count_all")]).to_pylist():
            counts[row["status"], row["code"]] += row["count_all"]
    return {key: count for key, count in counts.items() if key[0] != Status.REMOVED}


def join_sources(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """All SOURCEs of a dataset, without those that lie in another.

    >>> join_sources(["/a/b", "/c"], ["/a"])
    ['/a', '/c']
    """
    every = dict.fromkeys([*new, *old])
    return [path for path in every if not any(_lies_in(path, other) for other in _above(path) if other in every)]


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in: few to look up, where there are many SOURCEs."""
    return map(str, PurePath(path).parents)


def _lies_in(path: str, other: str) -> bool:
    """Whether listing ``other``, which is above ``path``, comes to it: not by way of a link, which it may not follow."""
    return os.path.realpath(path) == os.path.join(os.path.realpath(other), os.path.relpath(path, other))


def last_listed(layout: Layout) -> int | None:
    """When the last run that listed files began, in microseconds since the epoch: what is gone now was there then."""
    for path in sorted(layout.runs.glob("*.json"), key=lambda path: path.stem, reverse=True):
        with contextlib.suppress(DatasetError):  # of a torn record, the one before it
            record = read_json(path) or {}
            if record.get("mode") not in (COMPACT, Mode.RETRY):
                return _microseconds(str(record.get("started")))
    return None


def _microseconds(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        return None


# ---- refusals --------------------------------------------------------------------------------------------------------


def check_columns(snapshot: Snapshot | None, columns: str, schema: str, mode: Mode, dest: Path) -> None:
    """A run with other columns must be asked for.

    Raises:
        DatasetError: the columns of the dataset are not those of the run, and the mode does not replace them.
    """
    if mode is Mode.COLUMNS and snapshot is None:
        raise DatasetError(f"{dest}: no dicomflow dataset here; make one with `dicomflow extract SOURCE -o DEST`")
    if snapshot is None or snapshot.schema == schema or mode in (Mode.FULL, Mode.COLUMNS):
        return
    raise DatasetError(
        f"{dest}: has the columns of profile {snapshot.profile!r}, this run asks for others ({columns!r}); `dicomflow "
        f"add-columns {dest} --columns {columns}` reads again only files that have a row, `extract --full` reads everything "
        "again; name no columns to keep those that are there; or extract into a new folder"
    )


def check_partitions(snapshot: Snapshot | None, partition_by: Sequence[str], mode: Mode, dest: Path) -> None:
    """A run that splits otherwise must be asked for.

    Raises:
        DatasetError: the partitions of the dataset are not those of the run, and the mode does not replace them.
    """
    if snapshot is None or mode is Mode.FULL or snapshot.partition_by == list(partition_by):
        return
    raise DatasetError(
        f"{dest}: has {_say_partitions(snapshot.partition_by)}, this run asks for {_say_partitions(partition_by)}; set "
        f"dataset.partition_by to [{', '.join(snapshot.partition_by)}] or leave it out, or `extract --full` reads everything "
        "again and splits it anew; or extract into a new folder"
    )


def _say_partitions(names: Sequence[str]) -> str:
    return f"partitions by {', '.join(names)}" if names else "no partitions"


class SourceCheck:
    """A mount that went away leaves an empty folder; that is no reason to drop what was read from it.

    Args:
        sources: absolute paths that are listed.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        names: defaultdict[str, list[str]] = defaultdict(list)
        for source in dict.fromkeys(sources):
            names[os.path.realpath(source)].append(source)
        # a folder with two names is listed under one of them, which may be its own
        self._empty = [
            (*same, real) for real, same in names.items() if not any(above in names for above in _above(real))
        ]

    def add(self, listed: pa.Table) -> None:
        """Some of the listing."""
        self._empty = [same for same in self._empty if not below(listed["uri"], same).any()]

    def finish(self, known: Iterable[pa.Table]) -> None:
        """All is listed.

        Args:
            known: the ledger, some rows after the others; drawn only where it is needed.

        Raises:
            DatasetError: a SOURCE has no file at all, and had some.
        """
        before = dict.fromkeys(self._empty, 0)
        for rows in known if before else ():
            present = rows.filter(pc.not_equal(rows["status"], str(Status.REMOVED)))["uri"]
            for same in before:
                before[same] += int(below(present, same).sum())
        for same, count in before.items():
            if count:
                raise DatasetError(
                    f"{uri_from_path(same[0])}: nothing is there, but the dataset knows {count:,} files of it; is it not "
                    "mounted?  To start afresh, extract into a new folder"
                )


def count_staying(known: pa.Table, changes: Changes) -> int:
    """Files that have a row and are neither read again nor gone."""
    with_row = known.filter(pc.is_in(known["status"], value_set=pa.array(_HAS_ROW)))
    going = pa.concat_arrays([_flat(place_of(changes.replaced)), _flat(place_of(changes.removed))])
    return int(np.count_nonzero(~pc.is_in(place_of(with_row), value_set=going).to_numpy(zero_copy_only=False)))


def check_replaced(staying: int, dest: Path) -> None:
    """Where every row is written anew, because columns change or parts are damaged, none may stay.

    Raises:
        DatasetError: files that have a row were not listed by this run.
    """
    if staying:
        raise DatasetError(
            f"{dest}: {staying:,} files of the dataset were not listed by this run, so their rows cannot be written anew; "
            "name all SOURCEs, and see that every folder and archive can be read"
        )


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
