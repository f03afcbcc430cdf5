"""Rows in their order, in memory or on the disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.dataset.rows import Rows, group_rows
from dicomflow.errors import DatasetError

SCHEMA = pa.schema([pa.field("uri", pa.string(), nullable=False), pa.field("size", pa.int64())])


def table(*uris: str) -> pa.Table:
    return pa.table({"more": ["x"] * len(uris), "uri": list(uris), "size": pa.array([None] * len(uris), pa.int64())})


@pytest.mark.parametrize("memory", [0, 1000, 1 << 30])
def test_what_is_added_comes_back(tmp_path: Path, memory: int) -> None:
    """All of it, in its order and with its schema; also what is added after it was read."""
    rows = Rows(SCHEMA, tmp_path / "spill", memory)
    assert list(rows.tables()) == rows.parts() == [] and rows.whole().schema == SCHEMA
    for uris in (["/a", "/b"], [], ["/c"]):
        rows.add(table(*uris))
    assert rows.whole()["uri"].to_pylist() == ["/a", "/b", "/c"] and rows.num_rows == 3
    rows.add(table("/d"))
    assert [one.schema for one in rows.tables()] == [SCHEMA] * len(list(rows.tables()))
    assert rows.whole()["uri"].to_pylist() == ["/a", "/b", "/c", "/d"]
    on_the_disk = [uri for part in rows.parts() for uri in pq.read_table(part)["uri"].to_pylist()]
    assert on_the_disk == ([] if memory > 1000 else ["/a", "/b", "/c", "/d"])
    assert (tmp_path / "spill").exists() is (memory <= 1000)


def test_two_in_one_folder(tmp_path: Path) -> None:
    """They do not get in each other's way."""
    first, second = (Rows(SCHEMA, tmp_path, 0) for _ in range(2))
    first.add(table("/a"))
    second.add(table("/b"))
    assert first.whole()["uri"].to_pylist() == ["/a"] and second.whole()["uri"].to_pylist() == ["/b"]


def test_without_a_folder() -> None:
    """All rows stay in memory."""
    rows = Rows(SCHEMA)
    rows.add(table("/a"))
    assert rows.parts() == [] and Rows.of(table("/a")).whole().equals(table("/a"))


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """One line."""
    (tmp_path / "spill").write_text("in the way")
    with pytest.raises(DatasetError, match=r"parquet: cannot be written: ") as caught:
        Rows(SCHEMA, tmp_path / "spill", 0).add(table("/a"))
    assert "\n" not in str(caught.value)


def test_groups_reach_over_tables() -> None:
    """Rows of one value that follow each other are one group, wherever a table ends."""
    texts = ["a", "a", "b", "a", "c", "c", "c", ""]
    for cuts in range(1 << (len(texts) - 1)):
        tables, held = [], [texts[0]]
        for place, text in enumerate(texts[1:]):
            if cuts >> place & 1:
                tables.append(pa.table({"part": held}))
                held = []
            held.append(text)
        tables += [pa.table({"part": held}), pa.table({"part": pa.array([], pa.string())})]
        found = [(part, rows["part"].to_pylist()) for part, rows in group_rows(tables, "part")]
        assert found == [("a", ["a"] * 2), ("b", ["b"]), ("a", ["a"]), ("c", ["c"] * 3), ("", [""])]
    assert list(group_rows([], "part")) == []
