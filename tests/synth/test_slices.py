"""Stacks of slices: geometry that holds together, private blocks, the benchmark kind."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset

from dicomflow.synth import iter_files, make_series


def read_series(kind: str, seed: int, instances: int = 6) -> list[FileDataset]:
    return [pydicom.dcmread(io.BytesIO(file.data)) for file in make_series(kind, instances=instances, seed=seed)]


@pytest.mark.parametrize("kind", ["ct", "mr", "mr-long", "pet"])
@pytest.mark.parametrize("seed", range(5))
def test_positions_step_along_the_normal(kind: str, seed: int) -> None:
    """Slices share their orientation, positions lie on the normal at even distances, SliceLocation follows."""
    series = read_series(kind, seed)
    cosines = [float(cosine) for cosine in series[0].ImageOrientationPatient]
    row, column = cosines[:3], cosines[3:]
    assert dot(row, row) == pytest.approx(1) and dot(column, column) == pytest.approx(1)
    assert dot(row, column) == pytest.approx(0, abs=1e-9)
    normal = cross(row, column)
    step = float(series[0].SpacingBetweenSlices)
    first = [float(part) for part in series[0].ImagePositionPatient]
    for index, image in enumerate(series):
        position = [float(part) for part in image.ImagePositionPatient]
        expected = [start + index * step * along for start, along in zip(first, normal, strict=True)]
        assert position == pytest.approx(expected, abs=1e-5)
        assert float(image.SliceLocation) == pytest.approx(dot(position, normal), abs=1e-4)
        assert image.ImageOrientationPatient == series[0].ImageOrientationPatient
        assert image.FrameOfReferenceUID == series[0].FrameOfReferenceUID
    times = [image.AcquisitionTime for image in series]
    assert times == sorted(times)


def read_file_meta_info(data: bytes) -> FileMetaDataset:
    return pydicom.dcmread(io.BytesIO(data), specific_tags=["SOPInstanceUID"]).file_meta


def cross(one: list[float], other: list[float]) -> list[float]:
    (a, b, c), (d, e, f) = one, other
    return [b * f - c * e, c * d - a * f, a * e - b * d]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_benchmark_headers_have_their_size(syntax: str) -> None:
    """mr-long: 320-350 top-level elements and 15-19 KB before PixelData, 64 x 64 pixels, from either vendor."""
    vendors = set()
    for seed in range(16):
        (file,) = make_series("mr-long", seed=seed, syntax=syntax)
        dataset = pydicom.dcmread(io.BytesIO(file.data))
        assert 320 <= len(dataset) - 1 <= 350
        assert 15_000 <= file.data.rindex(b"\xe0\x7f\x10\x00", 0, len(file.data) - 8000) <= 19_000
        assert (dataset.Rows, dataset.Columns, len(dataset.PixelData)) == (64, 64, 8192)
        assert len({element.tag for element in dataset if element.tag.is_private}) > 200
        vendors.add(dataset.Manufacturer)
    assert vendors == {"GE MEDICAL SYSTEMS", "SIEMENS"}


def test_benchmark_load_is_native_little_endian() -> None:
    """mr-long comes in explicit and implicit VR little endian only, as the archives do that it stands for."""
    metas = (read_file_meta_info(file.data) for file in iter_files(files=120, kinds=["mr-long"]))
    assert {meta.TransferSyntaxUID for meta in metas} == {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}


def test_private_blocks_are_found_by_creator() -> None:
    """Private elements lie behind their creator, whose block number differs between series."""
    blocks = set()
    for seed in range(30):
        dataset = read_series("mr", seed, instances=1)[0]
        if dataset.Manufacturer != "GE MEDICAL SYSTEMS":
            continue
        block = dataset.private_block(0x0019, "GEMS_ACQU_01")
        assert float(block[0x0F].value) <= 500
        blocks.add(block.block_start)
    assert len(blocks) > 1


def test_siemens_headers_carry_csa() -> None:
    """Siemens MR has a CSA image header that begins with its magic and counts its tags."""
    series = next(
        found for found in (read_series("mr", seed) for seed in range(30)) if found[0].Manufacturer == "SIEMENS"
    )
    raw = series[0].private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value
    assert raw[:8] == b"SV10\4\3\2\1"
    assert 10 <= int.from_bytes(raw[8:12], "little") <= 14
    positions = [image.private_block(0x0051, "SIEMENS MR HEADER")[0x0D].value for image in series]
    assert len(set(positions)) == len(positions)


def test_enhanced_geometry_lives_in_functional_groups() -> None:
    """Enhanced MR has spacing in the shared and positions in the per-frame groups, none at top level."""
    dataset = read_series("enhanced-mr", 1, instances=1)[0]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.PerFrameFunctionalGroupsSequence
    assert "PixelSpacing" not in dataset and "ImagePositionPatient" not in dataset
    assert len(shared.PixelMeasuresSequence[0].PixelSpacing) == 2
    assert len(frames) == dataset.NumberOfFrames
    assert len({tuple(frame.PlanePositionSequence[0].ImagePositionPatient) for frame in frames}) == len(frames)
