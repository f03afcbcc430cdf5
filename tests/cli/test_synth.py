"""``dicomflow synth`` writes what was asked for, and only where nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicomflow.cli.waiting import count_files, watch_folder

from .conftest import Run


def test_numbers(run: Run, tmp_path: Path) -> None:
    """As many files as asked for, of the kinds asked for, with the share of faults asked for."""
    outcome = run(
        "synth", tmp_path / "s", "--files", 40, "--corrupt", "10%", "--kinds", "mg, us", "--workers", 1, "--json"
    )
    summary = json.loads(outcome.out)
    assert outcome.code == 0
    assert summary["files"] == 40 == count_files(tmp_path / "s") == sum(summary["kinds"].values())
    assert set(summary["kinds"]) == {"mg", "us"}
    assert sum(summary["corruptions"].values()) == 4


def test_summary_for_people(run: Run, tmp_path: Path) -> None:
    """The summary says how much, where, and what to do with it; a name with spaces is quoted for the shell."""
    outcome = run("synth", tmp_path / "my s", "--files", 5, "--workers", 1)
    assert "5 files" in outcome.out
    assert f"dicomflow extract '{tmp_path / 'my s'}' -o headers" in outcome.out
    assert run("synth", tmp_path / "q", "--files", 5, "--workers", 1, "--quiet") == (0, "", "")


def test_workers_write_the_same(run: Run, tmp_path: Path) -> None:
    """Two processes write the bytes that one writes."""
    for workers in (1, 2):
        assert run("synth", tmp_path / str(workers), "--files", 30, "--workers", workers, "--quiet").code == 0
    contents = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("1", "2")
    ]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["full"], 1, "full is not empty"),
        (["new", "--kinds", "ct,cz"], 2, "unknown kinds ['cz']"),
        (["new", "--files", "-1"], 2, "--files"),
        (["new", "--corrupt", "200%"], 2, "--corrupt"),
    ],
)
def test_refusals(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    """A folder with something in it is left alone; what cannot be made is a usage error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    outcome = run("synth", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_watching_does_not_outlive_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The watcher's thread ends with the block, and short work is not talked about."""
    with watch_folder(tmp_path, 10):
        pass
    assert capsys.readouterr().err == ""
