"""The coming tables: parts that stay by name, others written again without what is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset import rewrite as module
from dicomflow.dataset.deduplicate import EDITS_SCHEMA
from dicomflow.dataset.layout import BASE_TABLES, Layout, list_parts
from dicomflow.dataset.ledger import settled_rows
from dicomflow.dataset.parts import describe_part
from dicomflow.dataset.rewrite import Plan, Rewriter, edit_ledger
from dicomflow.dataset.rows import Rows
from dicomflow.dataset.staging import Schemas
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import load_profile

from .archive import NOON, Row, entry, fill_rows, stage_task
from .conftest import describe_schema

LATE = datetime(2024, 5, 2)
LATE_MICROS = 1_714_608_000_000_000

Apply = Callable[..., dict[str, list[Row]]]


@pytest.fixture
def rewriter(layout: Layout, instances: pa.Schema, files: pa.Schema) -> Rewriter:
    return Rewriter(layout, Schemas(instances=instances, files=files, config=DatasetConfig()), "run2")


@pytest.fixture
def old(layout: Layout, instances: pa.Schema) -> dict[str, list[Path]]:
    """Published: parts one and two of instances and files, part three of conflicts, which has /c and /d."""
    stage_task(layout.root, "one", [entry("/a", "1", PatientID="A"), entry("/b", "2", PatientID="B")], instances)
    stage_task(layout.root, "two", [entry("/e", "5")], instances)
    lost = [entry(f"/{name}", "1", status="conflict", PatientID=name) for name in "cd"]
    stage_task(layout.root, "three", lost, instances)
    layout.table("conflicts").mkdir()
    (layout.table("instances") / "three-0.parquet").rename(layout.table("conflicts") / "three-0.parquet")
    return {table: layout.parts(table) for table in BASE_TABLES}


def edit(part: Path | None, uri: str, status: str | None, place: str | None, **more: Any) -> Row:
    row = {"part": str(part), "uri": uri, "status": status, "place": place, "new": False, "has_row": True}
    return {**row, **more}


@pytest.fixture
def apply(layout: Layout, rewriter: Rewriter, old: dict[str, list[Path]]) -> Apply:
    """Assemble with these edits; the rows of the tables that came to be in ``next``."""

    def run(*edits: Row, settled: pa.Table | None = None, **more: Any) -> dict[str, list[Row]]:
        about = sorted(edits, key=lambda row: (row["part"], row["uri"]))
        rewriter.apply(
            Plan(
                old=more.pop("old", old),
                ledgers=list_parts(layout.staging / "files"),
                settled=Rows.of(
                    settled_rows(SOURCE_FILE_SCHEMA.empty_table() if settled is None else settled, "run2", 0)
                ),
                edits=Rows.of(fill_rows(EDITS_SCHEMA, about)),
                removed_at=LATE_MICROS,
                **more,
            )
        )
        return {
            table: [row for part in list_parts(layout.next / table) for row in pq.read_table(part).to_pylist()]
            for table in BASE_TABLES
            if (layout.next / table).is_dir()
        }

    return run


def uris(rows: list[Row]) -> list[str]:
    return sorted(row.get("source_uri") or row["uri"] for row in rows)


def part_of(old: dict[str, list[Path]], table: str, name: str) -> Path:
    return next(part for part in old[table] if part.stem.startswith(name))


# ---- whole tables ----------------------------------------------------------------------------------------------------


def test_nothing_to_do(apply: Apply) -> None:
    """Without edits and new parts no table is assembled."""
    assert apply() == {}


def test_new_parts_are_added_under_their_names(apply: Apply, layout: Layout, instances: pa.Schema) -> None:
    """Old and staged parts get a second name in next, not a byte is copied; a table that does not change is not there."""
    stage_task(layout.staging, "new", [entry("/n", "9")], instances)
    coming = apply()
    assert uris(coming["instances"]) == ["/a", "/b", "/e", "/n"] and set(coming) == {"instances", "files"}
    assert uris(coming["files"]) == ["/a", "/b", "/c", "/d", "/e", "/n"]
    for table in coming:
        for part in list_parts(layout.next / table):
            origin = layout.table(table) if (layout.table(table) / part.name).exists() else layout.staging / table
            assert part.stat().st_ino == (origin / part.name).stat().st_ino


def test_a_row_goes(apply: Apply, layout: Layout, old: dict[str, list[Path]]) -> None:
    """Its part is written again without it, in instances and in the ledger; other parts keep name and bytes."""
    coming = apply(edit(part_of(old, "files", "one"), "/a", None, None))
    assert uris(coming["instances"]) == ["/b", "/e"] and uris(coming["files"]) == ["/b", "/c", "/d", "/e"]
    assert "conflicts" not in coming
    assert [part.name for part in list_parts(layout.next / "instances")] == ["run2-1.parquet", "two-0.parquet"]


def test_a_part_that_loses_all_rows_is_not_even_read(
    apply: Apply, old: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows need not be looked at to leave them out."""
    real = module.read_part
    read: list[str] = []
    monkeypatch.setattr(
        module, "read_part", lambda path, *rest, **more: (read.append(path.name), real(path, *rest, **more))[1]
    )
    ledger = part_of(old, "files", "one")
    coming = apply(edit(ledger, "/a", "removed", None), edit(ledger, "/b", "removed", None))
    assert uris(coming["instances"]) == ["/e"] and read == ["one.parquet"]
    assert {row["uri"]: row["status"] for row in coming["files"]}["/a"] == "removed"


