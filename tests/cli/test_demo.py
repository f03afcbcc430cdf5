"""``dicomflow demo`` shows everything once, can be run again, and touches only what it made."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomflow.cli import demo
from dicomflow.pipeline import extract
from dicomflow.query import open_dataset
from dicomflow.sql.named import list_queries
from dicomflow.synth import write_studies

from .conftest import Run


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of 100 files."""
    monkeypatch.setattr(demo, "FILES", 100)
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 1)


@pytest.mark.usefixtures("small")
def test_twice(run: Run, tmp_path: Path) -> None:
    """The second run uses the studies of the first; both end with a dataset, an answer and a next step."""
    first, second = run("demo", tmp_path / "d"), run("demo", tmp_path / "d")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "100 files written" in first.out
    assert "there from the last time" in second.out
    assert "100 files became " in first.out and "100 files are " in second.out
    for outcome in (first, second):
        assert "Modality   Manufacturer" in outcome.out
        assert "dicomflow show " in outcome.out
    assert open_dataset(tmp_path / "d" / "headers").to_arrow().num_rows > 90


def test_its_data_answer_every_question(tmp_path: Path) -> None:
    """Each ready-made query finds something in the studies of the demo, and not only where files are faulty."""
    write_studies(tmp_path / "studies", files=demo.FILES, seed=demo.SEED, corrupt=demo.CORRUPT)
    extract(tmp_path / "studies", tmp_path / "headers", scheduler="threads")
    dataset = open_dataset(tmp_path / "headers")
    rows = {query.name: dataset.sql(query.sql).num_rows for query in list_queries()}
    assert min(rows.values()) > 1, rows
    assert 5 < rows["scanner-fleet"] < 60


@pytest.mark.usefixtures("small")
def test_the_file_it_names_can_be_shown(run: Run, tmp_path: Path) -> None:
    """The command it proposes last works."""
    out = run("demo", tmp_path / "d").out
    (line,) = [line for line in out.splitlines() if "dicomflow show " in line]
    assert run("show", line.split("dicomflow show ")[1]).code == 0


@pytest.mark.usefixtures("small")
def test_half_done_is_begun_anew(run: Run, tmp_path: Path) -> None:
    """Studies of a demo that was stopped are replaced."""
    folder = tmp_path / "d"
    demo._write_mark(folder := _made(folder), {"complete": False})
    (folder / "studies").mkdir()
    (folder / "studies" / "half.dcm").write_bytes(b"half")
    assert "100 files written" in run("demo", folder).out
    assert not (folder / "studies" / "half.dcm").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mark", [None, "not JSON"])
def test_strange_folders_are_left_alone(run: Run, tmp_path: Path, mark: str | None) -> None:
    """A folder that the demo did not make, or whose mark it cannot read, is an error and stays as it is."""
    folder = _made(tmp_path / "d")
    (folder / "studies").mkdir()
    (folder / "studies" / "mine.dcm").write_bytes(b"mine")
    if mark is not None:
        (folder / demo.MARK).write_text(mark)
    outcome = run("demo", folder)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("dicomflow: error: ")
    assert (folder / "studies" / "mine.dcm").read_bytes() == b"mine"


def test_a_file_in_the_way(run: Run, tmp_path: Path) -> None:
    """A DIR that is a file is one clear line."""
    (tmp_path / "d").write_text("a file")
    outcome = run("demo", tmp_path / "d")
    assert outcome.code == 1
    assert "cannot be used for the demo" in outcome.err


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
