"""One row per SOP Instance UID, over all runs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.dataset import deduplicate as module
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.deduplicate import EDITS_SCHEMA, MOVES_SCHEMA, Verdicts, deduplicate, find_affected
from dicomflow.dataset.layout import list_parts
from dicomflow.dataset.rows import Rows
from dicomflow.errors import DatasetError
from dicomflow.schema.arrow import instances_schema

from .archive import NOON, Archive, Row, entry, place, stage_task
from .conftest import PROFILE, describe_schema

Stage = Callable[..., None]

LATER = NOON + timedelta(microseconds=1)
MEMORY = 1 << 28


def status_of(archive: Archive) -> dict[str, tuple[str, str | None]]:
    """Status and code by uri."""
    return {uri: (row["status"], row["code"]) for (uri, _), row in archive.tables()["files"].items()}


# ---- one run ---------------------------------------------------------------------------------------------------------


def test_keys_that_do_not_repeat_change_nothing(archive: Archive) -> None:
    """Nothing is rewritten where nothing is to be decided."""
    archive.put(entry("/a", "1.1"), entry("/b", "1.2"), entry("/c", "1.3"))
    archive.run(tasks=2)
    assert archive.outcome() == archive.expected()
    assert sorted(path.name for path in archive.layout.parts("instances")) == [
        "run130-a-0.parquet",
        "run131-a-0.parquet",
    ]


def test_copy_and_conflict(archive: Archive) -> None:
    """A copy is only a ledger row; another header with the same key keeps its full row in conflicts."""
    archive.put(entry("/b"), entry("/c", PatientID="KEPT", header_digest="other"), entry("/a"), entry("/z", "9.9"))
    archive.run(tasks=2)
    assert status_of(archive) == {
        "/a": ("ok", None),
        "/b": ("duplicate", "same_header"),
        "/c": ("conflict", "other_header"),
        "/z": ("ok", None),
    }
    tables = archive.tables()
    assert {uri for uri, _ in tables["instances"]} == {"/a", "/z"} and list(tables["conflicts"]) == [("/c", None)]
    assert tables["conflicts"]["/c", None]["PatientID"] == "KEPT"
    assert tables["files"]["/c", None]["message"] == "the instance is taken from /a"


PAIRS = {
    "newest": (entry("/z", mtime=LATER), entry("/a")),
    "whole-before-partial": (entry("/z"), entry("/a", status="partial", mtime=LATER)),
    "lowest-uri": (entry("/a"), entry("/b")),
    "file-before-member": (entry("/a"), entry("/a", member="m")),
    "lowest-member": (entry("/a", member="l"), entry("/a", member="m")),
    "known-time": (entry("/z"), entry("/a", mtime=None)),
    "newest-partial": (entry("/z", status="partial", mtime=LATER), entry("/a", status="partial")),
}


@pytest.mark.parametrize("header", ["same", "other"])
@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)
def test_the_winner_whatever_the_order(
    tmp_path: Path, instances: pa.Schema, first: Row, second: Row, header: str
) -> None:
    """A whole header, then the newest, then the lowest uri and member wins: in one run, and in two."""
    second = {**second, "header_digest": header}
    for number, (runs, tasks) in enumerate(
        [
            ([[second, first]], 1 if header == "same" else 2),
            ([[first], [second]], 1),
            ([[second], [first]], 1),
        ]
    ):
        archive = Archive(tmp_path / str(number), instances)
        for rows in runs:
            archive.put(*rows)
            archive.run(tasks=tasks)
        assert list(archive.tables()["instances"]) == [place(first)]
        assert archive.outcome() == archive.expected()


def test_any_order_of_many(tmp_path: Path, instances: pa.Schema) -> None:
    """All 24 orders of four claims, in one task, in two, or (every fourth) cut into two runs, end with the same tables."""
    claims = [entry("/a"), entry("/b", mtime=LATER), entry("/c", header_digest="x"), entry("/d", status="partial")]
    ends = []
    for number, order in enumerate(itertools.permutations(claims)):
        archive, cut = Archive(tmp_path / str(number), instances), 4 if number % 4 else 1 + number // 4 % 3
        for rows in filter(None, (order[:cut], order[cut:])):
            archive.put(*rows)
            archive.run(tasks=1 + number % 2)
        ends.append(archive.outcome())
    assert all(end == ends[0] == archive.expected() for end in ends)
    assert list(ends[0]["instances"]) == [("/b", None)] and list(ends[0]["conflicts"]) == [("/c", None)]


def test_a_part_that_loses_all_rows_is_gone(archive: Archive) -> None:
    """No empty part is published where another part has rows."""
    archive.put(entry("/b"), entry("/a"))
    archive.run(tasks=2)
    assert [path.name for path in archive.layout.parts("instances")] == ["run121-a-0.parquet"]


def test_schema_survives_rewriting(archive: Archive, instances: pa.Schema, files: pa.Schema) -> None:
    """Parts that were written again have the very schema of all others, metadata included."""
    archive.put(entry("/b", header_digest="x"), entry("/y", "8"))
    archive.run()
    archive.put(entry("/a", mtime=LATER))
    archive.run()
    for table, schema in (("instances", instances), ("conflicts", instances), ("files", files)):
        parts = archive.layout.parts(table)
        assert parts and all(describe_schema(pq.read_schema(part)) == describe_schema(schema) for part in parts)


@pytest.mark.parametrize("name", ["a[1]b*?", "status=ok", "it's", "uri=7", "ü {x}"])
def test_hostile_names_of_the_destination(tmp_path: Path, instances: pa.Schema, name: str) -> None:
    """A folder whose name looks like a pattern or a Hive partition is a folder like any other."""
    stage_task(tmp_path / "a1bXY" / "_dicomflow" / "staging", "task9", [entry("/other", "1.2")], instances)
    archive = Archive(tmp_path / name, instances)
    archive.put(entry("/b"), entry("/c", "3", status="partial"))
    archive.run()
    archive.put(entry("/a"), entry("/d", header_digest="x"))
    archive.run()
    assert archive.outcome() == archive.expected() and status_of(archive)["/b"][0] == "duplicate"
    archive.drop("/a")
    archive.run()
    assert archive.outcome() == archive.expected()


def test_failed_files_have_no_claim(archive: Archive) -> None:
    """A file without a key does not compete."""
    archive.put(entry("/a", None, status="failed"), entry("/b"))
    archive.run()
    assert status_of(archive) == {"/a": ("failed", None), "/b": ("ok", None)}


def test_many_keys_take_the_way_out_of_core(monkeypatch: pytest.MonkeyPatch, archive: Archive) -> None:
    """Beyond what is counted in memory the outcome is the same."""
    monkeypatch.setattr(module, "COUNT_IN_MEMORY", 0)
    archive.put(entry("/a"), entry("/b"))
    archive.run()
    assert archive.outcome() == archive.expected()


def test_few_keys_need_no_engine(monkeypatch: pytest.MonkeyPatch, archive: Archive) -> None:
    """A first run without repeated keys is spared DuckDB's start."""
    monkeypatch.setattr(module, "Engine", None)
    archive.put(entry("/a", "1"), entry("/b", "2"), entry("/c", None, status="failed"))
    assert archive.run() and archive.outcome() == archive.expected()


