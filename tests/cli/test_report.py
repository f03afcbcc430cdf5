"""``dicomflow report`` writes a page, and says where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dicomflow

from .conftest import Run


@pytest.fixture
def dest(studies: Path, tmp_path: Path) -> Path:
    dicomflow.extract(studies, tmp_path / "out", scheduler="threads", columns="minimal")
    return tmp_path / "out"


def test_page(run: Run, dest: Path, tmp_path: Path) -> None:
    """One file; an earlier one is replaced, and nothing else is left."""
    page = tmp_path / "page.html"
    page.write_text("before")
    done = run("report", dest, "-o", page)
    rows = dicomflow.open_dataset(dest).snapshot.rows("instances")
    assert (done.code, done.err) == (0, "") and done.out.startswith(f"{page}: {rows:,} instances, ")
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "page.html"}


def test_refusals(run: Run, dest: Path, tmp_path: Path) -> None:
    """Not into the dataset, not of nothing, not into a folder that cannot be made: one line each."""
    assert run("report", dest, "-o", dest / "instances" / "x.html").code == 2
    for arguments in ((tmp_path / "no", "-o", tmp_path / "x.html"), (dest, "-o", "/proc/no/x.html")):
        done = run("report", *arguments)
        assert done.code == 1 and done.err.count("\n") == 1 and "Traceback" not in done.err
    assert not (tmp_path / "x.html").exists()


def test_loaded_when_it_runs() -> None:
    """Whoever does not ask for a report does not pay for Bokeh."""
    code = (
        "import sys, dicomflow, dicomflow.cli.query, dicomflow.query\n"
        "assert not {'bokeh', 'jinja2', 'dicomflow.quality'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
