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


def write_enhanced(folder: Path, name: str, positions: list[list[float]], orientations: list[list[float]] | None) -> None:
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
    """What is wrong, for the most part with the fourth slice alone."""
    if name == "tilted_gantry":
        dataset.ImageOrientationPatient = TILTED
    if name == "localizer":
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    if name == "mosaic":
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    if name == "no_geometry":
        del dataset.ImagePositionPatient
    if name == "invalid_orientation":
        dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    if name == "no_frame_positions":
        dataset.NumberOfFrames = 8
    if name == "partial_geometry" and number == 5:
        dataset.ImagePositionPatient = None
    if number == 3:
        _SPOILED.get(name, lambda _: None)(dataset)


_SPOILED = {
    "irregular_spacing": lambda dataset: setattr(dataset, "ImagePositionPatient", [-100, -90, 8]),
    "misaligned": lambda dataset: setattr(dataset, "ImagePositionPatient", [-99, -90, 7.5]),
    "mixed_orientation": lambda dataset: setattr(dataset, "ImageOrientationPatient", SAGITTAL),
    "mixed_size": lambda dataset: setattr(dataset, "Rows", 8),
    "mixed_spacing": lambda dataset: setattr(dataset, "PixelSpacing", [0.5, 0.501]),
    "mixed_frame_of_reference": lambda dataset: setattr(dataset, "FrameOfReferenceUID", "1.2.3"),
}
