"""``dicomflow status`` says how a dataset is, on one page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.synth import make_series

from .conftest import Run


@pytest.fixture
def dest(run: Run, studies: Path, tmp_path: Path) -> Path:
    assert run("extract", studies, "-o", tmp_path / "out", "--quiet", "--columns", "minimal").code == 0
    return tmp_path / "out"


def test_page(run: Run, studies: Path, dest: Path) -> None:
    """Version, tables, outcomes, runs, sources, and what a re-run would do."""
    outcome = run("status", dest)
    lines = [line.split() for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{dest}: version 1, profile minimal, by dicomflow ")
    assert ["table", "rows", "bytes", "parts"] in lines
    assert any(line[:2] == ["files", "120"] for line in lines)
    assert any(line[:2] == ["not_dicom", "empty_file"] for line in lines)
    assert any(line[2:6] == ["increment", "120", "120", "0"] for line in lines)
    assert f"sources     {studies}\n" in outcome.out
    assert "re-run      120 files listed: " in outcome.out


def test_json(run: Run, dest: Path) -> None:
    """All of stdout is one object."""
    outcome = run("status", dest, "--json")
    found = json.loads(outcome.out)
    assert (found["version"], found["rerun"]["listed"], found["writer"]) == (1, 120, None)
    assert json.loads(run("status", dest, "--json", "--no-listing").out)["rerun"] is None


def test_a_dataset_that_is_being_written(run: Run, dest: Path) -> None:
    """The writer is named, and the dataset is read all the same."""
    with write_lock(Layout(dest)):
        assert f"writing     process {os.getpid()} on " in run("status", dest, "--no-listing").out
    Layout(dest).lock.write_text("")
    assert "writing     nobody: a run that has not said its name is gone; " in run("status", dest, "--no-listing").out


def test_a_name_that_is_not_utf8(run: Run, tmp_path: Path) -> None:
    """A SOURCE is shown as the ledger shows its files, and may be given so; JSON holds nothing that is no text."""
    source = tmp_path / os.fsdecode(b"so\xffurce")
    source.mkdir()
    (source / os.fsdecode(b"f\xfe")).write_bytes(next(make_series("ct")).data)
    dest = tmp_path / "out"
    assert run("extract", source, "-o", dest, "--quiet", "--columns", "minimal").code == 0
    shown = f"file://{tmp_path}/so%FFurce"
    assert f"sources     {shown}\n" in run("status", dest).out
    found = run("status", dest, "--json").out
    assert json.loads(found)["sources"] == [shown] and "\\ud" not in found
    again = run("extract", shown, "-o", dest, "--columns", "minimal", "--no-dashboard")
    assert again.code == 0 and json.loads(run("status", dest, "--json").out)["runs"][0]["read"] == 0
    assert f"{shown}/f%FE" in run("files", dest, "--status", "ok").out
    for path in source.iterdir():
        path.unlink()
    assert f"refused: {shown}: nothing is there, but" in run("status", dest).out
    source.rmdir()
    assert f"refused: {shown}: is not there any more" in run("status", dest).out


def test_partitions(run: Run, studies: Path, tmp_path: Path) -> None:
    """What they are by, and how many there are."""
    (tmp_path / "c.yaml").write_text("dataset: {partition_by: [Modality, StudyDate.year]}\n")
    dest = tmp_path / "out"
    options = ("--config", tmp_path / "c.yaml", "--quiet", "--columns", "minimal")
    assert run("extract", studies, "-o", dest, *options).code == 0
    folders = {path.parent for path in (dest / "instances").rglob("*.parquet")}
    assert f"partitions  by Modality, StudyDate.year: {len(folders)} of `instances`\n" in run("status", dest).out
    found = json.loads(run("status", dest, "--json").out)
    assert (found["partition_by"], found["partitions"]) == (["Modality", "StudyDate.year"], len(folders))


def test_a_source_that_is_gone(run: Run, tmp_path: Path) -> None:
    """It is said, and is no failure; a hostile name does nothing to the terminal."""
    source = tmp_path / "so\x1b[31mrce\n"
    source.mkdir()
    (source / "f").write_bytes(next(make_series("ct")).data)
    run("extract", source, "-o", tmp_path / "out", "--quiet", "--columns", "minimal")
    (source / "f").unlink()
    source.rmdir()
    outcome = run("status", tmp_path / "out")
    assert outcome.code == 0 and "\x1b" not in outcome.out
    assert "refused: " in outcome.out and "so\\x1b[31mrce\\n: is not there any more" in outcome.out


def test_an_interrupted_first_run(run: Run, dest: Path) -> None:
    """Nothing is published; what was staged can be taken up."""
    staging = dest / "_dicomflow/staging/files"
    staging.mkdir(parents=True)
    next((dest / "files").iterdir()).rename(staging / "t.parquet")
    (dest / "_dicomflow/dataset.json").unlink()
    outcome = run("status", dest)
    assert outcome.out.startswith(f"{dest}: nothing is published yet\n")
    assert "staged      120 files of 1 task can be taken up by the same command" in outcome.out


def test_refusals(run: Run, tmp_path: Path) -> None:
    """No dataset, no configuration: one line."""
    assert run("status", tmp_path).err == (
        f"dicomflow: error: {tmp_path}: no dicomflow dataset here; make one with `dicomflow extract SOURCE -o DEST`\n"
    )
    assert run("status", tmp_path, "--config", "no.yaml").code == 2


def test_links_are_listed_as_a_run_would(run: Run, tmp_path: Path) -> None:
    """``--config`` says how SOURCEs are listed: a link that a run skipped is no news."""
    source, config = tmp_path / "source", tmp_path / "c.yaml"
    source.mkdir()
    (source / "f").write_bytes(next(make_series("ct")).data)
    (source / "link").symlink_to("f")
    config.write_text("columns: minimal\nsources: {follow_symlinks: false}\n")
    run("extract", source, "-o", tmp_path / "out", "--quiet", "--config", config)
    found = json.loads(run("status", tmp_path / "out", "--json", "--config", config).out)["rerun"]
    assert (found["unchanged"], found["listed"]) == (2, 2)


@pytest.mark.parametrize(
    "arguments",
    [["status", "--no-listing", "DEST"], ["files", "DEST"], ["get", "DEST", "1.2"],
     *([name, "--help"] for name in ("status", "files", "get", "compact", "add-columns"))],
)  # fmt: skip
def test_light(dest: Path, arguments: list[str]) -> None:
    """Looking at a dataset, and the help of its commands, import neither Dask nor pandas."""
    given = [str(dest) if one == "DEST" else one for one in arguments]
    script = (
        "import sys; from dicomflow.cli import main; main(sys.argv[1:]);"
        "sys.exit(str([name for name in ('dask', 'pandas', 'distributed', 'pydicom') if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", script, *given], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1:] in ([""], []), done.stderr
