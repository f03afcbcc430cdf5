"""Assemble the tables of a coming version: parts that stay as they are by name, others written again without what is not theirs.

In: published and staged parts, the edits of the ledger.  Out: whole tables in ``next``.  Nothing that is visible or staged is
touched.  Knows no headers and no keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.dataset.changes import place_of
from dicomflow.dataset.commit import assemble
from dicomflow.dataset.deduplicate import MOVES_SCHEMA, find_affected
from dicomflow.dataset.layout import TABLES, Layout, list_parts, part_name, partition_of
from dicomflow.dataset.partition import PartitionBuffer, Partitioning, check_folders
from dicomflow.dataset.parts import count_rows, describe_part, read_part
from dicomflow.dataset.rows import Rows, group_rows
from dicomflow.dataset.snapshot import Tables
from dicomflow.dataset.staging import Schemas, Staging
from dicomflow.dataset.touched import Touched
from dicomflow.dataset.writer import repeating_text, write_data_file
from dicomflow.errors import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes into the coming version.

    Attributes:
        old: published parts, by table.
        ledgers: staged ledger parts of the run.
        settled: ledger rows of what listing settled.
        edits: see ``deduplicate``.
        removed_at: when removed files were last seen, in microseconds since the epoch.
        renew: whether columns or partitions change or parts are damaged, so that every part of ``instances`` is another.
    """

    old: dict[str, list[Path]]
    ledgers: list[Path]
    settled: Rows
    edits: Rows
    removed_at: int
    renew: bool = False


