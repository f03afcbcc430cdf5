"""Checks of files: which parts there are, their bytes, their schema; ``check_pages`` then reads them whole.

In: a layout, a snapshot.  Out: findings, and of each table the parts that can be compared row by row.  Reads only, one part after
another.  Knows no headers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.dataset.check_pages import DAMAGE, PageChecker, say_damage
from dicomflow.dataset.layout import ROLLUPS, TABLES, Layout, list_parts, part_name, partition_of
from dicomflow.dataset.parts import describe_part
from dicomflow.dataset.snapshot import PartInfo, Snapshot
from dicomflow.dataset.verification import Findings
from dicomflow.errors import describe
from dicomflow.schema.arrow import files_schema, schema_fingerprint
from dicomflow.schema.rollup import rollup_schema

RESTORE = "restore this file from a backup, or read everything again with `extract --full`"
REMAKE = "remove a part of this table, then run `dicomflow extract` again: it makes the rollups anew"
_KEY = "SOPInstanceUID"

Signature = list[tuple[str, pa.DataType, bool]]
"""Name, type and nullability of each column."""


@dataclass(frozen=True, slots=True)
class TableState:
    """Parts of a table, and whether all of it can be read under one schema."""

    parts: list[Path]
    is_complete: bool


def check_tables(layout: Layout, snapshot: Snapshot, findings: Findings) -> dict[str, TableState]:
    """Look at each part of each table."""
    pages = PageChecker(layout.root, len(snapshot.tables["instances"]), findings)
    states = {table: _TableChecker(layout, snapshot, table, pages, findings).check() for table in TABLES}
    pages.look_up_sample()
    return states


class _TableChecker:
    """The checks of one table's parts."""

    def __init__(self, layout: Layout, snapshot: Snapshot, table: str, pages: PageChecker, findings: Findings) -> None:
        self._root = layout.root
        self._table = table
        self._parts = snapshot.tables[table]
        self._folder = _find_folder(layout, table, set(self._parts))
        fixed = _fixed_schema(table)
        self._fingerprint = snapshot.schema if fixed is None else schema_fingerprint(fixed)
        self._signature: Signature | None = None if fixed is None else _sign(fixed)
        self._remedy = REMAKE if table in ROLLUPS else RESTORE
        self._pages = pages
        self._findings = findings

    def check(self) -> TableState:
        """Look at the folder, then at one part after the other."""
        self._check_names()
        paths = [self._folder / name for name in sorted(self._parts)]
        is_good = [self._check_part(path, self._parts[part_name(path)]) for path in paths]
        return TableState(paths, all(is_good))

    def _check_names(self) -> None:
        self._findings.count("parts", len(self._parts), "parts")
        try:
            nested = {part_name(path) for path in list_parts(self._folder)}
            tops = {name.partition("/")[0] for name in self._parts if partition_of(name)}
            found = nested | {path.name for path in self._folder.iterdir() if path.name not in tops}
        except OSError as error:
            self._add("parts", self._folder, f"cannot be listed: {describe(error)}", "restore it from a backup")
            return
        self._name_strangers(found - set(self._parts))

    def _name_strangers(self, names: Iterable[str]) -> None:
        for path in (self._folder / name for name in sorted(names)):
            what = (
                "readers take it for data, but it is no part of this version"
                if path.suffix == ".parquet"
                else "is no part"
            )
            self._add("parts", path, what, "move it elsewhere")

    def _check_part(self, path: Path, known: PartInfo) -> bool:
        """Whether its rows can be compared with those of others."""
        if not path.is_file():
            self._add("parts", path, "is not there", self._remedy)
            return False
        self._check_digest(path, known)
        schema = self._check_schema(path)
        if schema is None:
            return False
        return self._pages.check(path, self._table, schema)

    def _check_digest(self, path: Path, known: PartInfo) -> None:
        self._findings.count("digests", 1, "parts")
        try:
            found = describe_part(path)
        except DAMAGE as error:
            self._add("digests", path, say_damage(error), self._remedy)
            return
        for number, recorded, unit in ((found.bytes, known.bytes, "bytes"), (found.rows, known.rows, "rows")):
            if number != recorded:
                self._add("digests", path, f"has {number:,} {unit}; {recorded:,} were published", self._remedy)
        if found.bytes == known.bytes and found.digest != known.digest:
            self._add("digests", path, "its bytes are not those that were published", self._remedy)

    def _check_schema(self, path: Path) -> pa.Schema | None:
        """The schema, if it is the table's."""
        self._findings.count("schema", 1, "parts")
        try:
            schema = pq.read_schema(path)
            what = self._find_difference(schema)
        except DAMAGE as error:
            self._add("schema", path, say_damage(error), self._remedy)
            return None
        if what is not None:
            self._add("schema", path, what, self._remedy)
        return schema if what is None else None

    def _find_difference(self, schema: pa.Schema) -> str | None:
        if schema_fingerprint(schema) != self._fingerprint:
            return "its columns are not those of the dataset"
        if _fixed_schema(self._table) is None and (schema.names[0] != _KEY or schema.field(0).nullable):
            return f"{_KEY} is not the first column, or may be null"
        self._signature = self._signature or _sign(schema)
        return None if _sign(schema) == self._signature else "its columns are not typed as those of other parts"

    def _add(self, check: str, path: Path, what: str, remedy: str) -> None:
        self._findings.add(check, str(path.relative_to(self._root)), what, remedy)


def _find_folder(layout: Layout, table: str, names: set[str]) -> Path:
    """Where the parts lie: a commit that was stopped may not have put the new table into its place yet."""
    coming = layout.next / table
    is_coming = layout.commit_record.exists() and {part_name(part) for part in layout.parts(table)} != names
    return coming if is_coming and coming.is_dir() else layout.table(table)


def _fixed_schema(table: str) -> pa.Schema | None:
    """The schema of a table that does not depend on the profile."""
    if table in ROLLUPS:
        return rollup_schema(table)
    return files_schema() if table == "files" else None


def _sign(schema: pa.Schema) -> Signature:
    return [(field.name, field.type, field.nullable) for field in schema]
