"""Faults: each is what its name says, in every transfer syntax."""

from __future__ import annotations

import io
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from dicomflow.synth import CORRUPTIONS, SYNTAXES, SynthFile, iter_files
from dicomflow.synth.corrupt import corrupt_instance
from dicomflow.synth.draw import Draw
from dicomflow.synth.generate import _iter_places
from dicomflow.synth.study import SeriesPlan, StudyPlan
from dicomflow.synth.template import Instance

NATIVE = ("explicit", "implicit", "big-endian")


def make_instance(syntax: str = "explicit", kind: str = "ct") -> Instance:
    series = SeriesPlan(kind=kind, syntax=syntax, number=1, instances=1)
    plan = StudyPlan(seed=1, index=0, patient=1, visit=0, description="Faults", series=(series,))
    return next(_iter_places(plan)).take_apart()


def fault(name: str, instance: Instance, key: int = 0) -> bytes:
    return corrupt_instance(name, instance, Draw("test", key))


def read(data: bytes, *, force: bool = False) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=force)


@pytest.fixture(scope="module")
def files() -> list[SynthFile]:
    return list(iter_files(files=800, seed=6, corrupt=0.25))


def test_each_fault_occurs(files: list[SynthFile]) -> None:
    """All faults occur, about equally often, and the rest of the files are as they should be."""
    counts: dict[str | None, int] = defaultdict(int)
    for file in files:
        counts[file.corruption] += 1
    assert counts.pop(None) == 600
    assert set(counts) == set(CORRUPTIONS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({file.path for file in files}) == len(files)


def test_copies_have_an_intact_original(files: list[SynthFile]) -> None:
    """A duplicate equals an intact file byte by byte; a conflict has its SOP Instance UID and other bytes."""
    intact = {file.sop_instance_uid: file.data for file in files if file.corruption is None}
    for file in files:
        if file.corruption == "duplicate":
            assert file.data == intact[file.sop_instance_uid]
        if file.corruption == "conflict":
            assert file.data != intact[file.sop_instance_uid]
            assert read(file.data).SOPInstanceUID == file.sop_instance_uid


def test_intact_files_have_their_uid_alone(files: list[SynthFile]) -> None:
    """Apart from copies, no SOP Instance UID occurs twice."""
    uids = [file.sop_instance_uid for file in files if file.corruption not in ("duplicate", "conflict")]
    assert len(set(uids)) == len(uids)


def element_ends(instance: Instance) -> list[int]:
    whole = instance.encode()
    ends = [len(whole) - sum(len(raw) for _, raw in instance.elements)]
    for _, raw in instance.elements:
        ends.append(ends[-1] + len(raw))
    return ends


@pytest.mark.parametrize("syntax", [*NATIVE, "jpeg-ls", "rle"])
@pytest.mark.parametrize("key", range(8))
def test_truncated_files_are_prefixes(syntax: str, key: int) -> None:
    """A truncated file is a prefix that ends in the header after SOPInstanceUID: at, or not at, an element's end."""
    instance = make_instance(syntax)
    whole, ends = instance.encode(), element_ends(instance)
    uid_end = ends[1 + [tag for tag, _ in instance.elements].index(0x00080018)]
    for name, at_end in [("truncated-header", True), ("truncated-element", False)]:
        data = fault(name, instance, key)
        assert whole.startswith(data)
        assert uid_end <= len(data) < ends[-2]
        assert (len(data) in ends) == at_end


@pytest.mark.parametrize("key", range(8))
def test_truncated_deflated_files_end_in_the_header(key: int) -> None:
    """A deflated file is cut in its stream, before the pixel data."""
    instance = make_instance("deflated", "dx")
    data = fault("truncated-header", instance, key)
    whole = instance.encode()
    assert whole.startswith(data)
    body = b"".join(raw for _, raw in instance.elements)
    start = read(whole).file_meta.FileMetaInformationGroupLength + 132 + 12
    inflated = zlib.decompressobj(-15).decompress(data[start:])
    assert body.startswith(inflated)
    assert len(inflated) < len(body) - len(instance.elements[-1][1])


@pytest.mark.parametrize("name", ["text-file", "empty-file", "random-bytes"])
def test_what_is_not_dicom(name: str) -> None:
    """Text and empty files are none for pydicom; random bytes hide behind DICM."""
    data = fault(name, make_instance())
    if name == "random-bytes":
        assert data[128:132] == b"DICM" and len(data) > 300
        return
    assert (data == b"") == (name == "empty-file")
    with pytest.raises((InvalidDicomError, EOFError)):
        read(data)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_missing_preamble(syntax: str) -> None:
    """Without preamble the file begins with group 0002; without file meta, a native one begins with group 0008."""
    instance = make_instance(syntax)
    data = fault("no-preamble", instance)
    assert data == instance.encode()[132:]
    assert read(data, force=True).SOPInstanceUID == instance.sop_instance_uid
    bare = fault("no-file-meta", instance)
    first = b"\0\x08" if syntax == "big-endian" else b"\x08\0"
    assert bare[:2] == (first if syntax in NATIVE else b"\x02\0")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_lying_transfer_syntax(syntax: str) -> None:
    """File meta names another syntax and the data set is unchanged; deflated is declared of a data set that is not."""
    instance = make_instance(syntax)
    data = fault("lying-syntax", instance)
    body = b"".join(raw for _, raw in instance.elements)
    meta = read(data[: -len(body)]).file_meta
    assert (meta.TransferSyntaxUID == SYNTAXES[syntax].uid) == (syntax == "deflated")
    assert data.endswith(body)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_missing_uid(syntax: str) -> None:
    """The SOP Instance UID is missing in the data set, or in the file meta too."""
    instance = make_instance(syntax)
    without, meta_only = (read(fault(name, instance)) for name in ("no-sop-instance-uid", "uid-in-file-meta"))
    assert "SOPInstanceUID" not in without and "SOPInstanceUID" not in meta_only
    assert "MediaStorageSOPInstanceUID" not in without.file_meta
    assert meta_only.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid


@pytest.mark.parametrize("syntax", [*NATIVE, "deflated", "rle"])
@pytest.mark.parametrize(
    ("name", "keyword", "is_bad"),
    [
        ("bad-ds", "PatientWeight", lambda raw: raw.strip() in (b"1,5", b"@", b"nan", b"12.3456789012345678")),
        ("bad-is", "InstanceNumber", lambda raw: raw.strip() in (b"4.1", b"1e3", b"F")),
        ("bad-da", "StudyDate", lambda raw: raw.strip() in (b"20200230", b"00000000", b"2020")),
        ("bad-tm", "StudyTime", lambda raw: raw.strip() in (b"240000", b"235960", b"1:2")),
        ("bad-uid", "FrameOfReferenceUID", lambda raw: len(raw) > 64 or raw.rstrip(b"\0") in (b"1.02..3", b"N/A")),
        ("bad-us", "Rows", lambda raw: len(raw) == 3),
    ],
)
def test_bad_values(syntax: str, name: str, keyword: str, is_bad: Callable[[bytes], bool]) -> None:
    """One element has a value that its VR forbids; every other element is as it was."""
    instance = make_instance(syntax)
    good = read(instance.encode())
    for key in range(4):
        bad = read(fault(name, instance, key))
        assert is_bad(bad.get_item(keyword).value)
        assert list(bad.keys()) == list(good.keys())
        changed = [tag for tag in list(good.keys()) if bad.get_item(tag).value != good.get_item(tag).value]
        assert [pydicom.datadict.keyword_for_tag(tag) for tag in changed] == [keyword]


def test_undeclared_charset() -> None:
    """PatientName is UTF-8, and SpecificCharacterSet is absent."""
    dataset = read(fault("undeclared-utf8", make_instance()))
    assert "SpecificCharacterSet" not in dataset
    assert dataset.get_item("PatientName").value.decode("utf-8").strip() == "Ñandú^Zoë"


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("kind", ["sr", "rtstruct", "us", "seg", "mr-long"])
def test_every_fault_fits_every_kind(name: str, kind: str) -> None:
    """A fault can be put into any kind, and the same draws give the same bytes."""
    instance = make_instance("explicit", kind)
    assert fault(name, instance) == fault(name, instance)
    assert (fault(name, instance) == instance.encode()) == (name == "duplicate")
