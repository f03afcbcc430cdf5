"""Every number of the report equals what pandas computes; the SQL that is shown gives it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dicomflow
from dicomflow.quality.figures import TOP_MANUFACTURERS, Figure, QualityReport
from dicomflow.quality.measure import measure_quality
from dicomflow.quality.questions import list_attributes
from dicomflow.query import Dataset

from .planted import ALSO, FAULTS, write_faults, write_file, write_many

BY = ["by_modality", "by_manufacturer"]
Tables = dict[str, pd.DataFrame]


def as_dict(figure: Figure, *values: str) -> dict[tuple[Any, ...], Any]:
    """Keys of a row -> its measures."""
    names = [name for name in figure.columns if name not in values]
    rows = list(figure.iter_dicts())
    found = {tuple(row[name] for name in names): tuple(row[name] for name in values) for row in rows}
    assert len(found) == len(rows)
    return found


def grouped(frame: pd.DataFrame, by: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    yield from frame.groupby(by, dropna=False)


def test_archive(report: QualityReport, tables: Tables) -> None:
    """Of all, by modality, by manufacturer, by both."""
    expected = {}
    for kept in ([], BY[:1], BY[1:], BY):
        parts = grouped(tables["instances"], kept) if kept else [((), tables["instances"])]
        for key, rows in parts:
            names = dict(zip(kept, key, strict=True))
            expected[names.get(BY[0]), names.get(BY[1])] = (
                len(rows),
                rows.SeriesInstanceUID.nunique(),
                rows.StudyInstanceUID.nunique(),
                rows.PatientID.nunique(),
                rows.source_size.sum(),
                (rows.status == "partial").sum(),
                rows.issues.map(lambda issues: 0 if issues is None else len(issues)).sum(),
            )
    assert len(expected) > 20
    measures = ("instances", "series", "studies", "patients", "bytes", "partial", "faulty_values")
    assert as_dict(report.figures["archive"], *measures) == expected


def test_years(report: QualityReport, tables: Tables) -> None:
    """No date is a year of its own."""
    rows = tables["instances"]
    year = rows.StudyDate.map(lambda day: "(no date)" if pd.isna(day) else str(day.year))
    expected = Counter(zip(rows.by_modality, rows.by_manufacturer, year, strict=True))
    assert as_dict(report.figures["years"], "instances") == {key: (count,) for key, count in expected.items()}


def test_completeness(report: QualityReport, dest: Path, tables: Tables) -> None:
    """Of all attributes."""
    names = list_attributes(dicomflow.open_dataset(dest).schema)
    assert len(names) > 130
    figure = report.figures["completeness"]
    assert list(figure.columns) == [*BY, "instances", *names]
    expected = {
        key: (len(rows), *(rows[name].notna().sum() for name in names))
        for key, rows in grouped(tables["instances"], BY)
    }
    assert as_dict(figure, "instances", *names) == expected


def faulty(tables: Tables) -> pd.DataFrame:
    rows = tables["instances"]
    rows = rows[rows.issues.map(lambda issues: issues is not None and len(issues) > 0)].explode("issues")
    assert len(rows) > 50
    rows["code"] = rows.issues.map(lambda issue: issue["code"])
    rows["attribute"] = rows.issues.map(lambda issue: issue["path"])
    return rows


@pytest.mark.parametrize("key", ["code", "attribute"])
def test_issues(report: QualityReport, tables: Tables, key: str) -> None:
    """Values, and instances that have one or more."""
    rows = faulty(tables)
    assert rows[key].nunique() <= 25
    expected = {names: (len(part), part.SOPInstanceUID.nunique()) for names, part in grouped(rows, [*BY, key])}
    assert as_dict(report.figures[f"issue-{key}s"], "faulty_values", "instances") == expected


def test_devices(report: QualityReport, tables: Tables) -> None:
    """Devices without a faulty value are counted together."""
    rows = tables["instances"].copy()
    count = rows.issues.map(lambda issues: 0 if issues is None else len(issues))
    device = rows.Manufacturer.fillna("(none)") + " / " + rows.ManufacturerModelName.fillna("(none)")
    bad = set(device[count > 0])
    rows["device"], rows["count"] = device.where(device.isin(bad), "(other)"), count
    expected = {
        key: (part["count"].sum(), (part["count"] > 0).sum(), len(part)) for key, part in grouped(rows, [*BY, "device"])
    }
    assert as_dict(report.figures["issue-devices"], "faulty_values", "instances", "of_instances") == expected


def test_copies(report: QualityReport, tables: Tables) -> None:
    """Counted with the modality of the row that stands for them."""
    lost = tables["files"][tables["files"].status.isin(["duplicate", "conflict"])]
    both = lost.merge(tables["instances"], on="SOPInstanceUID", suffixes=("", "_row"))
    assert len(both) == len(lost) > 5
    expected = {
        key: (len(part), part.SOPInstanceUID.nunique(), part["size"].sum())
        for key, part in grouped(both, [*BY, "status"])
    }
    assert as_dict(report.figures["copies"], "files", "instances", "bytes") == expected


def test_conflicting_attributes(report: QualityReport, dest: Path) -> None:
    """Null differs from a value, and not from null."""
    dataset = dicomflow.open_dataset(dest)
    kept = {row["SOPInstanceUID"]: row for row in dataset.to_arrow().to_pylist()}
    names = list_attributes(dataset.schema)
    expected = Counter(
        name
        for row in dataset.conflicts.to_table().to_pylist()
        for name in names
        if row[name] != kept[row["SOPInstanceUID"]][name]
    )
    assert expected
    assert as_dict(report.figures["conflicting-attributes"], "files") == {
        (n,): (count,) for n, count in expected.items()
    }


def test_irregularities(report: QualityReport, tables: Tables) -> None:
    """A series counts for each of them; a regular volume for itself."""
    series = tables["series"].copy()
    series["irregularity"] = [
        ["(regular volume)"] if regular else list(found)
        for regular, found in zip(series.regularly_spaced_3d_volume, series.irregularities, strict=True)
    ]
    series = series.explode("irregularity").dropna(subset="irregularity")
    expected = {k: (len(part), part.instanceCount.sum()) for k, part in grouped(series, [*BY, "irregularity"])}
    assert as_dict(report.figures["irregularities"], "series", "instances") == expected


def test_inconstant(report: QualityReport, tables: Tables) -> None:
    """Attributes that the rollup names, of what is a series."""
    series = (
        tables["series"]
        .dropna(subset="SeriesInstanceUID")
        .explode("conflicts")
        .dropna(subset="conflicts")
        .rename(columns={"conflicts": "attribute"})
    )
    expected = {k: (len(part), part.instanceCount.sum()) for k, part in grouped(series, [*BY, "attribute"])}
    assert expected
    assert as_dict(report.figures["inconstant"], "series", "instances") == expected


def test_incomplete(report: QualityReport, tables: Tables) -> None:
    """By InstanceNumber; a series of several modalities is of none of them."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for _, rows in tables["instances"].dropna(subset="SeriesInstanceUID").groupby("SeriesInstanceUID"):
        labels = [rows[name].iloc[0] if rows[name].nunique() == 1 else "(other)" for name in BY]
        numbers = [int(number) for number in rows.InstanceNumber.dropna()]
        faults = {
            "numbers missing between first and last InstanceNumber": bool(numbers)
            and max(numbers) - min(numbers) + 1 > len(set(numbers)),
            "an InstanceNumber twice": len(numbers) == len(rows) > len(set(numbers)),
            "instances without InstanceNumber": len(numbers) < len(rows),
            "headers that break off": (rows.status == "partial").any(),
        }
        for fault, is_there in faults.items():
            if is_there:
                found[*labels, fault, "series"] += 1
                found[*labels, fault, "instances"] += len(rows)
    expected = {key[:3]: (found[*key[:3], "series"], found[*key[:3], "instances"]) for key in found}
    assert expected
    assert as_dict(report.figures["incomplete"], "series", "instances") == expected


