"""Is a series one regular volume: planted faults, single-frame and enhanced objects, through a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dicomflow
from dicomflow.schema.rollup import IRREGULARITIES

from .planted import AXIAL, EXPECTED, SAGITTAL, write_enhanced, write_planted

STACK = [[-100.0, -90.0, 2.0 * number] for number in range(5)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "source"
    write_planted(folder)
    write_enhanced(folder, "enhanced regular", STACK, None)
    write_enhanced(folder, "enhanced missing", [*STACK[:3], *STACK[4:], [-100.0, -90.0, 10.0]], None)
    write_enhanced(folder, "enhanced doubled", [*STACK, *STACK], None)
    write_enhanced(folder, "enhanced turned", STACK, [*[AXIAL] * 4, SAGITTAL])
    write_enhanced(folder, "enhanced each", STACK, [AXIAL] * 5)
    return folder


@pytest.fixture(scope="module")
def rows(source: Path) -> dict[str, dict[str, Any]]:
    """SeriesDescription -> row of ``series``."""
    dicomflow.extract(source, source.parent / "dest")
    found = dicomflow.open_dataset(source.parent / "dest").series.to_table().to_pylist()
    return {row["SeriesDescription"]: row for row in found}


@pytest.mark.parametrize("name", EXPECTED)
def test_planted(rows: dict[str, dict[str, Any]], name: str) -> None:
    """What was planted, and nothing else, is found; the numbers are those that were planted."""
    row = rows[name]
    assert row["irregularities"] == ([] if name == "regular" else [name])
    assert row["regularly_spaced_3d_volume"] is (name == "regular")
    for column, value in EXPECTED[name].items():
        assert row[column] == pytest.approx(value) if isinstance(value, float) else row[column] == value, column
    assert row["Modality"] == "CT" and row["instanceCount"] == (6 if name != "missing_slice" else 5) - (
        5 if name in ("single_slice", "no_frame_positions") else 0
    ) + (name == "duplicate_position")


def test_every_irregularity_is_planted() -> None:
    """But for that of instances without a series."""
    assert {*EXPECTED} - {"regular"} == {*IRREGULARITIES} - {"no_series"}


ENHANCED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "enhanced regular": ([], {"slice_count": 5, "slice_spacing": 2.0, "slice_positions": [0.0, 2.0, 4.0, 6.0, 8.0]}),
    "enhanced missing": (["missing_slice"], {"slice_count": 5, "missing_slices": 1}),
    "enhanced doubled": (["duplicate_position"], {"frames_per_position": 2, "slice_spacing": 2.0}),
    "enhanced turned": (["mixed_orientation"], {"slice_positions": None}),
    "enhanced each": ([], {"slice_count": 5, "slice_spacing": 2.0}),
}


@pytest.mark.parametrize("name", ENHANCED)
def test_frames_count_as_slices(rows: dict[str, dict[str, Any]], name: str) -> None:
    """An enhanced object is what its frames are."""
    row, (irregularities, expected) = rows[name], ENHANCED[name]
    assert row["irregularities"] == irregularities and row["regularly_spaced_3d_volume"] is not bool(irregularities)
    assert {column: row[column] for column in expected} == expected
    assert row["instanceCount"] == 1 and row["frame_count"] in (5, 10)


def test_what_a_profile_does_not_hold_is_unknown(source: Path, tmp_path: Path) -> None:
    """Without positions nothing is said of volumes; without those of frames, that they are not known."""
    dicomflow.extract(source, tmp_path / "minimal", columns="minimal")
    for row in dicomflow.open_dataset(tmp_path / "minimal").series.to_table().to_pylist():
        assert row["regularly_spaced_3d_volume"] is row["irregularities"] is row["slice_positions"] is None
        assert row["instanceCount"] and row["Modality"] and row["StudyInstanceUID"]
    (tmp_path / "own.yaml").write_text(
        "profile: own\nextends: minimal\ncolumns:\n  - ImagePositionPatient: {functional_group: PlanePositionSequence}\n"
        "  - ImageOrientationPatient: {functional_group: PlaneOrientationSequence}\n"
    )
    dicomflow.extract(source, tmp_path / "own", columns=str(tmp_path / "own.yaml"))
    found = {
        row["SeriesDescription"]: row["irregularities"]
        for row in dicomflow.open_dataset(tmp_path / "own").series.to_table().to_pylist()
    }
    assert found["enhanced regular"] == ["no_frame_positions"] and found["regular"] == []
    assert found["missing_slice"] == ["missing_slice"]
