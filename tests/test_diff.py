"""Comparing datasets: against what a loop over all rows finds."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest

import dicomflow
from dicomflow.dataset.layout import Layout
from dicomflow.diff import open_diff
from dicomflow.errors import DatasetError
from dicomflow.synth import write_studies

NOT_COMPARED = {"source_uri", "source_member", "source_size", "source_mtime", "header_bytes", "header_digest"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diff")
    write_studies(folder / "scans", files=120, seed=5)
    dicomflow.extract(folder / "scans", folder / "before", scheduler="threads")
    return folder


@pytest.fixture(scope="module")
def changed(source: Path) -> Path:
    """Some files are gone, some come, some have other values, some are elsewhere, one has another private element."""
    shutil.copytree(source / "scans", source / "later")
    files = sorted((source / "later").rglob("*.dcm"))
    for path in files[:3]:
        path.unlink()
    for number, path in enumerate(files[10:20]):
        header = pydicom.dcmread(path)
        header.StudyDescription = f"SECRET{number}"
        if number % 2:
            header.ImageType = ["DERIVED", "SECRET"]
            header.WindowCenter = None
        header.save_as(path)
    header = pydicom.dcmread(files[25])
    header.add_new(0x00091001, "LO", "SECRET")
    header.save_as(files[25])
    for number, path in enumerate(files[40:60]):
        path.rename(source / "later" / f"moved-{number}")
    write_studies(source / "later/more", files=7, seed=99)
    dicomflow.extract(source / "later", source / "after", scheduler="threads")
    return source / "after"


def read(dest: Path) -> dict[str, dict[str, Any]]:
    return {row["SOPInstanceUID"]: row for row in dicomflow.open_dataset(dest).to_arrow().to_pylist()}


def test_the_same(source: Path) -> None:
    """A dataset equals itself."""
    found = dicomflow.diff_datasets(source / "before", source / "before", thorough=True)
    assert found.is_same and (found.added, found.removed, found.changed, found.unchanged) == (0, 0, 0, 120)
    assert not found.attributes and found.to_dict()["same"] is True


@pytest.mark.parametrize("at_once", [48, 7])
def test_counts(source: Path, changed: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Instances and attributes, as a loop finds them; in both directions, however many columns are compared at once."""
    monkeypatch.setattr("dicomflow.diff._AT_ONCE", at_once)
    before, after = read(source / "before"), read(changed)
    both = before.keys() & after.keys()
    other = [uid for uid in both if before[uid]["header_digest"] != after[uid]["header_digest"]]
    counts = Counter(
        name for uid in other for name in before[uid].keys() - NOT_COMPARED if before[uid][name] != after[uid][name]
    )
    found = dicomflow.diff_datasets(source / "before", changed)
    assert not found.is_same and len(other) == 11
    assert (found.added, found.removed) == (len(after.keys() - both), len(before.keys() - both)) == (7, 3)
    assert (found.changed, found.unchanged, found.changed_elsewhere) == (11, len(both) - 11, 1)
    assert (
        found.attributes == counts and next(iter(found.attributes)) == "StudyDescription" and counts["ImageType"] == 5
    )
    back = dicomflow.diff_datasets(changed, source / "before")
    assert (back.added, back.removed, back.changed, back.attributes) == (3, 7, 11, found.attributes)


def test_each_change(source: Path, changed: Path) -> None:
    """Names of attributes; their values only when asked for, as the datasets have them."""
    before, after = read(source / "before"), read(changed)
    with open_diff(source / "before", changed) as diff:
        names = [row for batch in diff.iter_changes() for row in batch.to_pylist()]
        values = [row for batch in diff.iter_changes(values=True) for row in batch.to_pylist()]
    assert "SECRET" not in str(names)
    uids = [row["SOPInstanceUID"] for row in names]
    assert uids == sorted(uids) == [row["SOPInstanceUID"] for row in values] and len(uids) == 21
    assert Counter(row["change"] for row in names) == {"added": 7, "removed": 3, "changed": 11}
    for row, full in zip(names, values, strict=True):
        assert row["attributes"] == full["attributes"] == [value["attribute"] for value in full["values"] or []]
        for value in full["values"] or []:
            for side, rows in (("before", before), ("after", after)):
                held = rows[row["SOPInstanceUID"]][value["attribute"]]
                assert held == (None if value[side] is None else json.loads(value[side]))