# ---- run after run ---------------------------------------------------------------------------------------------------


def test_nothing_changed(archive: Archive) -> None:
    """A run over the same files publishes nothing and leaves every part as it is."""
    archive.put(entry("/a"), entry("/b"), entry("/c", header_digest="x"))
    assert archive.run()
    before = {path: path.stat() for path in archive.layout.root.rglob("*.parquet")}
    assert not archive.run() and archive.read == []
    assert {path: path.stat() for path in archive.layout.root.rglob("*.parquet")} == before


@pytest.mark.parametrize("change", ["removed", "older", "partial", "other key", "failed", "settled"])
def test_a_conflict_is_promoted(archive: Archive, change: str) -> None:
    """Whatever makes the winner give way, the best of the losers takes its place, with the row that was kept of it."""
    archive.put(
        entry("/a", mtime=LATER, PatientID="A"),
        entry("/b", header_digest="b", PatientID="B"),
        entry("/c", header_digest="c", PatientID="C"),
    )
    archive.run()
    change_winner(archive, change)
    archive.run()
    assert archive.outcome() == archive.expected()
    assert archive.tables()["instances"]["/b", None]["PatientID"] == "B"
    assert ("/b", None) not in archive.read and ("/b", None) not in archive.tables()["conflicts"]


def change_winner(archive: Archive, change: str) -> None:
    """Let /a, which came first, lose its claim."""
    if change == "removed":
        archive.drop("/a")
    changed: dict[str, dict[str, Any]] = {
        "older": {"mtime": NOON - timedelta(days=1)},
        "partial": {"status": "partial", "offset": 5, "size": 3},
        "other key": {"SOPInstanceUID": "7.7", "size": 3},
        "failed": {"SOPInstanceUID": None, "status": "failed", "size": 3},
        "settled": {"SOPInstanceUID": None, "status": "skipped", "settled": True, "size": None, "header_digest": None},
    }
    if change in changed:
        archive.put({**entry("/a", mtime=LATER, PatientID="A"), **changed[change]})


