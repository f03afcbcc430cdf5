"""What the ledger knows, and which runs are refused."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pyarrow as pa
import pytest

from dicomflow.dataset.changes import KNOWN_COLUMNS, Mode, compare
from dicomflow.dataset.comparison import KNOWN_SCHEMA
from dicomflow.dataset.known import (
    SourceCheck,
    check_columns,
    check_replaced,
    count_outcomes,
    count_staying,
    iter_known,
    join_sources,
    last_listed,
)
from dicomflow.dataset.layout import Layout, list_parts
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.dataset.storage import write_json
from dicomflow.errors import DatasetError
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.uri import uri_from_path

from .archive import Row, entry, fill_rows, stage_task

HALF_PAST = 1_714_566_600_000_000
"""12:30 UTC on the first of May 2024, in microseconds since the epoch."""


@pytest.fixture
def ledgers(tmp_path: Path, instances: pa.Schema) -> list[Path]:
    """Two ledger parts."""
    first = [entry("/s/a"), entry("/s/b", "2", status="partial", code="truncated"), entry("/t/c", "3")]
    gone = [entry("/s/gone", None, status="removed"), entry("/t/d", None, status="failed", code="io_error")]
    stage_task(tmp_path, "t1", first, instances)
    stage_task(tmp_path, "t2", gone, instances)
    return list_parts(tmp_path / "files")


def listed(*rows: Row) -> pa.Table:
    return fill_rows(SOURCE_FILE_SCHEMA, [{**row, "status": row.get("settled")} for row in rows])


def read_known(ledgers: list[Path]) -> pa.Table:
    return pa.concat_tables([KNOWN_SCHEMA.empty_table(), *iter_known(ledgers)])


def check_sources(known: pa.Table, found: pa.Table, sources: list[str]) -> None:
    """The listing, and the ledger, come a row at a time."""
    check = SourceCheck(sources)
    for row in range(found.num_rows):
        check.add(found.slice(row, 1))
    check.finish(known.slice(row, 1) for row in range(known.num_rows))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_the_columns_to_compare_with(ledgers: list[Path]) -> None:
    """All rows of all parts, in their order, in these columns; of no parts none."""
    known = read_known(ledgers)
    assert known.schema == KNOWN_SCHEMA and known.column_names == list(KNOWN_COLUMNS)
    assert known["uri"].to_pylist() == ["/s/a", "/s/b", "/t/c", "/s/gone", "/t/d"] and not [*iter_known([])]


def test_a_ledger_that_is_damaged(ledgers: list[Path]) -> None:
    """It is one line that names the part."""
    ledgers[1].write_bytes(ledgers[1].read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"t2\.parquet: is damaged") as caught:
        read_known(ledgers)
    assert "\n" not in str(caught.value)


def test_counts(ledgers: list[Path]) -> None:
    """Ledger rows are counted by status and code over all parts, or below some SOURCEs; removed files do not count."""
    assert count_outcomes(ledgers) == {("ok", None): 2, ("partial", "truncated"): 1, ("failed", "io_error"): 1}
    assert count_outcomes(ledgers, ["/s"]) == {("ok", None): 1, ("partial", "truncated"): 1}
    assert count_outcomes(ledgers, ["/t/c", "/nowhere"]) == {("ok", None): 1}
    assert count_outcomes([]) == count_outcomes(ledgers, []) == {}


@pytest.mark.parametrize(
    ("old", "new", "joined"),
    [
        ([], ["/a"], ["/a"]),
        (["/a"], ["/a"], ["/a"]),
        (["/a"], ["/a/b"], ["/a"]),
        (["/a/b", "/a/c", "/x"], ["/a"], ["/a", "/x"]),
        (["/ab"], ["/a"], ["/a", "/ab"]),
        (["/a", "/b"], ["/"], ["/"]),
        (["/"], ["/a"], ["/"]),
    ],
)
def test_sources_are_joined(old: list[str], new: list[str], joined: list[str]) -> None:
    """Each once, without those that lie in another."""
    assert join_sources(old, new) == joined


def test_a_source_with_two_names_that_is_empty(tmp_path: Path) -> None:
    """It is not there, under whichever of them it was listed; a file under one of them is enough."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    known = fill_rows(KNOWN_SCHEMA, [entry(f"{tmp_path}/b/1"), entry(f"{tmp_path}/b/2")])
    for sources in (names, names[::-1], [*names, names[0]]):
        with pytest.raises(DatasetError, match="knows 2 files of it"):
            check_sources(known, listed(), sources)
        check_sources(known, listed(entry(f"{tmp_path}/a/1")), sources)


