"""``dicomflow verify`` says what holds and what does not, and its exit code does, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dicomflow
from dicomflow.dataset.verification import CHECKS

from .conftest import Run


@pytest.fixture
def dest(studies: Path, tmp_path: Path) -> Path:
    """A dataset."""
    path = tmp_path / "dest"
    dicomflow.extract(studies, path, columns="minimal", scheduler="threads", compute__dashboard_address="")
    return path


def test_whole(run: Run, dest: Path) -> None:
    """One line for each check, and the verdict."""
    outcome = run("verify", dest)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line.split()[:2] for line in lines[: len(CHECKS)]] == [[name, "ok"] for name in CHECKS]
    assert lines[-1] == f"{dest}, version 1: whole"


def test_faults(run: Run, dest: Path) -> None:
    """Each fault in one line: check, file, what is wrong, what to do; remarks beside them."""
    (dest / "instances" / "a\x1b[31m.parquet").write_bytes(b"")
    (part,) = (dest / "conflicts").iterdir()
    part.unlink()
    (dest / "_dicomflow" / "staging").mkdir()
    outcome = run("verify", dest)
    assert (outcome.code, outcome.err) == (1, "")
    assert "parts       2 faults    " in outcome.out
    assert "key         not made    not all parts of conflicts can be read\n" in outcome.out
    assert f"\nparts       conflicts/{part.name}: is not there; restore" in outcome.out
    assert "\nparts       instances/a\\x1b[31m.parquet: readers take it for data" in outcome.out
    assert "\nremark      an interrupted run can be taken up" in outcome.out
    assert outcome.out.endswith(f"{dest}, version 1: not whole\n")


def test_more_faults_than_are_shown(run: Run, dest: Path) -> None:
    """The others are counted."""
    for number in range(1030):
        (dest / "files" / f"{number}").touch()
    outcome = run("verify", dest)
    assert "parts       1,030 faults" in outcome.out and "\nparts       and 1,010 more\n" in outcome.out


def test_json(run: Run, dest: Path) -> None:
    """The same as data."""
    assert json.loads(run("verify", dest, "--json").out)["whole"] is True
    (dest / "_dicomflow" / "dataset.json").write_text("{")
    outcome = run("verify", dest, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1 and found["whole"] is False and found["version"] is None
    assert found["checks"][0]["faults"][0]["where"] == "_dicomflow/dataset.json"
    assert run("verify", dest).out.endswith(f"{dest}: not whole\n")


def test_no_dataset(run: Run, tmp_path: Path) -> None:
    """One clear line."""
    outcome = run("verify", tmp_path)
    assert (outcome.code, outcome.out) == (1, "") and "no dicomflow dataset here" in outcome.err
