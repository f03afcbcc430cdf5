"""``dicomflow add-columns`` gives a dataset other columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dicomflow
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.query import open_dataset

from .conftest import Run


@pytest.fixture
def dest(run: Run, studies: Path, tmp_path: Path) -> Path:
    assert run("extract", studies, "-o", tmp_path / "out", "--quiet", "--columns", "minimal").code == 0
    return tmp_path / "out"


def test_other_columns(run: Run, studies: Path, dest: Path, tmp_path: Path) -> None:
    """The dataset is as if it had been made with them, and only files with a row were read again."""
    columns = len(open_dataset(dest).schema.names)
    outcome = run("add-columns", dest, "--columns", "standard", "--json")
    summary = json.loads(outcome.out)
    assert (outcome.code, outcome.err, summary["profile"], summary["files"]) == (0, "", "standard", 120)
    assert summary["read"] < 120
    run("extract", studies, "-o", tmp_path / "fresh", "--quiet")
    found, fresh = (
        sorted(open_dataset(folder).to_arrow().to_pylist(), key=lambda row: row["SOPInstanceUID"])
        for folder in (dest, tmp_path / "fresh")
    )
    assert found == fresh and len(found[0]) > columns


def test_summary_and_quiet(run: Run, dest: Path) -> None:
    """The page of extract, or nothing."""
    assert run("add-columns", dest, "--columns", "standard").out.startswith("120 files are ")
    assert run("add-columns", dest, "--columns", "minimal", "--quiet") == (0, "", "")


def test_options_reach_the_configuration(monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path) -> None:
    """Each option sets its key; those of the file stay."""
    seen = {}

    def add_columns(dest: str, columns: str, *, config: object, progress: object) -> None:
        seen.update(dest=dest, columns=columns, config=config)
        raise dicomflow.DicomflowError("enough")

    monkeypatch.setattr(dicomflow, "add_columns", add_columns, raising=False)
    (tmp_path / "c.yaml").write_text("max_failed: 0.5\ncompute: {workers: 7}\n")
    run("add-columns", "d", "--columns", "minimal", "--config", tmp_path / "c.yaml", "--scheduler", "processes")
    config = seen["config"]
    assert (seen["dest"], seen["columns"], config.max_failed) == ("d", "minimal", 0.5)
    assert (config.compute.scheduler, config.compute.workers) == ("processes", 7)


def test_too_many_failed(run: Run, dest: Path, tmp_path: Path) -> None:
    """``max_failed`` counts here, too."""
    (tmp_path / "c.yaml").write_text("max_failed: 0\n")
    assert run("add-columns", dest, "--columns", "standard", "--config", tmp_path / "c.yaml", "--quiet").code == 3


def test_refusals(run: Run, dest: Path, tmp_path: Path) -> None:
    """Without columns, without a dataset, with columns that nobody knows, while another run writes."""
    assert run("add-columns", dest).code == 2
    assert "no dicomflow dataset here" in run("add-columns", tmp_path, "--columns", "standard").err
    outcome = run("add-columns", dest, "--columns", "standart")
    assert outcome.code == 2 and "did you mean 'standard'?" in outcome.err
    with write_lock(Layout(dest)):
        outcome = run("add-columns", dest, "--columns", "standard")
    assert outcome.code == 1 and "is being written by process" in outcome.err
    assert open_dataset(dest).version == 1
