"""Rollups of synthetic studies and of real files, against a computation of its own."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydicom
import pytest

import dicomflow
from dicomflow.rollup.measure import measure, usable_columns
from dicomflow.rollup.tables import roll_up, select_columns
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import load_profile
from dicomflow.schema.rollup import KEYS, rollup_schema
from dicomflow.synth import make_series, write_studies

from . import independent
from .independent import flag

FLAGS = ("no_geometry", "partial_geometry", "no_frame_positions", "mixed_spacing")


def assert_equal(dest: Path) -> int:
    """All three rollups say what the rows say; how many series were measured twice."""
    dataset = dicomflow.open_dataset(dest)
    rows = dataset.instances.to_table().to_pylist()
    for table, key in KEYS.items():
        found = getattr(dataset, table).to_table()
        assert found.schema.equals(rollup_schema(table))
        by_key = {row[key]: row for row in found.to_pylist()}
        expected = independent.compute(rows, table)
        assert len(by_key) == found.num_rows and {*by_key} == {*expected}
        for value, row in expected.items():
            assert {name: by_key[value][name] for name in row} == row, table
    return _assert_geometry(rows, {row["SeriesInstanceUID"]: row for row in dataset.series.to_table().to_pylist()})


def _assert_geometry(rows: list[dict[str, Any]], series: dict[Any, dict[str, Any]]) -> int:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        if "ImagePositionPatient" in row and row["SeriesInstanceUID"] is not None:
            groups.setdefault(row["SeriesInstanceUID"], []).append(row)
    measured = 0
    for key, group in groups.items():
        assert {*series[key]["irregularities"]} & {*FLAGS} == flag(group), key
        if (expected := independent.measure(group)) is None:
            continue
        row, measured = series[key], measured + 1
        even = expected.pop("even")
        assert row["slice_positions"] == pytest.approx(expected.pop("slice_positions"), abs=1e-3)
        assert row["duplicate_positions"] == expected.pop("duplicate_positions")
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=2e-3)
        assert not even or not {"irregular_spacing", "missing_slice"} & {*row["irregularities"]}
    return measured


def test_synthetic_studies(tmp_path: Path) -> None:
    """Two hundred files of all kinds."""
    write_studies(tmp_path / "source", files=200, seed=5)
    dicomflow.extract(tmp_path / "source", tmp_path / "dest")
    assert assert_equal(tmp_path / "dest") > 5
    assert dicomflow.verify_dataset(tmp_path / "dest").whole


def test_real_files(corpus: Path, tmp_path: Path) -> None:
    """Real archives: conflicts, series without an id, partial headers, all that scanners write."""
    dicomflow.extract(corpus, tmp_path / "dest")
    assert assert_equal(tmp_path / "dest") > 100
    dataset = dicomflow.open_dataset(tmp_path / "dest")
    conflicts = dataset.sql("select count(*) as n from series where len(conflicts) > 0")["n"][0].as_py()
    assert conflicts and dataset.sql("select count(*) as n from patients where PatientID is null")["n"][0].as_py() == 1


# ---- rows made by hand -----------------------------------------------------------------------------------------------


def roll(rows: list[dict[str, Any]], table: str, schema: pa.Schema | None = None) -> list[dict[str, Any]]:
    """The rollup of these rows, with the columns of a profile."""
    schema = schema or instances_schema(load_profile("standard"))
    full = [{"source_uri": f"/s/{place}", "source_size": 10, "status": "ok", **row} for place, row in enumerate(rows)]
    found = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in full], schema)
    records = measure(found.select(usable_columns(schema)))
    return roll_up(select_columns(records, table), table, has_geometry=True).to_pylist()


def test_a_series_in_two_studies_of_two_patients() -> None:
    """It is one row that names both conflicts, and counts in each study and each patient."""
    rows = [
        {"SeriesInstanceUID": "1", "StudyInstanceUID": study, "PatientID": patient, "Modality": "CT"}
        for study, patient in (("a", "p"), ("b", "p"), ("b", "q"))
    ]
    (series,) = roll(rows, "series")
    assert (series["StudyInstanceUID"], series["PatientID"]) == (None, None)
    assert series["conflicts"] == ["StudyInstanceUID", "PatientID"] and series["instanceCount"] == 3
    studies = {row["StudyInstanceUID"]: row for row in roll(rows, "studies")}
    assert (studies["a"]["series_count"], studies["a"]["PatientID"], studies["a"]["conflicts"]) == (1, "p", [])
    assert (studies["b"]["series_count"], studies["b"]["PatientID"]) == (1, None)
    assert studies["b"]["conflicts"] == ["PatientID"] and studies["b"]["instanceCount"] == 2
    patients = {row["PatientID"]: (row["study_count"], row["series_count"]) for row in roll(rows, "patients")}
    assert patients == {"p": (2, 1), "q": (1, 1)}


def test_without_keys() -> None:
    """What has no key is one row with a null key, and no volume; it is no series of its study."""
    rows = [{"SeriesInstanceUID": None, "StudyInstanceUID": "a", "Rows": 1}, {"SeriesInstanceUID": "1", "Rows": 1}]
    series = {row["SeriesInstanceUID"]: row for row in roll(rows, "series")}
    assert series[None]["irregularities"] == ["no_series", "no_geometry"] and series["1"]["instanceCount"] == 1
    studies = {row["StudyInstanceUID"]: row["series_count"] for row in roll(rows, "studies")}
    assert studies == {"a": 0, None: 1}
    assert [row["PatientID"] for row in roll(rows, "patients")] == [None]


def test_counts_add_up_with_what_has_no_key(tmp_path: Path) -> None:
    """Files without study, series or patient: one row each whose key is null, so nothing is lost and nothing counted twice."""
    (tmp_path / "source").mkdir()
    for number in range(6):
        header = pydicom.dcmread(io.BytesIO(next(make_series("ct", seed=number)).data))
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID")[: number // 2 * 3]:
            delattr(header, name)  # four of six files
        header.save_as(tmp_path / "source" / f"f{number}")
    dicomflow.extract(tmp_path / "source", tmp_path / "dest")
    dataset = dicomflow.open_dataset(tmp_path / "dest")
    for table, key in KEYS.items():
        ask = f"select sum(instanceCount)::int as n, count({key}) as keys, count(*) as rows from {table}"
        assert dataset.sql(ask).to_pylist() == [{"n": 6, "keys": 2, "rows": 3}]
        (lost,) = dataset.sql(f"from {table} where {key} is null").to_pylist()
        assert lost["instanceCount"] == 4
    assert dataset.sql("select irregularities from series where SeriesInstanceUID is null")["irregularities"][
        0
    ].as_py()[0] == ("no_series")
    assert dicomflow.verify_dataset(tmp_path / "dest").whole


def test_a_missing_value_is_a_difference() -> None:
    """Nothing is picked: a value that some instances lack is not that of the series."""
    (row,) = roll([{"SeriesInstanceUID": "1", "StationName": "A"}, {"SeriesInstanceUID": "1"}], "series")
    assert row["StationName"] is None and row["conflicts"] == ["StationName"]
    (row,) = roll([{"SeriesInstanceUID": "1", "KVP": 80.0}, {"SeriesInstanceUID": "1", "KVP": 90.0}], "series")
    assert row["KVP"] is None and row["conflicts"] == []  # may differ


def test_hostile_values() -> None:
    """Lists of the wrong length, coordinates beyond all reason, counts that add up to more than there are numbers."""
    bad = [
        {"ImagePositionPatient": position, "ImageOrientationPatient": orientation}
        for position, orientation in (
            ([1.0], [1.0, 0, 0, 0, 1, 0]),
            ([1.0, 2.0, 1e300], [1.0, 0, 0, 0, 1, 0]),
            ([1.0, None, 3.0], [1.0, 0, 0, 0, 1, 0]),
            ([1.0, 2.0, 3.0], [1.0] * 5000),
            ([1.0, 2.0, 3.0], []),
            ([1.0, 2.0, float("nan")], [1.0, 0, 0, 0, 1, 0]),
        )
    ]
    rows = [{"SeriesInstanceUID": "1", "NumberOfFrames": 2**63 - 1, **row} for row in bad]
    (row,) = roll(rows, "series")
    assert row["irregularities"] == ["no_geometry"] and row["slice_positions"] is None
    assert row["frame_count"] == len(bad) * (2**31 - 1)


def test_columns_that_are_not_what_they_are_called() -> None:
    """A profile may name anything anything: what has another type is not taken for it."""
    schema = instances_schema(load_profile("minimal"))
    at = schema.get_field_index("Rows")
    odd = schema.set(at, pa.field("Rows", pa.string()))
    assert "Rows" in usable_columns(schema) and "Rows" not in usable_columns(odd)
    (row,) = roll([{"SeriesInstanceUID": "1", "Rows": "many"}], "series", odd)
    assert row["Rows"] is None and row["frame_count"] == 0
    no_series = pa.schema([field for field in schema if field.name != "SeriesInstanceUID"])
    assert [row["SeriesInstanceUID"] for row in roll([{"Rows": 1}, {"Rows": 2}], "series", no_series)] == [None]


ORIENTED = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_what_is_missing_is_told_apart() -> None:
    """Positions of instances and of frames, spacings: every combination of two instances, against a recomputation."""
    points: list[Any] = [None, [0.0, 0.0, 1.0], [0.0, None, 1.0]]
    frames: list[Any] = [
        None,
        [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]],
        [[0.0, 0.0, 0.0]],
        [None, [0.0, 0.0, 2.0]],
        [None, None],
    ]
    kinds = [
        {
            "ImagePositionPatient": point,
            "ImageOrientationPatient": turned,
            "FrameImagePositionPatient": each,
            "NumberOfFrames": count,
            "PixelSpacing": spacing,
            "Rows": 8,
        }
        for point, turned, each, count, spacing in itertools.product(
            points, [None, ORIENTED], frames, [None, 2], [None, [0.5, 0.5]]
        )
    ]
    pairs = [*itertools.product(kinds, kinds[::7]), *((kind, {**kind, "PixelSpacing": [0.5, 0.6]}) for kind in kinds)]
    rows = [{"SeriesInstanceUID": f"{place:06}", **row} for place, pair in enumerate(pairs) for row in pair]
    schema = instances_schema(load_profile("standard"))
    found = {row["SeriesInstanceUID"]: row["irregularities"] for row in roll(rows, "series", schema)}
    for place, pair in enumerate(pairs):
        said = set(found[f"{place:06}"]) & set(FLAGS)
        assert said == flag(list(pair)), pair
        assert not {"no_geometry", "no_frame_positions"} <= said
    assert {one for flags in found.values() for one in flags} >= set(FLAGS)


def test_a_spacing_that_is_missing_is_mixed() -> None:
    """Where others of the series have one; where none has, there is nothing to be mixed."""
    spaced = {"SeriesInstanceUID": "1", "PixelSpacing": [0.5, 0.5]}
    for others, is_mixed in (([spaced], False), ([{"SeriesInstanceUID": "1"}], True)):
        (row,) = roll([spaced, *others], "series")
        assert ("mixed_spacing" in row["irregularities"]) is is_mixed
    (row,) = roll([{"SeriesInstanceUID": "1"}] * 2, "series")
    assert "mixed_spacing" not in row["irregularities"]
