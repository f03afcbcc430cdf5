"""DuckDB's answers, as tables and as rows; what goes wrong is one line that quotes no value."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from dicomflow.dataset.engine import Engine
from dicomflow.dataset.rows import Rows
from dicomflow.errors import DatasetError

SCHEMA = pa.schema([pa.field("uri", pa.string()), pa.field("size", pa.int64())])
MEMORY = 1 << 28


@pytest.mark.parametrize("memory", [0, MEMORY], ids=["spilled", "held"])
def test_rows_go_in_and_come_out(tmp_path: Path, memory: int) -> None:
    """In the order that the query says, wherever they are kept, and with the types of the schema."""
    folder = tmp_path / "it's [1] *"
    rows = Rows(SCHEMA, folder, memory)
    for number in range(3):
        rows.add(pa.table({"uri": [f"/{number}", None], "size": pa.array([number, None], pa.int64())}))
    with Engine(folder, MEMORY) as engine:
        engine.register_rows("files", rows)
        query = "select uri, (size + ?)::integer as size from files where uri is not null order by size desc"
        found = engine.ask_rows(query, Rows(SCHEMA, folder, memory), [10])
        assert engine.ask("select count(*) from files").column(0).to_pylist() == [6]
    assert found.whole().equals(pa.table({"uri": ["/2", "/1", "/0"], "size": [12, 11, 10]}, SCHEMA))


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    """Though they come in pieces, made by several threads."""
    query = "select (i % 7)::varchar as uri, i as size from range(300000) t(i) order by uri, size desc"
    with Engine(tmp_path, MEMORY) as engine:
        found = engine.ask_rows(query, Rows(SCHEMA, tmp_path, 1 << 20)).whole()
    keys = found["uri"].cast(pa.int64()).to_numpy() * 10**6 - found["size"].to_numpy()
    assert found.num_rows == 300_000 and (keys[1:] > keys[:-1]).all()


def test_what_duckdb_removes_is_its_own(tmp_path: Path) -> None:
    """What does not fit into its memory lies in a folder of its own, and rows of ours do not."""
    folder = tmp_path / "spill"
    with Engine(folder, 60_000_000) as engine:
        engine.run("create temp table t as select md5(i::varchar) as uri, i as size from range(1500000) t(i)")
        (own,) = folder.iterdir()
        found = engine.ask_rows("select uri, size from t limit 5", Rows(SCHEMA, folder, 0))
        assert any(own.iterdir()) and all(part.parent == folder for part in found.parts())
    assert found.whole().num_rows == 5


def test_a_query_that_fails_on_the_way(tmp_path: Path) -> None:
    """When some rows have come already."""
    query = "select '/' as uri, case when i < 1000000 then i else error('secret') end as size from range(1000001) t(i)"
    with Engine(tmp_path, MEMORY) as engine, pytest.raises(DatasetError, match="cannot be searched: ") as caught:
        engine.ask_rows(query, Rows(SCHEMA, tmp_path, MEMORY))
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_too_little_memory(tmp_path: Path) -> None:
    """What is missing is said."""
    (tmp_path / "spill").write_text("in the way")
    query = "select i::varchar || repeat('x', 50) as uri, i as size from range(3000000) t(i) order by hash(i)"
    with (
        Engine(tmp_path / "spill", 1 << 24) as engine,
        pytest.raises(DatasetError, match=r"cannot be searched: \w+: .*(IO Error|Out of Memory|memory|directory)"),
    ):
        engine.ask_rows(query, Rows(SCHEMA, tmp_path, MEMORY))


@pytest.mark.parametrize("how", ["run", "ask", "ask_rows"])
def test_interrupt(tmp_path: Path, how: str) -> None:
    """Ctrl-C in the middle of a question is Ctrl-C, and no fault of anybody."""
    query = "select count(*)::varchar as uri, 1 as size from range(100000000000) a where hash(range) = 0"
    others = [Rows(SCHEMA, tmp_path)] if how == "ask_rows" else []
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    with Engine(tmp_path, MEMORY) as engine:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            getattr(engine, how)(query, *others)


def test_other_errors_of_that_kind_are_not_hidden(tmp_path: Path) -> None:
    """Only what DuckDB makes of Ctrl-C is Ctrl-C."""

    def fail(_: str) -> None:
        raise RuntimeError("something else")

    with Engine(tmp_path, MEMORY) as engine:
        engine._connection.close()
        engine._connection = type("Broken", (), {"execute": staticmethod(fail), "close": lambda _: None})()
        with pytest.raises(RuntimeError, match="something else"):
            engine.run("select 1")