@pytest.mark.parametrize("change", ["removed", "older", "partial", "other key", "failed", "settled"])
def test_a_duplicate_is_read_again(archive: Archive, change: str) -> None:
    """Of a copy no row was kept: when it is needed the copy is read, and only that one."""
    archive.put(entry("/a", mtime=LATER, PatientID="A"), entry("/b", PatientID="B"), entry("/c", PatientID="C"))
    archive.run()
    change_winner(archive, change)
    archive.run()
    assert archive.outcome() == archive.expected()
    assert {uri for uri, _ in archive.read} == {"/b"} | (
        {"/a"} if change in ("older", "partial", "other key", "failed") else set()
    )


def test_a_copy_becomes_a_conflict_when_the_winner_changes(archive: Archive) -> None:
    """The winner got another header: its former copies are needed, as conflicts, and are read."""
    archive.put(entry("/a", mtime=LATER), entry("/b", PatientID="B"))
    archive.run()
    archive.put(entry("/a", mtime=LATER, header_digest="new", size=9))
    archive.run()
    assert archive.outcome() == archive.expected() and status_of(archive)["/b"] == ("conflict", "other_header")
    archive.put(entry("/a", mtime=LATER, size=8))
    archive.run()
    assert archive.outcome() == archive.expected() and status_of(archive)["/b"] == ("duplicate", "same_header")
    assert archive.tables()["conflicts"] == {}


def test_a_newcomer_takes_over(archive: Archive) -> None:
    """The former winner moves to conflicts, or its row goes, if it is a copy; who lost to it now loses to the newcomer."""
    archive.put(entry("/a", PatientID="A"), entry("/b"), entry("/c", header_digest="c", PatientID="C"))
    archive.run()
    archive.put(entry("/n", mtime=LATER, header_digest="c"))
    archive.run()
    assert archive.outcome() == archive.expected()
    assert status_of(archive)["/c"] == ("duplicate", "same_header") and status_of(archive)["/a"][0] == "conflict"
    assert archive.tables()["files"]["/b", None]["message"] == "the instance is taken from /n"


def test_a_partial_loser_is_still_partial_when_it_wins(archive: Archive) -> None:
    """How its reading ended was overwritten when it lost: it is read again."""
    archive.put(entry("/a"), entry("/b", status="partial", code="truncated", message="m", header_digest="b"))
    archive.run()
    archive.drop("/a")
    archive.run()
    assert archive.outcome() == archive.expected() and status_of(archive)["/b"] == ("partial", "truncated")


def test_what_must_be_read_again_is_gone(archive: Archive) -> None:
    """A copy that cannot be read when it is needed is a failed file, and the next best copy is read instead."""
    archive.put(entry("/x/a", mtime=LATER), entry("/y/b"), entry("/y/c"))
    archive.run()
    archive.drop("/x/a", "/y/b")
    archive.run(sources=["/x"])
    assert status_of(archive) == {"/x/a": ("removed", None), "/y/b": ("failed", "not_found"), "/y/c": ("ok", None)}
    assert archive.read == [("/y/b", None), ("/y/c", None)]
    assert list(archive.tables()["instances"]) == [("/y/c", None)]