class Rewriter:
    """Writes what changes into ``next``, under names that no other run uses."""

    def __init__(self, layout: Layout, schemas: Schemas, run_id: str, partitioning: Partitioning | None = None) -> None:
        self._layout = layout
        self._schemas = schemas
        self._run_id = run_id
        self._written = 0
        self._partitioning = partitioning or Partitioning()
        self.touched = Touched()
        """Keys of rows that come into ``instances`` or leave it."""
        self._buffer = PartitionBuffer(
            self._partitioning,
            schemas.config.max_partitions,
            schemas.config.memory_bytes // 4,
            lambda rows, partition: self._write_part(rows, "instances", partition),
        )

    def apply(self, plan: Plan) -> None:
        """Assemble the tables that change."""
        self._apply_to_ledger(plan)
        self._apply_to_rows(plan)

    def describe(self, known: Tables) -> Tables:
        """The parts of the coming version: of ``next`` where a table is there, else those that are ``known``."""
        tables = {}
        for table in TABLES:
            parts = list_parts(self._layout.next / table)
            before = known.get(table, {})
            names = {part_name(part): part for part in parts}
            tables[table] = {name: before.get(name) or describe_part(part) for name, part in names.items()} or before
        return tables

    # ---- the ledger ----

    def _apply_to_ledger(self, plan: Plan) -> None:
        is_same = not (plan.edits.num_rows or plan.ledgers or plan.settled.num_rows) and plan.old["files"]
        if is_same and not plan.renew:
            return
        edited = set()
        for path, found in group_rows(plan.edits.tables(), "part"):
            edited.add(path)
            rows = read_part(Path(path)).cast(self._schemas.files)
            self.write(edit_ledger(rows, found, plan.removed_at), "files")
        for rows in plan.settled.tables():
            self.write(rows, "files")
        self.finish("files", [part for part in (*plan.old["files"], *plan.ledgers) if str(part) not in edited])

    # ---- instances and conflicts ----

    def _apply_to_rows(self, plan: Plan) -> None:
        old_moves, new_moves = self._split_moves(plan.edits)
        staged = Staging(self._layout, self._schemas).instances(plan.ledgers)
        if plan.old["instances"] and not plan.renew:  # else all is new
            self.touched.add_parts(staged)
        kept: dict[str, list[Path]] = {
            "instances": list(plan.old["instances"]),
            "conflicts": list(plan.old["conflicts"]),
        }
        changed = {table for table in kept if plan.renew or not kept[table]}
        for table, parts, found in (
            ("instances", kept["instances"], old_moves),
            ("conflicts", kept["conflicts"], old_moves),
            ("instances", staged, new_moves),
        ):
            memory = self._schemas.config.memory_bytes
            for part, moves in find_affected([*parts], found, spill=self._layout.spill, memory=memory):
                parts.remove(part)
                changed |= {table, *self._move_rows(part, table, moves)}
        kept["instances"] += staged
        for table, parts in kept.items():
            if table in changed or (table == "instances" and staged):
                self.finish(table, parts)

    def _split_moves(self, edits: Rows) -> tuple[Rows, Rows]:
        """Files whose row moves or goes: of those that are published, and of those that are staged."""
        spill, memory = self._layout.spill, self._schemas.config.memory_bytes
        old, new = Rows(MOVES_SCHEMA, spill, memory), Rows(MOVES_SCHEMA, spill, memory)
        for rows in edits.tables():
            moves = rows.filter(rows["has_row"])
            old.add(moves.filter(pc.invert(moves["new"])))
            new.add(moves.filter(moves["new"]))
        return old, new

    def _move_rows(self, part: Path, table: str, moves: pa.Table) -> set[str]:
        """Write a part again without the rows that go, and those that belong elsewhere there; the tables that got some."""
        if count_rows([part]) == moves.num_rows and moves["place"].null_count == moves.num_rows:
            self.touched.add_parts([part])
            return set()
        rows = self._read_rows(part)
        sources = place_of(rows.select(["source_uri", "source_member"]).rename_columns(["uri", "member"]))
        at = pc.index_in(sources, value_set=_combine(place_of(moves)))
        belongs = moves["place"].take(at)
        self.touched.add(rows.filter(at.is_valid()))
        is_kept = pc.or_(at.is_null(), pc.fill_null(pc.equal(belongs, table), False))
        self.write(rows.filter(is_kept), table)
        others = {name for name in ("instances", "conflicts") if name != table}
        return {name for name in others if self.write(rows.filter(pc.fill_null(pc.equal(belongs, name), False)), name)}

    def _read_rows(self, part: Path) -> pa.Table:
        """Text that repeats stays dictionary-encoded: large parts are small in memory, and quickly written again."""
        return read_part(part, read_dictionary=repeating_text(self._schemas.instances))

    # ---- parts ----

    def write(self, rows: pa.Table, table: str) -> int:
        """Write rows as a part of the coming table, or of several partitions of it, if there are any; how many."""
        if table == "instances" and self._partitioning.keys:
            self._buffer.add(rows)
            return int(rows.num_rows)
        return self.write_part(rows, table)

    def write_part(self, rows: pa.Table, table: str, partition: str = "") -> int:
        """Write rows, all of one partition, as a part of the coming table, if there are any; how many."""
        if rows.num_rows:
            self._write_part(rows, table, partition)
        return int(rows.num_rows)

    def _write_part(self, rows: pa.Table, table: str, partition: str = "") -> None:
        name = f"{partition}{'/' if partition else ''}{self._run_id}-{self._written}.parquet"
        self._written += 1
        write_data_file(rows, self._schemas.of(table), table, self._layout.next, name, self._schemas.config)

    def finish(self, table: str, parts: Sequence[Path]) -> None:
        """Add the parts that stay; a table without rows has one part, so that every reader finds it and its schema."""
        held = [part for part in parts if count_rows([part])]
        if table == "instances":
            held = self._split_parts(held)
        assemble(self._layout, table, held)
        if not list_parts(self._layout.next / table):
            self._write_part(self._schemas.of(table).empty_table(), table)

    def _split_parts(self, parts: Sequence[Path]) -> list[Path]:
        """Write parts again that lie in no partition, or in one of another kind; those that stay as they are."""
        fitting = [part for part in parts if self._partitioning.fits(part_name(part))]
        for part in sorted(set(parts) - set(fitting)):
            self.write(self._read_rows(part), "instances")
        self._buffer.flush()
        folders = {partition_of(part_name(part)) for part in [*fitting, *list_parts(self._layout.next / "instances")]}
        check_folders(folders, self._schemas.config.max_partitions)
        return fitting


def edit_ledger(rows: pa.Table, edits: pa.Table, removed_at: int) -> pa.Table:
    """Ledger rows as these edits want them."""
    at = pc.index_in(place_of(rows), value_set=_combine(place_of(edits)))
    is_edited = at.is_valid()
    for name in ("status", "code", "message"):
        value = pc.if_else(is_edited, edits[name].take(at), rows[name])
        rows = rows.set_column(rows.schema.get_field_index(name), name, value)
    is_removed = pc.and_(is_edited, pc.fill_null(pc.equal(rows["status"], str(Status.REMOVED)), False))
    seen = pa.scalar(removed_at, pa.int64()).cast(pa.timestamp("us"))
    rows = rows.set_column(
        rows.schema.get_field_index("last_seen"), "last_seen", pc.if_else(is_removed, seen, rows["last_seen"])
    )
    return rows.filter(rows["status"].is_valid())


def _combine(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