def test_other_columns(source: Path, tmp_path: Path) -> None:
    """Columns that both have are compared; others are named, and so are those that mean something else."""
    profile = tmp_path / "own.yaml"
    profile.write_text("profile: own\ncolumns:\n  - Modality\n  - StudyDescription: {path: SeriesDescription}\n")
    dicomflow.extract(source / "scans", tmp_path / "own", columns=str(profile), scheduler="threads")
    found = dicomflow.diff_datasets(source / "before", tmp_path / "own")
    assert found.is_same and found.redefined == ["StudyDescription"] and found.only_after == []
    assert "Rows" in found.only_before and "Modality" not in found.only_before


def test_thorough(source: Path, tmp_path: Path) -> None:
    """Where the headers are the same but the rows are not, only that finds it."""
    shutil.copytree(source / "before", tmp_path / "copy")
    (part,) = Layout(tmp_path / "copy").parts("instances")
    table = pq.read_table(part)
    place = table.column_names.index("Rows")
    rows = table["Rows"].to_pylist()
    rows[0] = 77_777
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(rows, table.schema.field(place).type)), part
    )
    assert dicomflow.diff_datasets(source / "before", tmp_path / "copy").is_same
    found = dicomflow.diff_datasets(source / "before", tmp_path / "copy", thorough=True)
    assert (found.changed, found.attributes, found.unchanged) == (1, {"Rows": 1}, 119)


def test_a_copy_of_links_keeps_a_version(source: Path, tmp_path: Path) -> None:
    """Parts are replaced and never written to, so that hard links are enough."""
    scans = tmp_path / "scans"
    shutil.copytree(source / "scans", scans)
    dicomflow.extract(scans, tmp_path / "now", scheduler="threads")
    shutil.copytree(tmp_path / "now", tmp_path / "monday", copy_function=os.link)
    next(iter(sorted(scans.rglob("*.dcm")))).unlink()
    dicomflow.extract(scans, tmp_path / "now", scheduler="threads")
    assert dicomflow.diff_datasets(source / "before", tmp_path / "monday").is_same
    assert not dicomflow.verify_dataset(tmp_path / "monday").faults
    found = dicomflow.diff_datasets(tmp_path / "monday", tmp_path / "now")
    assert (found.removed, found.added, found.changed) == (1, 0, 0)
    assert (found.before_version, found.after_version) == (1, 2)


def test_no_rows(source: Path, tmp_path: Path) -> None:
    """Against a dataset without an instance, everything is new."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/a.txt").write_text("no DICOM")
    dicomflow.extract(tmp_path / "scans", tmp_path / "none", scheduler="threads")
    assert dicomflow.diff_datasets(tmp_path / "none", source / "before").added == 120
    assert dicomflow.diff_datasets(tmp_path / "none", tmp_path / "none").is_same


def test_no_dataset(source: Path, tmp_path: Path) -> None:
    """The message says which one."""
    with pytest.raises(DatasetError, match="nothing: no dicomflow dataset here"):
        dicomflow.diff_datasets(source / "before", tmp_path / "nothing")


def test_columns_that_are_called_as_ours(tmp_path: Path) -> None:
    """A profile may call a column as the tables of the comparison call theirs."""
    names = {"uid": "StudyDescription", "change": "PatientID", "mask": "Modality", "a": "StudyID", "b": "SeriesNumber"}
    columns = "".join(f"  - {{name: {name}, path: {keyword}}}\n" for name, keyword in names.items())
    (tmp_path / "own.yaml").write_text(f"profile: own\ncolumns:\n{columns}")
    write_studies(tmp_path / "scans", files=4, seed=3)
    for name, description in (("before", "one"), ("after", "other")):
        for path in (tmp_path / "scans").rglob("*.dcm"):
            header = pydicom.dcmread(path)
            header.StudyDescription = description
            header.save_as(path)
        dicomflow.extract(tmp_path / "scans", tmp_path / name, columns=str(tmp_path / "own.yaml"), scheduler="threads")
    with open_diff(tmp_path / "before", tmp_path / "after") as diff:
        changed = diff.summary.changed
        assert changed and diff.summary.attributes == {"uid": changed}
        rows = [row for batch in diff.iter_changes(values=True) for row in batch.to_pylist()]
    assert [row["values"] for row in rows] == [[{"attribute": "uid", "before": '"one"', "after": '"other"'}]] * changed
