"""Reading everything again makes a damaged dataset whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicomflow
from dicomflow.dataset.layout import BASE_TABLES, TABLES, Layout
from dicomflow.errors import DatasetError
from tests.durable.model import Content, read_with_pandas, write
from tests.durable.test_faults import NEW, Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A dataset of two runs; the ledger has several parts."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    home = Home(tmp_path)
    home.extract()
    return home


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], None]] = {"gone": Path.unlink, "cut": cut, "flipped": flip, "empty": empty}


def parts(home: Home, table: str) -> list[Path]:
    return Layout(home.dest).parts(table)


def first_seen(home: Home) -> dict[str, Any]:
    rows = dicomflow.open_dataset(home.dest).sql("select uri, first_seen from files where status <> 'removed'")
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def check_whole(home: Home, removed: bool = True) -> None:
    """What is there is what an undisturbed run would have made, to the last promise."""
    found, wanted = read_with_pandas(home.dest), home.new
    if not removed:
        wanted = {**wanted, "files": {uri: status for uri, status in wanted["files"].items() if status != "removed"}}
        found["files"] = {uri: status for uri, status in found["files"].items() if status != "removed"}
    assert found == wanted
    assert dicomflow.verify_dataset(home.dest).whole
    assert home.extract().read == 0


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("table", BASE_TABLES)
def test_a_damaged_part(home: Home, capfd: pytest.CaptureFixture[str], table: str, damage: str) -> None:
    """Gone, cut, or with one bit wrong: one warning that names it, and each row is there again."""
    part = parts(home, table)[0]
    DAMAGE[damage](part)
    capfd.readouterr()
    summary = home.extract(mode="full")
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1 and f"{table}/{part.name} is made anew" in warnings[0]
    assert ("first_seen" in warnings[0]) == (table == "files")
    assert summary.read == len(NEW)
    check_whole(home, removed=table != "files")


def test_a_dataset_that_is_whole_is_not_repaired(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    """No warning, and the ledger keeps what it knows."""
    before = first_seen(home)
    home.extract(mode="full")
    assert "warning" not in capfd.readouterr().err and first_seen(home) == before
    check_whole(home)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone(home: Home, table: str) -> None:
    """All of it, or all but its folder."""
    shutil.rmtree(Layout(home.dest).table(table))
    home.extract(mode="full")
    check_whole(home, removed=table != "files")


def test_everything_is_gone(home: Home) -> None:
    """As long as the dataset says what it is, it can be made anew."""
    for part in [part for table in TABLES for part in parts(home, table)]:
        cut(part)
    home.extract(mode="full")
    check_whole(home, removed=False)


def test_rows_that_can_be_read_keep_when_they_were_first_seen(home: Home) -> None:
    """Only those of the lost part begin anew."""
    before = first_seen(home)
    part = parts(home, "files")[-1]
    lost = set(dicomflow.open_dataset(home.dest).sql(f"select uri from '{part}'")["uri"].to_pylist())
    cut(part)
    home.extract(mode="full")
    after = first_seen(home)
    assert after.keys() == before.keys() and lost & before.keys()
    assert {uri for uri in before if before[uri] == after[uri]} == before.keys() - lost


@pytest.mark.parametrize("mode", ["increment", "retry_failed"])
@pytest.mark.parametrize(("table", "damage"), [("files", "cut"), ("files", "gone"), ("instances", "gone")])
def test_other_runs_say_what_to_do(home: Home, mode: str, table: str, damage: str) -> None:
    """They would lose what the part held; the one that reads everything does not."""
    DAMAGE[damage](parts(home, table)[0])
    with pytest.raises(DatasetError, match=f"/{table}/.* is (damaged|gone).*; restore it, or .*`extract --full`$"):
        home.extract(mode=mode)


@pytest.mark.parametrize("table", ["files", "instances"])
def test_all_sources_must_be_named(home: Home, tmp_path: Path, table: str) -> None:
    """Rows of files that the run does not look at cannot be made anew: that is said before anything is read."""
    write(tmp_path / "other" / "x", Content("1.9", "Doe^O", 0))
    dicomflow.extract(tmp_path / "other", home.dest, columns="minimal", compute__scheduler="threads")
    cut(parts(home, table)[0])
    with pytest.raises(
        DatasetError, match=f"/dest: {table}/.* is damaged or gone; .* must name all SOURCEs .*/other; or restore"
    ):
        home.extract(mode="full")
    dicomflow.extract(
        [home.source, tmp_path / "other"], home.dest, mode="full", columns="minimal", compute__scheduler="threads"
    )
    assert len(read_with_pandas(home.dest)["instances"]) == len(home.new["instances"]) + 1
    assert dicomflow.verify_dataset(home.dest).whole


def test_a_repair_that_is_killed_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it publishes, the dataset is as damaged as it was; then the same command goes on."""
    cut(parts(home, "files")[0])
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            home.extract(mode="full")
    summary = home.extract(mode="full")
    assert (summary.read, summary.resumed) == (0, len(NEW))
    check_whole(home, removed=False)