def test_rows_change_tables(apply: Apply, old: dict[str, list[Path]]) -> None:
    """A winner and a loser change places, with all that is in their rows; neighbours stay."""
    coming = apply(
        edit(part_of(old, "files", "one"), "/a", "conflict", "conflicts", code="other_header"),
        edit(part_of(old, "files", "three"), "/c", "ok", "instances"),
    )
    assert {row["source_uri"]: row["PatientID"] for row in coming["instances"]} == {"/b": "B", "/c": "c", "/e": None}
    assert {row["source_uri"]: row["PatientID"] for row in coming["conflicts"]} == {"/a": "A", "/d": "d"}
    status = {row["uri"]: (row["status"], row["code"]) for row in coming["files"]}
    assert status["/a"] == ("conflict", "other_header") and status["/c"] == ("ok", None)


def test_new_rows_that_lose(apply: Apply, layout: Layout, instances: pa.Schema) -> None:
    """A staged row goes to conflicts or nowhere, and never into instances; what was staged stays as it was."""
    stage_task(layout.staging, "new", [entry("/n", "1", PatientID="N"), entry("/m", "1"), entry("/o", "7")], instances)
    (ledger,) = list_parts(layout.staging / "files")
    before = {path: path.read_bytes() for path in layout.staging.rglob("*.parquet")}
    coming = apply(
        edit(ledger, "/n", "conflict", "conflicts", new=True), edit(ledger, "/m", "duplicate", None, new=True)
    )
    assert uris(coming["instances"]) == ["/a", "/b", "/e", "/o"] and uris(coming["conflicts"]) == ["/c", "/d", "/n"]
    assert {row["uri"]: row["status"] for row in coming["files"]}["/m"] == "duplicate"
    assert {path: path.read_bytes() for path in layout.staging.rglob("*.parquet")} == before


def test_a_file_that_was_read_again(
    apply: Apply, layout: Layout, instances: pa.Schema, old: dict[str, list[Path]]
) -> None:
    """Its old rows go, its new ones come, although both have one name."""
    stage_task(layout.staging, "new", [entry("/a", "1", PatientID="NEW")], instances)
    coming = apply(edit(part_of(old, "files", "one"), "/a", None, None))
    assert [row["PatientID"] for row in coming["instances"] if row["source_uri"] == "/a"] == ["NEW"]
    assert uris(coming["files"]) == ["/a", "/b", "/c", "/d", "/e"]


def test_members_move_one_by_one(layout: Layout, rewriter: Rewriter, apply: Apply, instances: pa.Schema) -> None:
    """One member goes, its neighbours and the archive's own row stay."""
    stage_task(
        layout.staging, "z", [entry("/z", "7"), entry("/z", "8", member="m"), entry("/z", "9", member="n")], instances
    )
    (ledger,) = list_parts(layout.staging / "files")
    coming = apply(edit(ledger, "/z", "duplicate", None, new=True, member="m"))
    assert [row["source_member"] for row in coming["instances"] if row["source_uri"] == "/z"] == [None, "n"]
    assert [(row["member"], row["status"]) for row in coming["files"] if row["uri"] == "/z"] == [
        (None, "ok"), ("m", "duplicate"), ("n", "ok"),
    ]  # fmt: skip


def test_what_listing_settled(apply: Apply) -> None:
    """It is a part of the ledger, and touches no other table."""
    settled = fill_rows(SOURCE_FILE_SCHEMA, [{"uri": "/fifo", "status": "skipped", "code": "special_file"}])
    coming = apply(settled=settled)
    assert set(coming) == {"files"} and uris(coming["files"]) == ["/a", "/b", "/c", "/d", "/e", "/fifo"]


def test_the_first_version(apply: Apply, files: pa.Schema, layout: Layout, instances: pa.Schema) -> None:
    """Of nothing come three tables with one empty part each, with their schema."""
    coming = apply(old={table: [] for table in BASE_TABLES})
    assert coming == {table: [] for table in BASE_TABLES}
    for table, schema in (("instances", instances), ("files", files), ("conflicts", instances)):
        (part,) = list_parts(layout.next / table)
        assert describe_schema(pq.read_schema(part)) == describe_schema(schema)


def test_an_empty_part_goes_when_there_are_rows(
    apply: Apply, layout: Layout, rewriter: Rewriter, instances: pa.Schema
) -> None:
    """The part that only showed the schema is not kept beside one with rows."""
    rewriter.finish("conflicts", [])
    (empty,) = list_parts(layout.next / "conflicts")
    empty.rename(layout.table("conflicts") / "empty.parquet")
    stage_task(layout.staging, "new", [entry("/n", "1")], instances)
    (ledger,) = list_parts(layout.staging / "files")
    apply(
        edit(ledger, "/n", "conflict", "conflicts", new=True),
        old={
            **{table: layout.parts(table) for table in BASE_TABLES},
            "conflicts": [layout.table("conflicts") / "empty.parquet"],
        },
    )
    (part,) = list_parts(layout.next / "conflicts")
    assert pq.read_table(part)["source_uri"].to_pylist() == ["/n"]


