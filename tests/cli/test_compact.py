"""``dicomflow compact`` merges parts and says what became of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.query import open_dataset
from dicomflow.synth import make_series

from .conftest import Run


@pytest.fixture
def dest(run: Run, tmp_path: Path) -> Path:
    """A dataset of three runs."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        (source / f"f{number}").write_bytes(next(make_series("ct", seed=number)).data)
        assert run("extract", source, "-o", tmp_path / "out", "--quiet", "--columns", "minimal").code == 0
    return tmp_path / "out"


def rows(dest: Path) -> list[dict[str, object]]:
    return sorted(open_dataset(dest).to_arrow().to_pylist(), key=lambda row: str(row["SOPInstanceUID"]))


def test_parts_are_merged(run: Run, dest: Path) -> None:
    """Fewer parts, the same rows, a version of its own, and a page that says so; then there is nothing to merge."""
    before = rows(dest)
    assert len(list((dest / "instances").iterdir())) == 3
    outcome = run("compact", dest)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("merged into version 4\n")
    assert ["instances", "3", "3", "to", "1"] in [line.split()[:5] for line in outcome.out.splitlines()]
    assert rows(dest) == before and len(list((dest / "instances").iterdir())) == 1
    assert run("compact", dest).out == "nothing to merge; version 4 is as it was\n"
    assert "compact" in run("status", dest, "--no-listing").out


def test_json_and_quiet(run: Run, dest: Path) -> None:
    """As numbers, or not at all."""
    found = json.loads(run("compact", dest, "--json").out)
    assert (found["version_before"], found["version"]) == (3, 4)
    assert found["tables"]["files"]["parts_before"] == 3 and found["tables"]["files"]["parts"] == 1
    assert run("compact", dest, "--quiet") == (0, "", "")


def test_refusals(run: Run, dest: Path, tmp_path: Path) -> None:
    """No dataset, a dataset that is being written, a wrong setting: one line each."""
    assert "no dicomflow dataset here" in run("compact", tmp_path).err
    with write_lock(Layout(dest)):
        outcome = run("compact", dest)
    assert outcome.code == 1 and "is being written by process" in outcome.err and outcome.err.count("\n") == 1
    (tmp_path / "c.yaml").write_text("dataset: {part_bites: 1}\n")
    outcome = run("compact", dest, "--config", tmp_path / "c.yaml")
    assert outcome.code == 2 and "did you mean 'part_bytes'?" in outcome.err
    assert open_dataset(dest).version == 3
