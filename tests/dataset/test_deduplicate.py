"""One row per SOP Instance UID."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset import deduplicate as module
from dicomflow.dataset.deduplicate import Parts, count_outcomes, deduplicate

from .conftest import NOON, describe_schema

Stage = Callable[..., None]

LATER = NOON + timedelta(microseconds=1)


@pytest.fixture
def run(tmp_path: Path, stage: Stage, instances: pa.Schema, files: pa.Schema) -> Callable[..., dict[str, Any]]:
    """Stage tasks, deduplicate, and give back all tables by uri."""

    def deduplicated(*tasks: list[dict[str, Any]], folder: str = "staging") -> dict[str, Any]:
        parts = Parts(tmp_path / folder, instances, files, DatasetConfig())
        for number, found in enumerate(tasks):
            stage(parts.staging, f"task{number}", found)
        lost = deduplicate(parts)
        entries = [row for path in parts.of("files") for row in pq.read_table(path).to_pylist()]
        tables = {
            name: {row["source_uri"]: row for path in parts.of(name) for row in pq.read_table(path).to_pylist()}
            for name in ("instances", "conflicts")
        }
        assert sum(row["status"] in ("duplicate", "conflict") for row in entries) == lost
        return {"files": {row["uri"]: row for row in entries}, **tables}

    return deduplicated


def entry(uri: str, uid: str = "1.2", **more: Any) -> dict[str, Any]:
    return {"uri": uri, "SOPInstanceUID": uid, "header_digest": "same", **more}


def test_keys_that_do_not_repeat_change_nothing(tmp_path: Path, stage: Stage, run: Any) -> None:
    """Nothing is rewritten where nothing is to be decided."""
    found = run([entry("/a", "1.1"), entry("/b", "1.2")], [entry("/c", "1.3")])
    assert set(found["instances"]) == {"/a", "/b", "/c"} and found["conflicts"] == {}


def test_copy_and_conflict(run: Any) -> None:
    """A copy is only a ledger row; another header with the same key keeps its full row in conflicts."""
    found = run(
        [entry("/b"), entry("/c", PatientID="KEPT", header_digest="other")],
        [entry("/a"), entry("/z", "9.9")],
    )
    status = {uri: (row["status"], row["code"]) for uri, row in found["files"].items()}
    assert status == {
        "/a": ("ok", None),
        "/b": ("duplicate", "same_header"),
        "/c": ("conflict", "other_header"),
        "/z": ("ok", None),
    }
    assert set(found["instances"]) == {"/a", "/z"} and set(found["conflicts"]) == {"/c"}
    assert found["conflicts"]["/c"]["PatientID"] == "KEPT"
    assert found["files"]["/c"]["message"] == "the instance is taken from /a"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (entry("/z", mtime=LATER), entry("/a")),
        (entry("/z"), entry("/a", status="partial", mtime=LATER)),
        (entry("/a"), entry("/b")),
        (entry("/a"), entry("/a", member="m")),
        (entry("/a", member="l"), entry("/a", member="m")),
        (entry("/z"), entry("/a", mtime=None)),
    ],
    ids=["newest", "whole-before-partial", "lowest-uri", "file-before-member", "lowest-member", "known-time"],
)
def test_the_winner_whatever_the_order(run: Any, first: dict[str, Any], second: dict[str, Any]) -> None:
    """A whole header, then the newest, then the lowest uri and member wins, in whichever task it is."""
    for number, tasks in enumerate(([[first, second]], [[second, first]], [[first], [second]], [[second], [first]])):
        found = run(*tasks, folder=str(number))
        (row,) = found["instances"].values()
        assert (row["source_uri"], row["source_member"]) == (first["uri"], first.get("member"))


def test_any_order_of_many(run: Any) -> None:
    """All 24 orders of four claims end with the same tables."""
    claims = [entry("/a"), entry("/b", mtime=LATER), entry("/c", header_digest="x"), entry("/d", status="partial")]
    ends = []
    for number, order in enumerate(itertools.permutations(claims)):
        cut = random.Random(number).randint(1, 3)
        found = run(list(order[:cut]), list(order[cut:]), folder=str(number))
        ends.append({name: dict(sorted(rows.items())) for name, rows in found.items()})
    assert all(end == ends[0] for end in ends)
    assert set(ends[0]["instances"]) == {"/b"} and set(ends[0]["conflicts"]) == {"/c"}


def test_a_part_that_loses_all_rows_is_gone(run: Any, tmp_path: Path) -> None:
    """No empty part is published where another part has rows."""
    run([entry("/b")], [entry("/a")])
    assert [path.name for path in (tmp_path / "staging" / "instances").iterdir()] == ["task1-0.parquet"]


def test_schema_survives_rewriting(run: Any, tmp_path: Path, instances: pa.Schema, files: pa.Schema) -> None:
    """Parts that were written again have the very schema of all others, metadata included."""
    run([entry("/b", header_digest="x"), entry("/y", "8")], [entry("/a")])
    for table, schema in (("instances", instances), ("conflicts", instances), ("files", files)):
        parts = sorted((tmp_path / "staging" / table).glob("*.parquet"))
        assert parts and all(describe_schema(pq.read_schema(part)) == describe_schema(schema) for part in parts)


@pytest.mark.parametrize("name", ["a[1]b*?", "status=ok", "it's", "uri=7", "ü {x}"])
def test_hostile_names_of_the_destination(run: Any, stage: Stage, tmp_path: Path, name: str) -> None:
    """A folder whose name looks like a pattern or a Hive partition is a folder like any other."""
    stage(tmp_path / "a1bXY", "task9", [entry("/other", "1.2")])
    found = run([entry("/b", status="ok"), entry("/c", "3", status="partial")], [entry("/a")], folder=name)
    assert set(found["instances"]) == {"/a", "/c"} and found["files"]["/b"]["status"] == "duplicate"


def test_failed_files_have_no_claim(run: Any) -> None:
    """A key in the ledger of a failed file does not compete."""
    found = run([entry("/a", status="failed", SOPInstanceUID=None), entry("/b")])
    assert found["files"]["/a"]["status"] == "failed" and set(found["instances"]) == {"/b"}


def test_many_keys_take_the_way_out_of_core(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """Beyond what is counted in memory the outcome is the same."""
    monkeypatch.setattr(module, "COUNT_IN_MEMORY", 0)
    found = run([entry("/a"), entry("/b")])
    assert set(found["instances"]) == {"/a"}


def test_counts(tmp_path: Path, stage: Stage) -> None:
    """Ledger rows are counted by status and code over all parts."""
    stage(tmp_path, "t1", [entry("/a"), entry("/b", "2", status="partial", code="truncated")])
    stage(tmp_path, "t2", [entry("/c", "3")])
    assert count_outcomes(sorted((tmp_path / "files").iterdir())) == {("ok", None): 2, ("partial", "truncated"): 1}
    assert count_outcomes([]) == {}
