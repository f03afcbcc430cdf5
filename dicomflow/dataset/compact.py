"""Merge the small parts that many runs leave into few large ones, as a version of its own.

In: a transaction on a locked dataset.  Out: the same rows in fewer parts, sorted.  Memory is that of one merged part.  Knows no
headers; adds and removes no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dicomflow.dataset import order
from dicomflow.dataset.known import COMPACT
from dicomflow.dataset.layout import ROLLUPS, TABLES, part_name, partition_of
from dicomflow.dataset.parts import read_part
from dicomflow.dataset.rollups import are_current
from dicomflow.dataset.snapshot import PartInfo
from dicomflow.dataset.transaction import Transaction
from dicomflow.dataset.writer import repeating_text
from dicomflow.log import get_logger

SORT_COLUMNS = order.SORT_COLUMNS

MAX_ROWS = 1 << 19
"""Rows of a merged part: they are in memory while they are sorted."""

_SMALL = 4
"""A part of less than a quarter of the size aimed at is worth merging."""

_log = get_logger("dataset")


def compact_if_needed(transaction: Transaction, run: Mapping[str, Any]) -> bool:
    """Compact a dataset that has many small parts; whether it was done."""
    config = transaction.schemas.config
    parts = transaction.before.tables if transaction.before else {}
    few = all(_count_mergeable(parts[table], config.part_bytes) <= config.compact_above for table in parts)
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
    is_current = are_current(transaction.old_rollups())  # else they are made anew
    tables = [table for table in TABLES if is_current or table not in ROLLUPS]
    groups = {table: list(group_parts(before.tables[table], target)) for table in tables}
    if not any(groups.values()):
        return False
    rewriter = transaction.make_rewriter(str(run["run_id"]))
    for table in (table for table in tables if groups[table]):
        merged = {name for group in groups[table] for name in group}
        rows = 0
        for group in groups[table]:
            paths = [transaction.layout.table(table) / name for name in group]
            rows += rewriter.write_part(
                merge_parts(paths, table, transaction.schemas.of(table)), table, partition_of(group[0])
            )
            if done is not None:
                done(table, rows)
        rewriter.finish(table, [part for part in transaction.old_parts(table) if part_name(part) not in merged])
    transaction.publish(rewriter, before.sources, {**run, "mode": COMPACT})
    _log.info("compacted", version=transaction.version)
    return True


def group_parts(parts: dict[str, PartInfo], target: int) -> Iterator[list[str]]:
    """Names of small parts to be merged, neighbours by name in one partition, at least two together.

    >>> list(group_parts({"a": PartInfo(1, 10, ""), "b": PartInfo(1, 10, ""), "c": PartInfo(9, 900, "")}, 1000))
    [['a', 'b']]
    """
    group: list[str] = []
    size = rows = 0
    for name in _small_parts(parts, target):
        is_full = size + parts[name].bytes > target or rows + parts[name].rows > MAX_ROWS
        if group and (is_full or partition_of(name) != partition_of(group[0])):
            yield from [group] if len(group) > 1 else []
            group, size, rows = [], 0, 0
        group.append(name)
        size, rows = size + parts[name].bytes, rows + parts[name].rows
    if len(group) > 1:
        yield group


def _count_mergeable(parts: dict[str, PartInfo], target: int) -> int:
    """Small parts; of those that are alone in their partition, all together count as one."""
    small = _small_parts(parts, target)
    return len(small) - max(0, len({partition_of(name) for name in small}) - 1)


def _small_parts(parts: dict[str, PartInfo], target: int) -> list[str]:
    small = (name for name in parts if parts[name].bytes < target // _SMALL and parts[name].rows < MAX_ROWS // 2)
    return sorted(small, key=lambda name: (partition_of(name), name))


def merge_parts(paths: Sequence[Path], table: str, schema: pa.Schema) -> pa.Table:
    """The rows of these parts in the order of the table; text that repeats stays dictionary-encoded, which keeps it small."""
    keys = order.sort_keys(table, schema)
    coded = [name for name in repeating_text(schema) if name not in keys]
    return order.sort_rows([read_part(path, read_dictionary=coded) for path in paths], keys)
