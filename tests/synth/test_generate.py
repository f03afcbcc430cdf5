"""Studies in memory: valid for pydicom in every kind, transfer syntax and character set."""

from __future__ import annotations

import io
import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset

from dicomflow.errors import ConfigError
from dicomflow.synth import KINDS, SYNTAXES, SynthFile, iter_files, make_series
from dicomflow.synth.generate import iter_study
from dicomflow.synth.iods import IODS
from dicomflow.synth.plan import Request, plan_studies
from dicomflow.synth.protocol import DRIFT
from dicomflow.synth.sites import SITES
from dicomflow.synth.study import SeriesPlan, StudyPlan

UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+\Z")


def read(data: bytes) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = pydicom.dcmread(io.BytesIO(data))
        for _ in dataset.iterall():
            pass
    return dataset


@pytest.fixture(scope="module")
def many() -> list[tuple[SynthFile, FileDataset]]:
    return [(file, read(file.data)) for file in iter_files(files=500, seed=2)]


def test_a_few_hundred_files_hold_everything(many: list[tuple[SynthFile, FileDataset]]) -> None:
    """All kinds, transfer syntaxes, character sets and big vendors occur in 500 files and read without warning."""
    assert {file.kind for file, _ in many} == set(KINDS)
    assert {dataset.file_meta.TransferSyntaxUID for _, dataset in many} == {syntax.uid for syntax in SYNTAXES.values()}
    charsets = {tuple(as_list(dataset.get("SpecificCharacterSet"))) for _, dataset in many}
    assert charsets == {site.charset for site in SITES}
    assert {"GE MEDICAL SYSTEMS", "SIEMENS", "Philips Medical Systems"} <= {dataset.Manufacturer for _, dataset in many}


def test_uids_are_valid_and_unique(many: list[tuple[SynthFile, FileDataset]]) -> None:
    """SOP Instance UIDs are unique, all UIDs are valid (PS3.5 9.1), and data set, file meta and SynthFile agree."""
    uids = [file.sop_instance_uid for file, _ in many]
    assert len(set(uids)) == len({file.path for file, _ in many}) == len(many)
    for file, dataset in many:
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == file.sop_instance_uid
        assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == IODS[file.kind].sop_class_uid
        assert dataset.Modality == IODS[file.kind].modality
        for element in dataset.iterall():
            if element.VR == "UI" and element.value and element.VM == 1:
                assert len(element.value) <= 64 and UID.match(element.value)


def test_hierarchy_is_consistent(many: list[tuple[SynthFile, FileDataset]]) -> None:
    """A series has one study and one set of series attributes, a study one patient; instance numbers count from 1.

    In a few series one is missing, see test_a_few_slices_are_lost.
    """
    series: dict[str, list[Dataset]] = defaultdict(list)
    for _, dataset in many:
        series[dataset.SeriesInstanceUID].append(dataset)
    patients = defaultdict(set)
    for members in series.values():
        shared = (
            "StudyInstanceUID",
            "PatientID",
            "Modality",
            "SeriesNumber",
            "SeriesTime",
            "StudyDate",
            "Manufacturer",
        )
        assert len({tuple(str(member.get(name)) for name in shared) for member in members}) == 1
        numbers = [member.InstanceNumber for member in members]
        assert numbers == sorted(set(numbers)) and numbers[0] == 1 and numbers[-1] - len(numbers) in (0, 1)
        patients[members[0].StudyInstanceUID].add(
            (members[0].PatientID, str(members[0].PatientName), members[0].StudyDate)
        )
    assert all(len(found) == 1 for found in patients.values())
    assert len({next(iter(found))[0] for found in patients.values()}) < len(patients)  # somebody comes twice
    assert max(len([s for s in series.values() if s[0].StudyInstanceUID == study]) for study in patients) >= 3


SCANNER = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "StationName")


@pytest.fixture(scope="module")
def images() -> list[Dataset]:
    """The first image of each series of a larger archive."""
    found = []
    for plan in plan_studies(Request(files=20_000, seed=8, kinds=["ct", "mr", "pet", "dx", "us"]), ()):
        short = replace(plan, series=tuple(replace(one, instances=1, lost=None) for one in plan.series))
        found += [pydicom.dcmread(io.BytesIO(file.data)) for file in iter_study(short)]
    return found


