"""``dicomflow get`` shows one instance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dicomflow
from dicomflow.report.instance import to_plain

from .conftest import Run


@pytest.fixture(scope="module")
def dest(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("get") / "out"
    dicomflow.extract(studies, folder, scheduler="threads")
    return folder


def test_every_row_as_json(run: Run, dest: Path) -> None:
    """The object is the row, with all columns."""
    rows = dicomflow.open_dataset(dest).to_arrow().to_pylist()
    for row in rows[::9]:
        outcome = run("get", dest, row["SOPInstanceUID"], "--json")
        assert (outcome.code, outcome.err) == (0, "")
        assert json.loads(outcome.out) == to_plain(row)


def test_table(run: Run, dest: Path) -> None:
    """A line for each value that is there, in the order of the columns."""
    row = dicomflow.open_dataset(dest).to_arrow().slice(0, 1).to_pylist()[0]
    lines = run("get", dest, row["SOPInstanceUID"]).out.splitlines()
    assert [line.split()[0] for line in lines] == [name for name, value in row.items() if value is not None]
    assert lines[0].split() == ["SOPInstanceUID", row["SOPInstanceUID"]]


def test_all_files_of_an_instance(run: Run, dest: Path) -> None:
    """The winner first, then what lost against it."""
    dataset = dicomflow.open_dataset(dest)
    for status in ("duplicate", "conflict"):
        uid = next(dataset.iter_files([status], columns=["SOPInstanceUID"]))["SOPInstanceUID"][0].as_py()
        found = json.loads(run("get", dest, uid, "--json", "--all").out)
        assert found["instance"]["SOPInstanceUID"] == uid
        assert [row["status"] for row in found["files"]] == ["ok", status]
        assert found["files"][0]["uri"] == found["instance"]["source_uri"]
        assert len(found["files"]) == dataset.sql(f"from files where SOPInstanceUID = '{uid}'").num_rows
        page = run("get", dest, uid, "--all").out
        assert page.count("\n\n") == 2 and found["files"][1]["uri"] in page


@pytest.mark.parametrize("uid", ["1.2.3", "", "1.2.3\x1b[31m\n", "%", "\udcff", "x" * 5000])
def test_not_there(run: Run, dest: Path, uid: str) -> None:
    """One harmless line, exit code 1."""
    outcome = run("get", dest, uid)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"dicomflow: {dest}: no instance with SOP Instance UID")
    assert outcome.err.count("\n") == 1 and "\x1b" not in outcome.err and outcome.err.endswith(" (0 rows)\n")


def test_no_dataset(run: Run, tmp_path: Path) -> None:
    """A folder that is none is refused."""
    assert "no dicomflow dataset here" in run("get", tmp_path, "1.2").err