def test_the_same_failures_are_no_change(archive: Archive) -> None:
    """A file that fails as it failed before leaves the dataset as it is; another failure is recorded."""
    archive.put(entry("/a"), entry("/f", None, status="failed", code="io_error", message="m"))
    archive.run()
    assert not archive.run() and archive.read == [("/f", None)]
    archive.put(entry("/b", "3"))
    assert archive.run() and archive.outcome() == archive.expected()
    assert archive.tables()["files"]["/f", None]["run_id"] == "run001"
    archive.put(entry("/f", None, status="failed", code="io_error", message="other"))
    assert archive.run() and archive.tables()["files"]["/f", None]["run_id"] == "run004"
    archive.put(entry("/f", "9"))
    assert archive.run() and archive.outcome() == archive.expected()


def test_a_removed_file_comes_back(archive: Archive) -> None:
    """It is read, keeps when it was first seen, and competes again."""
    archive.put(entry("/a", mtime=LATER), entry("/b", header_digest="b"))
    archive.run()
    first_seen = archive.tables()["files"]["/a", None]["first_seen"]
    archive.drop("/a")
    archive.run()
    gone = archive.tables()["files"]["/a", None]
    assert (gone["status"], gone["code"], gone["SOPInstanceUID"]) == ("removed", None, "1.2")
    archive.put(entry("/a", mtime=LATER))
    archive.run()
    assert archive.outcome() == archive.expected()
    assert archive.tables()["files"]["/a", None]["first_seen"] == first_seen


def test_members_of_one_archive(archive: Archive) -> None:
    """Members compete one by one, and removing one leaves the others."""
    archive.put(
        *(entry("/z", member=member, header_digest=member) for member in "abc"), entry("/z", None, status="skipped")
    )
    archive.run()
    del archive.world["/z", "a"]
    archive.run()
    assert archive.outcome() == archive.expected()


def test_a_full_run_over_everything(archive: Archive) -> None:
    """Reading all again gives the same dataset, each row once."""
    archive.put(entry("/a"), entry("/b"), entry("/c", header_digest="c"), entry("/d", "4", status="partial"))
    archive.run()
    before = archive.outcome()
    assert archive.run(Mode.FULL) and len(archive.read) == 4
    assert archive.outcome() == before == archive.expected()


# ---- the law ---------------------------------------------------------------------------------------------------------

FILES = st.fixed_dictionaries(
    {
        "uri": st.sampled_from(["/a", "/b", "/c", "/d", "/e"]),
        "member": st.sampled_from([None, None, None, "m"]),
        "size": st.integers(1, 3),
        "mtime": st.sampled_from([NOON, NOON, LATER, None]),
        "status": st.sampled_from(["ok", "ok", "ok", "partial", "failed"]),
        "key": st.sampled_from(["1", "1", "1", "2"]),
        "header_digest": st.sampled_from(["x", "x", "y"]),
    }
)


def to_entry(drawn: Row) -> Row:
    """A file as drawn; what a header holds depends on nothing but the version of the file."""
    key = None if drawn["status"] == "failed" else drawn["key"]
    digest = drawn["header_digest"] if key else None
    code = None if drawn["status"] == "ok" else "truncated"
    facts = {**drawn, "SOPInstanceUID": key, "header_digest": digest, "code": code, "PatientID": digest}
    return {**entry(drawn["uri"], status=drawn["status"]), **facts}