def test_other_columns(layout: Layout, files: pa.Schema, old: dict[str, list[Path]]) -> None:
    """Where columns change no old part of instances and conflicts stays, even an empty one; the ledger keeps its own."""
    wide = instances_schema(load_profile("standard"))
    rewriter = Rewriter(layout, Schemas(instances=wide, files=files, config=DatasetConfig()), "run2")
    stage_task(layout.staging, "new", [entry("/a", "1"), entry("/b", "2")], wide)
    edits = [
        *(edit(part_of(old, "files", "one"), uri, None, None) for uri in ("/a", "/b")),
        *(edit(part_of(old, "files", "three"), uri, None, None) for uri in ("/c", "/d")),
        edit(part_of(old, "files", "two"), "/e", "removed", None),
    ]
    plan = Plan(
        old=old,
        ledgers=list_parts(layout.staging / "files"),
        settled=Rows.of(settled_rows(SOURCE_FILE_SCHEMA.empty_table(), "run2", 0)),
        edits=Rows.of(fill_rows(EDITS_SCHEMA, sorted(edits, key=lambda row: (row["part"], row["uri"])))),
        removed_at=LATE_MICROS,
        renew=True,
    )
    rewriter.apply(plan)
    for table in ("instances", "conflicts"):
        for part in list_parts(layout.next / table):
            assert describe_schema(pq.read_schema(part)) == describe_schema(wide)
    assert pq.read_table(layout.next / "instances").num_rows == 2
    assert sorted(pq.read_table(layout.next / "files")["uri"].to_pylist()) == ["/a", "/b", "/e"]


def test_parts_written_again_are_like_all_others(
    apply: Apply, layout: Layout, instances: pa.Schema, files: pa.Schema, old: dict[str, list[Path]]
) -> None:
    """Schema and metadata are the very same."""
    apply(
        edit(part_of(old, "files", "one"), "/a", "conflict", "conflicts"),
        edit(part_of(old, "files", "three"), "/c", "ok", "instances"),
    )
    for table, schema in (("instances", instances), ("conflicts", instances), ("files", files)):
        for part in list_parts(layout.next / table):
            assert describe_schema(pq.read_schema(part)) == describe_schema(schema)


# ---- description -----------------------------------------------------------------------------------------------------


def test_description(apply: Apply, rewriter: Rewriter, layout: Layout, old: dict[str, list[Path]]) -> None:
    """Parts that stay are not read to be described, new ones are; a table that stays keeps its description."""
    known = {
        table: {part.name: describe_part(part)._replace(digest="as known") for part in old[table]}
        for table in BASE_TABLES
    }
    apply(edit(part_of(old, "files", "one"), "/a", None, None))
    coming = rewriter.describe(known)
    assert coming["conflicts"] == known["conflicts"]
    assert coming["instances"]["two-0.parquet"].digest == "as known"
    written = layout.next / "instances" / "run2-1.parquet"
    assert coming["instances"][written.name] == describe_part(written) and len(coming["instances"]) == 2


# ---- the ledger ------------------------------------------------------------------------------------------------------


def test_edits_of_the_ledger(files: pa.Schema) -> None:
    """Edited rows get status, code and message, removed ones the time they were last seen; rows without a status go."""
    rows = fill_rows(files, [entry(f"/{name}", code="c", message="m", last_seen=NOON) for name in "abcd"])
    edits = fill_rows(
        EDITS_SCHEMA,
        [
            edit(None, "/a", "conflict", "conflicts", code="other_header", message="said"),
            edit(None, "/b", None, None),
            edit(None, "/c", "removed", None),
        ],
    )
    found = edit_ledger(rows, edits, LATE_MICROS)
    assert found.schema.names == files.names and found.schema.types == files.types
    names = ("uri", "status", "code", "message", "last_seen", "SOPInstanceUID")
    assert [tuple(row[name] for name in names) for row in found.to_pylist()] == [
        ("/a", "conflict", "other_header", "said", NOON, "1.2"),
        ("/c", "removed", None, None, LATE, "1.2"),
        ("/d", "ok", "c", "m", NOON, "1.2"),
    ]


def test_a_row_that_was_removed_before_keeps_its_time(files: pa.Schema) -> None:
    """Only edited rows change."""
    rows = fill_rows(files, [entry("/a", status="removed", last_seen=NOON), entry("/b", last_seen=NOON)])
    found = edit_ledger(rows, fill_rows(EDITS_SCHEMA, [edit(None, "/b", "removed", None)]), LATE_MICROS)
    assert found["last_seen"].to_pylist() == [NOON, LATE]


def test_no_rows_are_no_part(rewriter: Rewriter, layout: Layout, files: pa.Schema) -> None:
    """Only ``finish`` writes an empty part."""
    assert rewriter.write(files.empty_table(), "files") == 0 and not layout.next.exists()
