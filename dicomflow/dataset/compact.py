"""Merge the small parts that many runs leave into few large ones, as a version of its own.

In: a transaction on a locked dataset.  Out: the same rows in fewer parts, sorted.  Memory is that of one merged part.  Knows no
headers; adds and removes no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.dataset.known import COMPACT
from dicomflow.dataset.layout import TABLES
from dicomflow.dataset.parts import read_part
from dicomflow.dataset.rewrite import Rewriter
from dicomflow.dataset.snapshot import PartInfo
from dicomflow.dataset.transaction import Transaction
from dicomflow.dataset.writer import repeating_text
from dicomflow.log import get_logger

SORT_COLUMNS = {
    "instances": ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    "conflicts": ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    "files": ("uri", "member"),
}
"""Order of the rows of a part."""

MAX_ROWS = 1 << 19
"""Rows of a merged part: they are in memory while they are sorted."""

_ANY = "SOPInstanceUID"
"""What rows without any of these columns are sorted by."""

_SMALL = 4
"""A part of less than a quarter of the size aimed at is worth merging."""

_log = get_logger("dataset")


def compact_if_needed(transaction: Transaction, run: Mapping[str, Any]) -> bool:
    """Compact a dataset that has many small parts; whether it was done."""
    config = transaction.schemas.config
    parts = transaction.before.tables if transaction.before else {}
    few = all(len(_small_parts(parts[table], config.part_bytes)) <= config.compact_above for table in parts)
    return not few and compact_parts(transaction, run)


def compact_parts(
    transaction: Transaction, run: Mapping[str, Any], done: Callable[[str, int], None] | None = None
) -> bool:
    """Merge small parts of each table up to ``part_bytes``; whether there was anything to merge.

    Args:
        transaction: of a run that holds the lock.
        run: the run record, with ``run_id``, ``started`` and the version of ``dicomflow``.
        done: called with a table and the rows merged so far.

    Raises:
        CommitFailed: nothing was changed.
    """
    before, target = transaction.before, transaction.schemas.config.part_bytes
    if before is None:
        return False
    groups = {table: list(group_parts(before.tables[table], target)) for table in TABLES}
    if not any(groups.values()):
        return False
    rewriter = Rewriter(transaction.layout, transaction.schemas, str(run["run_id"]))
    for table in (table for table in TABLES if groups[table]):
        merged = {name for group in groups[table] for name in group}
        rows = 0
        for group in groups[table]:
            paths = [transaction.layout.table(table) / name for name in group]
            rows += rewriter.write(merge_parts(paths, table, transaction.schemas.of(table)), table)
            if done is not None:
                done(table, rows)
        rewriter.finish(table, [part for part in transaction.old_parts(table) if part.name not in merged])
    transaction.publish(rewriter, before.sources, {**run, "mode": COMPACT})
    _log.info("compacted", version=transaction.version)
    return True


def group_parts(parts: dict[str, PartInfo], target: int) -> Iterator[list[str]]:
    """Names of small parts to be merged, neighbours by name, at least two together.

    >>> list(group_parts({"a": PartInfo(1, 10, ""), "b": PartInfo(1, 10, ""), "c": PartInfo(9, 900, "")}, 1000))
    [['a', 'b']]
    """
    group: list[str] = []
    size = rows = 0
    for name in _small_parts(parts, target):
        if group and (size + parts[name].bytes > target or rows + parts[name].rows > MAX_ROWS):
            yield from [group] if len(group) > 1 else []
            group, size, rows = [], 0, 0
        group.append(name)
        size, rows = size + parts[name].bytes, rows + parts[name].rows
    if len(group) > 1:
        yield group


def _small_parts(parts: dict[str, PartInfo], target: int) -> list[str]:
    return [name for name in sorted(parts) if parts[name].bytes < target // _SMALL and parts[name].rows < MAX_ROWS // 2]


def merge_parts(paths: Sequence[Path], table: str, schema: pa.Schema) -> pa.Table:
    """The rows of these parts in the order of the table; text that repeats stays dictionary-encoded, which keeps it small."""
    keys = [
        name for name in SORT_COLUMNS[table] if name in schema.names and not pa.types.is_list(schema.field(name).type)
    ]
    coded = [name for name in repeating_text(schema) if name not in keys]
    rows = pa.concat_tables([read_part(path, read_dictionary=coded) for path in paths])
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in keys or [_ANY]])
    columns = rows.unify_dictionaries().columns
    del rows
    taken = []
    for index in range(len(columns)):  # one after the other, so that there are never two copies of all
        column, columns[index] = columns[index], None
        taken.append(column.combine_chunks().take(order))
    return pa.Table.from_arrays(taken, names=schema.names)