def test_outcomes(report: QualityReport, tables: Tables) -> None:
    """Files of all outcomes, and all of them."""
    parts = grouped(tables["files"].fillna({"code": ""}), ["status", "code"])
    expected = {key: (len(part), part["size"].sum()) for key, part in parts}
    assert len(expected) > 5
    assert as_dict(report.figures["outcomes"], "files", "bytes") == expected


def test_runs(report: QualityReport, dest: Path) -> None:
    """As the run records say, the last one first; a record that cannot be read, or says nonsense, does no harm."""
    records = [json.loads(path.read_text()) for path in sorted((dest / "_dicomflow" / "runs").glob("*.json"))][::-1]
    rows = list(report.figures["runs"].iter_dicts())
    assert [(row["run_id"], row["read"], row["seconds"], row["version"]) for row in rows] == [
        (record["run_id"], record["read"], record["seconds"], record["version"]) for record in records
    ]
    assert len(rows) == 2 and rows[0]["files_per_second"] == pytest.approx(
        rows[0]["read"] / rows[0]["seconds"], abs=0.051
    )


def test_run_records_of_a_stranger(dest: Path) -> None:
    """What is of another type is empty."""
    record = dest / "_dicomflow" / "runs" / "x'; drop table runs --.json"
    text = (
        '{"read": "many", "seconds": 1e400, "started": ["x"], "listed": true, "version": 1e300, "mode": "\\u0000\'m"}'
    )
    try:
        for content in (text, "[1]", "{", '{"seconds": NaN}', '{"seconds": 0, "read": 3}'):
            record.write_text(content)
            rows = measure_quality(dicomflow.open_dataset(dest)).figures["runs"].iter_dicts()
            row = next((row for row in rows if row["run_id"].startswith("x")), {})
            assert not any(row.get(name) for name in ("started", "listed", "version", "files_per_second", "seconds"))
    finally:
        record.unlink()