def test_scanners_stand_where_they_stand(images: list[Dataset]) -> None:
    """A serial number is one machine at one site, with one software; a site has few of them, and they are used again."""
    scanners = defaultdict(set)
    sites, studies = defaultdict(set), defaultdict(set)
    for image in images:
        key = (image.Modality, image.DeviceSerialNumber)
        scanners[key].add((*(str(image[name].value) for name in SCANNER), image.InstitutionName))
        sites[image.InstitutionName, image.Modality].add(image.DeviceSerialNumber)
        studies[key].add(image.StudyInstanceUID)
    assert all(len(found) == 1 for found in scanners.values())
    assert len(sites) > 25 and all(len(found) <= 2 for found in sites.values())
    assert sum(len(found) > 1 for found in studies.values()) > len(studies) / 2


def test_protocols_drift_in_a_few_series(images: list[Dataset]) -> None:
    """Most series of a protocol on a scanner are made with its settings, some with one of them changed."""
    names = (
        "KVP",
        "ConvolutionKernel",
        "SpiralPitchFactor",
        "RepetitionTime",
        "EchoTime",
        "FlipAngle",
        "SliceThickness",
    )
    protocols = defaultdict(list)
    for image in images:
        if image.Modality in ("CT", "MR"):
            setting = tuple(str(image.get(name)) for name in names)
            protocols[image.DeviceSerialNumber, image.ProtocolName].append(setting)
    changed = total = 0
    for settings in protocols.values():
        usual = max(set(settings), key=settings.count)
        others = [setting for setting in settings if setting != usual]
        assert all(sum(one != other for one, other in zip(setting, usual, strict=True)) <= 2 for setting in others)
        changed, total = changed + len(others), total + len(settings)
    assert total > 100 and 0.02 < changed / total < DRIFT


def test_a_few_slices_are_lost() -> None:
    """A place that is lost is no file, no number and no position; what was acquired and what refers to it know it."""
    series = SeriesPlan(kind="ct", syntax="explicit", number=1, instances=5, lost=2)
    report = SeriesPlan(kind="seg", syntax="explicit", number=2, instances=1)
    plan = StudyPlan(seed=1, index=0, patient=1, visit=0, description="Lost", series=(series, report))
    *slices, segmentation = [read(file.data) for file in iter_study(plan)]
    assert [image.InstanceNumber for image in slices] == [1, 2, 4, 5, 6]
    heights = [float(image.ImagePositionPatient[2]) for image in slices]
    step = heights[1] - heights[0]
    assert [round((height - heights[0]) / step, 3) for height in heights] == [0, 1, 3, 4, 5]
    assert {image.ImagesInAcquisition for image in slices} == {6}
    referred = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in referred] == [image.SOPInstanceUID for image in slices]


def test_names_are_read_back_as_invented() -> None:
    """PatientName, comment and institution survive their character set in every site."""
    for number, site in enumerate(SITES):
        dataset = read(next(make_series("ct", seed=number)).data)
        assert str(dataset.PatientName) in {name.rstrip("^") for name in site.names} | set(site.names)
        assert dataset.InstitutionName == site.institution
        assert dataset.PatientComments == site.comment
        assert as_list(dataset.get("SpecificCharacterSet")) == list(site.charset)