RUNS = st.lists(
    st.tuples(
        st.lists(FILES, max_size=4),
        st.lists(st.sampled_from(["/a", "/b", "/c", "/d", "/e"]), max_size=2),
        st.sampled_from([Mode.INCREMENT, Mode.INCREMENT, Mode.INCREMENT, Mode.FULL]),
        st.integers(1, 2),
        st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=20 if settings().max_examples < 100 else 400)
@given(runs=RUNS)
def test_many_runs_are_as_one(runs: list[tuple[list[Row], list[str], Mode, int, bool]]) -> None:
    """Whatever comes, changes and goes in whichever run, and whichever is stopped: the dataset is that of one run over all."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder) / "d", instances_schema(PROFILE))
        for number, (coming, going, mode, tasks, stop) in enumerate(runs):
            archive.drop(*going)
            archive.put(*(to_entry({**row, "size": row["size"] + 10 * number}) for row in coming))
            archive.run(mode, tasks=tasks, stop=stop)
            assert stop or archive.outcome() == archive.expected()
        archive.run()
        assert archive.outcome() == archive.expected()


# ---- the questions themselves ----------------------------------------------------------------------------------------


def ask(folder: Path, new: list[Row], old: list[Row], gone: list[Row], instances: pa.Schema) -> Verdicts:
    """Deduplicate one staged task against one published."""
    for name, rows in (("new", new), ("old", old)):
        if rows:
            stage_task(folder / name, "t", rows, instances)
    keys = pa.schema([("uri", pa.string()), ("member", pa.string())])
    removed = pa.Table.from_pylist([{name: row[name] for name in keys.names} for row in gone], keys)
    new_parts, old_parts = (list_parts(folder / name / "files") for name in ("new", "old"))
    return deduplicate(new_parts, old_parts, Rows(keys), Rows.of(removed), spill=folder / "spill", memory=MEMORY)


def test_edits_have_their_schema(tmp_path: Path, instances: pa.Schema) -> None:
    """Whether or not anything is to be done, and sorted by part."""
    for number, (new, old) in enumerate([([], []), ([entry("/a")], []), ([entry("/b")], [entry("/a")])]):
        found = ask(tmp_path / str(number), new, old, [], instances)
        assert found.edits.schema.equals(EDITS_SCHEMA) and found.edits.num_rows == (number == 2)
        assert found.unread.num_rows == 0
    (edit,) = found.edits.whole().to_pylist()
    assert edit["part"] == str(tmp_path / "2" / "new" / "files" / "t.parquet") and edit["new"]


def test_nothing_is_left_behind(tmp_path: Path, instances: pa.Schema) -> None:
    """The engine's own files go with it."""
    ask(tmp_path / "x", [entry("/b")], [entry("/a")], [], instances)
    assert not list((tmp_path / "x").rglob("duckdb*"))


def test_a_part_that_cannot_be_read(tmp_path: Path, instances: pa.Schema) -> None:
    """A damaged ledger is one line that quotes no value."""
    stage_task(tmp_path / "old", "t", [entry("/secret")], instances)
    part = tmp_path / "old/files/t.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DatasetError, match="the ledger cannot be searched: ") as caught:
        ask(tmp_path, [entry("/b")], [], [entry("/secret")], instances)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("few", [0, 9], ids=["DuckDB", "in memory"])
@pytest.mark.parametrize("memory", [0, MEMORY], ids=["spilled", "held"])
def test_which_parts_hold_rows_of_these_files(
    tmp_path: Path, instances: pa.Schema, monkeypatch: pytest.MonkeyPatch, few: int, memory: int
) -> None:
    """Only parts with such rows are named, with which; members are told apart; nothing is asked for nothing."""
    monkeypatch.setattr(module, "FEW_MOVES", few)
    for task, rows in (("t1", [entry("/a"), entry("/b")]), ("t2", [entry("/c")]), ("t3", [entry("/a", member="m")])):
        stage_task(tmp_path, task, rows, instances)
    parts = list_parts(tmp_path / "instances")

    def affected(parts: list[Path], *moves: tuple[str, str | None, str | None]) -> dict[Path, list[tuple[Any, ...]]]:
        rows = Rows(MOVES_SCHEMA, tmp_path / "spill", memory)
        for move in moves:
            rows.add(pa.Table.from_pylist([dict(zip(MOVES_SCHEMA.names, move, strict=True))], MOVES_SCHEMA))
        found = find_affected(parts, rows, spill=tmp_path / "spill", memory=MEMORY)
        return {part: sorted(tuple(row.values()) for row in rows.to_pylist()) for part, rows in found}

    moves = [("/a", None, None), ("/b", None, "conflicts"), ("/x", None, None)]
    assert affected(parts, *moves) == {parts[0]: moves[:2]}
    members = [("/a", "m", None), ("/c", None, "instances"), ("/c", "m", None)]
    assert affected(parts, *members) == {parts[1]: [members[1]], parts[2]: [members[0]]}
    assert affected(parts) == affected([], *moves) == {}