def test_shown_sql(report: QualityReport, dest: Path) -> None:
    """A user who asks the shown query gets the shown rows; it passes for a stranger's."""
    dataset = dicomflow.open_dataset(dest)
    for name, figure in report.figures.items():
        if name == "runs":  # made of the run records, for the report
            continue
        found = dataset.sql(figure.sql)
        assert tuple(found.column_names) == figure.columns
        assert tuple(zip(*(column.to_pylist() for column in found.columns), strict=True)) == figure.rows, name


def test_implausible(tmp_path: Path) -> None:
    """Each planted fault is found once, where it is."""
    write_faults(tmp_path / "scans")
    dicomflow.extract(tmp_path / "scans", tmp_path / "out", scheduler="threads")
    report = measure_quality(dicomflow.open_dataset(tmp_path / "out"), today=date(2024, 2, 29))
    found = {row["fault"]: row["instances"] for row in report.figures["plausibility"].iter_dicts()}
    assert found == dict.fromkeys(FAULTS, 1) | dict.fromkeys(ALSO.values(), 2)
    years = dict(zip(report.figures["years"].column("year"), report.figures["years"].column("instances"), strict=True))
    assert years == {"(no date)": 1, "2020": len(FAULTS) - 2, "before 1971": 1, "in the future": 1}


def test_implausible_by_issues(report: QualityReport, tables: Tables) -> None:
    """Character sets and UIDs: instances, not values."""
    codes = {
        "text beyond ASCII, no SpecificCharacterSet": "charset_undeclared",
        "an invalid UID (PS3.5 9.1)": "invalid_uid",
        "no SOPInstanceUID in the data set": "uid_from_file_meta",
    }
    rows = faulty(tables)
    for fault, code in codes.items():
        found = [row["instances"] for row in report.figures["plausibility"].iter_dicts() if row["fault"] == fault]
        assert sum(found) == rows[rows.code == code].SOPInstanceUID.nunique() > 0


def test_the_rare_are_counted_together(tmp_path: Path) -> None:
    """Of 40 manufacturers the most frequent are named; nothing is lost."""
    write_many(tmp_path / "scans", 40, lambda number: f"Maker {number:02}")
    dicomflow.extract(tmp_path / "scans", tmp_path / "out", scheduler="threads")
    rows = measure_quality(dicomflow.open_dataset(tmp_path / "out")).figures["completeness"].iter_dicts()
    found = {row["by_manufacturer"]: row["instances"] for row in rows}
    named = {f"Maker {number:02}": 2 for number in range(TOP_MANUFACTURERS)}
    assert found == {**named, "(other)": 65 - 2 * TOP_MANUFACTURERS}


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    """They count as empty, and are named; so does one of another type."""
    write_file(tmp_path / "a.dcm", {})
    columns = tmp_path / "own.yaml"
    columns.write_text("profile: own\ncolumns: [PatientID, Rows, {name: Modality, path: ImageType}]\n")
    dicomflow.extract(tmp_path / "a.dcm", tmp_path / "out", scheduler="threads", columns=str(columns))
    report = measure_quality(dicomflow.open_dataset(tmp_path / "out"))
    assert {"Modality", "Manufacturer", "StudyDate", "InstanceNumber"} < set(report.absent)
    assert "PatientID" not in report.absent
    assert report.figures["years"].rows == (("(none)", "(none)", "(no date)", 1),)


def test_no_rollups(dest: Path) -> None:
    """A dataset of an earlier version has no series: it is said."""
    dataset = dicomflow.open_dataset(dest)
    parts = {name: dataset.parts(name) for name in ("instances", "files", "conflicts")}
    figures = measure_quality(Dataset(dataset.root, dataset.snapshot, parts)).figures
    assert figures["irregularities"].rows == () and "no series yet" in str(figures["irregularities"].note)
    assert figures["incomplete"].rows


def test_no_instances(tmp_path: Path) -> None:
    """A folder of other files has a report, too."""
    (tmp_path / "a.txt").write_text("no header")
    dicomflow.extract(tmp_path / "a.txt", tmp_path / "out", scheduler="threads")
    report = measure_quality(dicomflow.open_dataset(tmp_path / "out"))
    assert report.figures["archive"].rows == ((None, None, 0, 0, 0, 0, 0, 0, 0),)
    assert report.figures["outcomes"].rows == (("not_dicom", "no_dicom_header", 1, 9),)
