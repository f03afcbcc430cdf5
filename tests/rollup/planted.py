"""Series with one thing wrong each, as DICOM files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from dicomflow.synth import make_series

AXIAL = [1, 0, 0, 0, 1, 0]
TILTED = [1, 0, 0, 0, 0.96, -0.28]
SAGITTAL = [0, 1, 0, 0, 0, -1]

EXPECTED: dict[str, dict[str, Any]] = {
    "regular": {"slice_count": 6, "slice_spacing": 2.5, "missing_slices": 0, "duplicate_positions": 0},
    "missing_slice": {"slice_count": 5, "slice_spacing": 2.5, "missing_slices": 1, "max_slice_spacing": 5.0},
    "duplicate_position": {"slice_count": 6, "duplicate_positions": 1, "frames_per_position": None},
    "irregular_spacing": {"slice_spacing": None, "missing_slices": None, "min_slice_spacing": 2.0},
    "tilted_gantry": {"slice_spacing": 2.4, "obliquity_degrees": 16.26},
    "misaligned": {"slice_spacing": 2.5},
    "mixed_orientation": {"slice_positions": None, "slice_spacing": None, "obliquity_degrees": None},
    "mixed_size": {"Rows": None, "slice_count": 6},
    "mixed_spacing": {"PixelSpacing": None},
    "mixed_frame_of_reference": {"slice_positions": None, "conflicts": ["FrameOfReferenceUID"]},
    "localizer": {"slice_count": 6},
    "mosaic": {"slice_count": 6},
    "single_slice": {"slice_count": 1, "slice_positions": [0.0], "slice_spacing": None},
    "partial_geometry": {"slice_count": 5},
    "no_geometry": {"slice_positions": None, "slice_count": None},
    "invalid_orientation": {"slice_positions": None},
    "no_frame_positions": {"frame_count": 8, "slice_positions": None},
}
"""What is planted -> what the row says; each is the only irregularity, but for ``regular``, which has none."""


def write_planted(folder: Path) -> None:
    """One series for each of ``EXPECTED``, named by it."""
    for name in EXPECTED:
        for number, dataset in enumerate(_plant(name)):
            _write(folder / name / f"{number}.dcm", dataset, name, number)


def write_enhanced(
    folder: Path, name: str, positions: list[list[float]], orientations: list[list[float]] | None
) -> None:
    """One enhanced MR with a frame at each position; oriented all alike, or each on its own."""
    (file,) = make_series("enhanced-mr", instances=1)
    dataset = pydicom.dcmread(io.BytesIO(file.data))
    if orientations is not None:
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    else:
        dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = AXIAL
    frames = []
    for number, position in enumerate(positions):
        frame, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = position
        frame.PlanePositionSequence = [plane]
        if orientations is not None:
            turned = Dataset()
            turned.ImageOrientationPatient = orientations[number]
            frame.PlaneOrientationSequence = [turned]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(positions)
    _write(folder / f"{name}.dcm", dataset, name, 0)


def _write(path: Path, dataset: Dataset, series: str, number: int) -> None:
    dataset.SeriesInstanceUID = f"2.25.{int.from_bytes(series.encode()[:14], 'big')}"
    dataset.SeriesDescription = series
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number}"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)


def _plant(name: str) -> Iterator[Dataset]:
    count = 1 if name in ("single_slice", "no_frame_positions") else 6
    for number, file in enumerate(make_series("ct", instances=count)):
        dataset = pydicom.dcmread(io.BytesIO(file.data))
        dataset.ImageOrientationPatient = AXIAL
        dataset.ImagePositionPatient = [-100, -90, 2.5 * number]
        _spoil(dataset, name, number)
        if not (name == "missing_slice" and number == 3):
            yield dataset
        if name == "duplicate_position" and number == 2:
            yield dataset.copy()


def _spoil(dataset: Dataset, name: str, number: int) -> None:
    """What is wrong with all slices, or with one."""
    for keyword, value in _ALL.get(name, {}).items():
        setattr(dataset, keyword, value)
    at, keyword, value = _ONE.get(name, (0, "", None))
    if keyword and number == at:
        setattr(dataset, keyword, value)


_ALL: dict[str, dict[str, Any]] = {
    "tilted_gantry": {"ImageOrientationPatient": TILTED},
    "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "mosaic": {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]},
    "no_geometry": {"ImagePositionPatient": None},
    "invalid_orientation": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    "no_frame_positions": {"NumberOfFrames": 8},
}

_ONE: dict[str, tuple[int, str, Any]] = {
    "irregular_spacing": (3, "ImagePositionPatient", [-100, -90, 8]),
    "misaligned": (3, "ImagePositionPatient", [-99, -90, 7.5]),
    "mixed_orientation": (3, "ImageOrientationPatient", SAGITTAL),
    "mixed_size": (3, "Rows", 8),
    "mixed_spacing": (3, "PixelSpacing", [0.5, 0.501]),
    "mixed_frame_of_reference": (3, "FrameOfReferenceUID", "1.2.3"),
    "partial_geometry": (5, "ImagePositionPatient", None),
}
