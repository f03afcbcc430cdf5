"""``dicomflow diff`` ends as diff(1) does, and says values only when asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pydicom
import pytest

import dicomflow
from dicomflow.cli import diff as module
from dicomflow.synth import write_studies

from .conftest import Run


@pytest.fixture(scope="module")
def dests(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The second has one file less, and one whose PatientID is another."""
    folder = tmp_path_factory.mktemp("diff")
    write_studies(folder / "one", files=30, seed=4)
    shutil.copytree(folder / "one", folder / "two")
    first, second, *_ = sorted((folder / "two").rglob("*.dcm"))
    first.unlink()
    header = pydicom.dcmread(second)
    header.PatientID = "SECRET\x1b[2J"
    header.save_as(second)
    for name in ("one", "two"):
        dicomflow.extract(folder / name, folder / f"{name}-out", columns="minimal", scheduler="threads")
    return folder / "one-out", folder / "two-out"


def test_exit_codes(run: Run, dests: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 the same, 1 different, 2 trouble, whatever trouble it is."""
    one, two = dests
    shutil.copytree(one, tmp_path / "copy")
    copy, same = run("diff", one, tmp_path / "copy"), run("diff", one, one)
    assert (copy.code, copy.err) == (0, "dicomflow: 0 rows differ\n")
    assert same.code == 0 and "both are the same version, 1, of one dataset" in same.err
    assert run("diff", one, two).code == run("diff", two, one, "--json").code == 1
    trouble = run("diff", one, tmp_path)
    assert trouble.code == 2 and "no dicomflow dataset here" in trouble.err and trouble.out == ""
    assert run("diff", one).code == 2

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("SECRET")

    monkeypatch.setattr(module, "open_diff", fail)
    surprise = run("diff", one, two)
    assert surprise.code == 2 and "SECRET" not in surprise.err
    assert run("get", one, "1.2.3").code == 1  # others end as before


def test_text(run: Run, dests: tuple[Path, Path]) -> None:
    """Counts and names; with --list each instance, with --values what it was and is."""
    done = run("diff", *dests)
    assert "removed     1" in done.out and "changed     1" in done.out and "1  PatientID" in done.out
    assert "SECRET" not in done.out and "- " not in done.out
    listed = run("diff", *dests, "--list").out.splitlines()
    assert sorted(line[0] for line in listed if line[:2] in ("- ", "~ ")) == ["-", "~"]
    assert next(line for line in listed if line.startswith("~ ")).endswith("PatientID") and "SECRET" not in "".join(
        listed
    )
    values = run("diff", *dests, "--values").out
    assert 'PatientID: "' in values and "SECRET" in values and "\x1b" not in values


def test_json(run: Run, dests: tuple[Path, Path]) -> None:
    """The same, for programs."""
    found = json.loads(run("diff", *dests, "--json").out)
    assert (found["same"], found["removed"], found["changed"], found["attributes"]) == (False, 1, 1, {"PatientID": 1})
    assert "instances" not in found
    listed = json.loads(run("diff", *dests, "--json", "--list").out)["instances"]
    assert sorted((row["change"], tuple(row["attributes"])) for row in listed) == [
        ("changed", ("PatientID",)),
        ("removed", ()),
    ]
    assert "values" not in listed[0]
    (value,) = [
        value
        for row in json.loads(run("diff", *dests, "--json", "--values").out)["instances"]
        for value in row["values"]
    ]
    assert value["attribute"] == "PatientID" and value["after"].startswith("SECRET")
    assert json.loads(run("diff", dests[0], dests[0], "--json", "--list").out)["instances"] == []


def test_a_dataset_and_itself(run: Run, dests: tuple[Path, Path]) -> None:
    """Nothing differs; one line says why there is nothing else to compare, and what to do."""
    done = run("diff", dests[1], dests[1].parent / "." / dests[1].name)
    assert done.code == 0 and "one dataset, which keeps no other" in done.err and "cp -al" in done.err
    assert "keeps no other" not in run("diff", *dests).err
    help_text = " ".join(run("diff", "--help").out.split())
    assert "two versions, or two runs, of one dataset can be compared if a copy" in help_text