def test_text_is_stored_in_its_charset() -> None:
    """Japanese is stored in ISO 2022 with its escape sequence, Latin-1 in one byte per letter, Chinese in GB18030."""
    assert b"\x1b$B" in next(make_series("ct", seed=3)).data
    assert b"M\xfchlgasse" in next(make_series("ct", seed=1)).data
    assert "青山医院".encode("gb18030") in next(make_series("ct", seed=4)).data


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_syntax(kind: str, syntax: str) -> None:
    """The same series has the same values in each transfer syntax as in explicit VR little endian."""
    expected, found = (
        [read(file.data) for file in make_series(kind, instances=3, seed=5, syntax=name)]
        for name in ("explicit", syntax)
    )
    for one, other in zip(expected, found, strict=True):
        assert other.file_meta.TransferSyntaxUID == SYNTAXES[syntax].uid
        assert list(one.keys()) == list(other.keys())
        for element in other:
            encoding_dependent = element.tag == 0x7FE00010 or element.keyword in (
                "PhotometricInterpretation",
                "LossyImageCompression",
            )
            if not element.tag.is_private and not encoding_dependent:
                assert element.value == one[element.tag].value, element.keyword
        if "PixelData" in other:
            assert bool(other["PixelData"].is_undefined_length) == bool(SYNTAXES[syntax].codec)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "deflated", "rle"])
def test_pixels_are_the_same_native_swapped_and_rle(syntax: str) -> None:
    """Pydicom decodes the same pixels from each lossless form that it can decode by itself; instances differ."""
    pytest.importorskip("numpy")
    for kind in ("ct", "enhanced-mr"):
        expected = [read(file.data).pixel_array for file in make_series(kind, instances=2, seed=5)]
        found = [read(file.data).pixel_array for file in make_series(kind, instances=2, seed=5, syntax=syntax)]
        assert all((one == other).all() for one, other in zip(expected, found, strict=True))
        assert (found[0] != found[1]).any()


@pytest.mark.parametrize("kind", ["us", "seg"])
def test_frames_fill_the_pixel_data(kind: str) -> None:
    """Loops and segmentations have as many frames as they say."""
    pytest.importorskip("numpy")
    dataset = read(next(make_series(kind, seed=1, syntax="rle" if kind == "us" else "explicit")).data)
    assert dataset.NumberOfFrames > 1
    assert len(dataset.pixel_array) == dataset.NumberOfFrames


@pytest.mark.parametrize("syntax", ["jpeg", "jpeg-lossless", "jpeg-ls", "j2k", "j2k-lossless"])
def test_fragments_are_well_formed(syntax: str) -> None:
    """Compressed loops have one codestream per frame, from its start marker to its end marker."""
    dataset = read(next(make_series("us", seed=1, syntax=syntax)).data)
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=dataset.NumberOfFrames))
    assert len(frames) == dataset.NumberOfFrames
    start = b"\xff\x4f\xff\x51" if syntax.startswith("j2k") else b"\xff\xd8\xff"
    assert all(frame.startswith(start) and frame.rstrip(b"\0").endswith(b"\xff\xd9") for frame in frames)


def test_sequences_come_with_and_without_lengths() -> None:
    """Some series delimit their sequences, others give lengths; both are read (see test_a_few_hundred_files)."""
    found = {read(next(make_series("sr", seed=seed)).data)["ContentSequence"].is_undefined_length for seed in range(12)}
    assert found == {True, False}


@pytest.mark.parametrize(
    ("kind", "find"),
    [
        ("rtstruct", lambda ds: ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]),
        ("seg", lambda ds: ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]),
        ("sr", lambda ds: ds.ContentSequence[3].ContentSequence[0].ReferencedSOPSequence[0]),
    ],
)
def test_derived_objects_refer_to_their_study(
    many: list[tuple[SynthFile, FileDataset]], kind: str, find: Callable[[Dataset], Dataset]
) -> None:
    """Structure sets, segmentations and reports name an instance that is in the same study."""
    known = {file.sop_instance_uid: dataset for file, dataset in many}
    derived = [dataset for file, dataset in many if file.kind == kind]
    assert derived
    for dataset in derived:
        source = known[find(dataset).ReferencedSOPInstanceUID]
        assert source.StudyInstanceUID == dataset.StudyInstanceUID
        assert source.SOPClassUID == find(dataset).ReferencedSOPClassUID


def test_unknown_names_are_refused() -> None:
    """A kind or transfer syntax that nobody knows is a ConfigError."""
    with pytest.raises(ConfigError):
        make_series("xa")
    with pytest.raises(ConfigError):
        make_series("ct", syntax="mpeg")


def as_list(value: object) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