def test_many_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is asked about each of them, not about each pair."""
    asked: list[str] = []

    def ask(path: str) -> str:
        asked.append(path)
        return path

    monkeypatch.setattr(os.path, "realpath", ask)
    sources = [f"/s/{number}" for number in range(1000)]
    SourceCheck(sources)
    assert join_sources(sources, sources) == sources and len(asked) <= len(sources)


def test_when_files_were_last_listed(layout: Layout) -> None:
    """The newest record of a run that lists says it; one that only compacts does not, and none says nothing."""
    assert last_listed(layout) is None
    write_json(layout.run_record("20240501T120000"), {"started": "2024-05-01T12:00:00+00:00"})
    write_json(layout.run_record("20240501T123000"), {"started": "2024-05-01T12:30:00+00:00", "mode": "full"})
    write_json(
        layout.run_record("20240501T123000-compact"), {"started": "2024-05-01T12:31:00+00:00", "mode": "compact"}
    )
    assert last_listed(layout) == HALF_PAST
    write_json(layout.run_record("20240501T124000"), {"started": "yesterday"})
    assert last_listed(layout) is None


# ---- refusals --------------------------------------------------------------------------------------------------------

SNAPSHOT = Snapshot(
    format="2", version=1, profile="old", schema="x", sources=["/s"], dicomflow="0", last_run="r", tables={}
)


@pytest.mark.parametrize("mode", list(Mode))
def test_columns(mode: Mode) -> None:
    """The same columns are always fine, others where the mode replaces all rows; nothing has no columns to add to."""
    check_columns(SNAPSHOT, "any", "x", mode, Path("/d"))
    if mode in (Mode.FULL, Mode.COLUMNS):
        check_columns(SNAPSHOT, "new.yaml", "y", mode, Path("/d"))
    else:
        with pytest.raises(
            DatasetError, match=r"/d: .*'old'.*'new\.yaml'.*add-columns /d --columns new\.yaml"
        ) as caught:
            check_columns(SNAPSHOT, "new.yaml", "y", mode, Path("/d"))
        assert "\n" not in str(caught.value)
    if mode is not Mode.COLUMNS:
        check_columns(None, "any", "x", mode, Path("/d"))


def test_a_source_that_went_away(ledgers: list[Path]) -> None:
    """A SOURCE that had files and has none is refused; the others may be empty, new, or settled by listing."""
    known = read_known(ledgers)
    check_sources(known, listed(entry("/s/x"), entry("/t/y")), ["/s", "/t", "/new"])
    check_sources(known, listed(entry("/t/y"), entry("/s", settled="failed")), ["/s", "/t"])
    check_sources(known, listed(), ["/s/gone"])
    with pytest.raises(
        DatasetError, match="^/s: nothing is there, but the dataset knows 2 files of it; is it not mounted"
    ):
        check_sources(known, listed(entry("/t/y"), entry("/sx")), ["/t", "/s"])
    with pytest.raises(DatasetError, match="^/: nothing is there, but the dataset knows 4 files"):
        check_sources(known, listed(), ["/"])


def test_a_source_whose_names_are_not_utf8(tmp_path: Path, instances: pa.Schema) -> None:
    """Files count whatever bytes their names are made of."""
    stage_task(tmp_path, "t", [entry(uri_from_path(b"/s/\xff"))], instances)
    known = read_known(list_parts(tmp_path / "files"))
    check_sources(known, listed(entry(uri_from_path(b"/s/\xfe"))), ["/s"])
    with pytest.raises(DatasetError, match="knows 1 files of it"):
        check_sources(known, listed(), ["/s"])


def test_no_row_with_old_columns_may_stay(ledgers: list[Path]) -> None:
    """Where columns change each file that has a row must be read again, or be gone."""
    known = read_known(ledgers)
    every = [entry("/s/a"), entry("/s/b"), entry("/t/c")]
    for rows, sources in ((every, ["/s", "/t"]), (every[:2], ["/s", "/t"])):
        check_replaced(count_staying(known, compare(listed(*rows), known, sources, Mode.COLUMNS, 0)), Path("/d"))
    with pytest.raises(DatasetError, match="/d: 1 files of the dataset were not listed by this run"):
        check_replaced(count_staying(known, compare(listed(*every[:2]), known, ["/s"], Mode.COLUMNS, 0)), Path("/d"))
    unlisted = entry("/s", settled="failed")
    with pytest.raises(
        DatasetError, match="2 files of the dataset were not listed .* see that every folder and archive can be read"
    ):
        check_replaced(
            count_staying(known, compare(listed(unlisted, every[2]), known, ["/s", "/t"], Mode.FULL, 0)), Path("/d")
        )
    nothing = read_known([])
    assert count_staying(nothing, compare(listed(), nothing, [], Mode.FULL, 0)) == 0


def test_a_source_that_is_listed_by_its_own_name(tmp_path: Path) -> None:
    """A SOURCE that is a link is not empty where the folder that it leads to was listed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    known = pa.table({"uri": [f"{tmp_path}/link/1"], "status": ["ok"]})
    for listed, is_there in [("real/1", True), ("link/1", True), ("real2/1", False), ("other/1", False)]:
        check = SourceCheck([str(tmp_path / "link"), str(tmp_path / "other")])
        check.add(pa.table({"uri": [str(tmp_path / listed)]}))
        with contextlib.nullcontext() if is_there else pytest.raises(DatasetError, match=r"link: nothing is there"):
            check.finish([known])
