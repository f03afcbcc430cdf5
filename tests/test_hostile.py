"""A ladder of inputs made to exhaust a reader: each ends in a row or its documented outcome, in bounded memory.

Large ones are read in a process of their own (``tests.hostile``), where nothing but the reading counts.
"""

import struct

import pytest

from dicomflow.errors import Code, Status
from dicomflow.header.reader import COMPILED
from dicomflow.header.vr import KNOWN_VRS
from tests.dicom_bytes import BIG, EXPLICIT, IMPLICIT, SYNTAX, element, file, item, sequence
from tests.hostile import (
    AFTER,
    IMPLICIT_KEY,
    KEY,
    MILLION,
    UNWANTED,
    WANTED,
    bomb,
    implicit_file,
    many_items,
    nested,
    read_alone,
)
from tests.scanning import read_one
from tests.segmentation import FRAMES, SEGMENTS, make_segmentation

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

MIB = 1 << 20
OWN = """
profile: own
extends: standard
columns:
  - {name: Shared, path: SharedFunctionalGroupsSequence, vr: SQ}
  - {name: Position, path: "PerFrameFunctionalGroupsSequence[11999].PlanePositionSequence[0].ImagePositionPatient"}
  - name: Source
    path: "PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID"
  - {name: Csa, private: {creator: "SIEMENS CSA HEADER", group: 0x0029, element: 0x08}, vr: LO}
"""
OK, PARTIAL, FAILED = str(Status.OK), str(Status.PARTIAL), str(Status.FAILED)
DEPTH, ELEMENTS = (PARTIAL, str(Code.LIMIT_DEPTH)), (PARTIAL, str(Code.LIMIT_ELEMENTS))


@pytest.fixture
def own(tmp_path):
    """The standard profile, a sequence as JSON, paths into items, and a private element."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN, "utf-8")
    return str(path)


def outcomes(read):
    """Status and code of each file."""
    return {name: (one.status, one.code) for name, one in read.items()}


def peak(read):
    """The most memory that reading these files took."""
    return max(one.peak for one in read.values())


# ---- nesting ---------------------------------------------------------------------------------------------------------


def test_nesting_100_000_deep(tmp_path, own):
    """Defined lengths are skipped (and are no JSON); undefined ones have to be walked, and end at the depth limit."""
    files, expected = {}, {}
    for encoding, key in ((EXPLICIT, KEY), (IMPLICIT, IMPLICIT_KEY)):
        for tag in (WANTED, UNWANTED):
            for defined in (True, False):
                name = f"{'implicit' if encoding.implicit else 'explicit'}-{tag:08X}-{defined}"
                body = nested(100_000, tag, defined=defined, encoding=encoding)
                pixels = element(0x7FE00010, "OW", bytes(16), encoding)
                files[name] = file(key + body + pixels, syntax=SYNTAX[encoding])
                expected[name] = (OK, None) if defined else DEPTH
    read = read_alone(tmp_path, files, own)
    assert outcomes(read) == expected
    assert peak(read) < 64 * MIB
    for name, one in read.items():
        assert one.row["SOPInstanceUID"] == "1.2.3" and one.row["Shared"] is None
        issues = [(issue["path"], issue["code"]) for issue in one.row["issues"] or []]
        assert issues == ([("Shared", "out_of_range")] if name.endswith("52009229-True") else [])


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("depth", [63, 64, 65])
def test_the_depth_limit_is_exact(encoding, depth):
    """Sixty-four sequences inside each other are read, one more is not."""
    key = element(0x00080018, "UI", b"1.2.3\0", encoding)
    body = b""
    for _ in range(depth):
        body = sequence(UNWANTED, [item(body, encoding, defined=False)], encoding, defined=False)
    read = read_one(file(key + body, syntax=SYNTAX[encoding]), "Modality")
    assert read.code == (None if depth <= 64 else Code.LIMIT_DEPTH)


# ---- lengths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFE])
@pytest.mark.parametrize("vr", sorted(KNOWN_VRS))
def test_lengths_of_gigabytes_in_every_vr(vr, length):
    """The file ends inside the element: said so, no value cut short, and what came before is kept."""
    for encoding, key in ((IMPLICIT, IMPLICIT_KEY), (EXPLICIT, KEY)):
        for tag in (0x00091001, 0x00204000):  # one that no column wants, and ImageComments
            head = element(tag, vr, b"", encoding)
            size = length if len(head) == 12 or encoding.implicit else 0xFFFE
            lied = element(tag, vr, b"abcd", encoding, length=size)
            data = file(key + lied, syntax=SYNTAX[encoding])
            read = read_one(data, "ImageComments")
            assert (read.code, read.outcome.offset) == (Code.TRUNCATED, len(data) - len(lied))
            assert read.raw("ImageComments") is None and read.raw("SOPInstanceUID") == b"1.2.3\0"


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFE])
@pytest.mark.parametrize("tag", [WANTED, UNWANTED])
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
def test_items_of_gigabytes(encoding, tag, length):
    """In a sequence of undefined length the file ends inside the item; in one of defined length the item is too long."""
    key = element(0x00080018, "UI", b"1.2.3\0", encoding)
    lied = struct.pack((">" if encoding.big_endian else "<") + "HHI", 0xFFFE, 0xE000, length) + bytes(8)
    path = "SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing"
    for size, code in ((0xFFFFFFFF, Code.TRUNCATED), (len(lied), Code.BAD_LENGTH if tag == WANTED else None)):
        sq = element(tag, "SQ", lied, encoding, length=size)
        read = read_one(file(key + sq, syntax=SYNTAX[encoding]), path)
        assert (read.code, read.raw(path)) == (code, None)


def test_lengths_of_gigabytes_take_no_memory(tmp_path):
    """A buffer is as long as the file, not as the length says."""
    lengths = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE)
    files = {f"{length}": implicit_file(element(0x00280030, "DS", b"1\\1 ", IMPLICIT, length)) for length in lengths}
    read = read_alone(tmp_path, files)
    assert outcomes(read) == dict.fromkeys(files, (PARTIAL, str(Code.TRUNCATED)))
    assert peak(read) < 64 * MIB
    assert all(one.row["PixelSpacing"] is None for one in read.values())


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_a_million_of_anything(tmp_path, own):
    """Elements, repeated tags, private creators, items: counted, up to the limit of two million."""
    creator = element(0x00290010, "LO", b"SIEMENS CSA HEADER") + element(0x00291008, "LO", b"IMAGE NUM 4 ")
    modality = element(0x00080060, "CS", b"CT") * (MILLION - 1) + element(0x00080060, "CS", b"MR")
    files = {
        "elements": KEY + element(0x00091001, "LO") * MILLION,
        "too-many": KEY + element(0x00091001, "LO") * 3 * MILLION,
        "repeated": KEY + modality,
        "creators": KEY + element(0x00290010, "LO", b"SOMEBODY") * MILLION + creator,
    }
    expected = dict.fromkeys(files, (OK, None)) | {"too-many": ELEMENTS}
    for tag in (WANTED, UNWANTED):
        for defined in (True, False):
            name = f"items-{tag:08X}-{defined}"
            files[name] = KEY + many_items(tag, MILLION, defined=defined)
            expected[name] = (OK, None)
    read = read_alone(tmp_path, {name: file(data + AFTER) for name, data in files.items()}, own)
    assert outcomes(read) == expected
    assert peak(read) < 256 * MIB
    assert read["repeated"].row["Modality"] == "MR"
    assert read["creators"].row["Csa"] == "IMAGE NUM 4"


def test_a_million_sequences(tmp_path):
    """One item each; a sequence that a column enters may be repeated, but not a million times over."""
    files = {}
    for tag in (WANTED, UNWANTED):
        for defined in (True, False):
            one = sequence(tag, [item(defined=defined)], defined=defined)
            files[f"{tag:08X}-{defined}"] = file(KEY + one * MILLION + AFTER)
    read = read_alone(tmp_path, files)
    assert outcomes(read) == dict.fromkeys(files, ELEMENTS) | {f"{UNWANTED:08X}-True": (OK, None)}
    assert peak(read) < 256 * MIB
    assert all(one.row["SOPInstanceUID"] == "1.2.3" for one in read.values())


# ---- values ----------------------------------------------------------------------------------------------------------

BACKSLASHES = {0x00080008: "ImageType", 0x00080020: "StudyDate", 0x00080030: "StudyTime", 0x00200013: "InstanceNumber",
               0x00280030: "PixelSpacing"}  # fmt: skip


def test_values_of_a_million_items(tmp_path):
    """Nothing but backslashes, or bad items between them: no value, one row, issues in bounded number."""
    files = {}
    for tag, keyword in BACKSLASHES.items():
        for name, text in (("empty", b"\\" * MILLION), ("bad", b"x\\" * (MILLION // 10))):
            value = element(tag, "", text, IMPLICIT)
            body = value + IMPLICIT_KEY if tag < 0x00080018 else IMPLICIT_KEY + value
            files[f"{keyword}-{name}"] = file(body, syntax=SYNTAX[IMPLICIT])
    read = read_alone(tmp_path, files)
    assert outcomes(read) == dict.fromkeys(files, (OK, None))
    assert peak(read) < 256 * MIB
    for name, one in read.items():
        value = one.row[name.partition("-")[0]]
        if name != "ImageType-bad":  # a CS may be "x"
            assert value is None or not any(value), name
        assert len(one.row["issues"] or []) <= 100, name


def test_a_charset_of_100_kb(tmp_path):
    """Terms without end in SpecificCharacterSet: the names are read all the same."""
    terms = element(0x00080005, "CS", b"ISO 2022 IR 87\\" * 6826, IMPLICIT)
    name = element(0x00100010, "PN", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", IMPLICIT)
    read = read_alone(tmp_path, {"x": file(terms + IMPLICIT_KEY + name, syntax=SYNTAX[IMPLICIT])})
    assert outcomes(read) == {"x": (OK, None)}
    assert read["x"].row["PatientName"].startswith("Yamada^Tarou=山田^太郎")
    assert peak(read) < 64 * MIB


# ---- bombs -----------------------------------------------------------------------------------------------------------

GIGABYTES = 4 << 30


def test_bombs_of_zeros_end_at_the_element_limit(tmp_path):
    """Four gigabytes of zeros in four megabytes: empty elements, counted like all others."""
    files = {"zeros": bomb(b"", GIGABYTES), "good": bomb(KEY + element(0x00080060, "CS", b"MR"), GIGABYTES)}
    read = read_alone(tmp_path, files)
    assert outcomes(read) == {"zeros": (FAILED, str(Code.LIMIT_ELEMENTS)), "good": ELEMENTS}
    assert read["good"].row["Modality"] == "MR"
    assert peak(read) < 256 * MIB


@pytest.mark.parametrize("tag", [0x00091001, 0x00204000])
def test_a_bomb_inside_a_value_is_no_row(tmp_path, tag):
    """It begins like a good header, and inflates to more than allowed before that value ends."""
    value = element(tag, "UT", b"", length=0xF0000000)
    read = read_alone(tmp_path, {"x": bomb(KEY + value, GIGABYTES)})
    assert outcomes(read) == {"x": (FAILED, str(Code.LIMIT_INFLATED_BYTES))}
    assert peak(read) < 800 * MIB  # three times header.max_inflated_bytes


# ---- a large segmentation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defined", [True, False])
def test_a_segmentation_of_12_000_frames(tmp_path, own, defined):
    """Megabytes of functional groups are walked by, and the last frame is found, in a fraction of 300 MB."""
    data = make_segmentation(defined=defined)
    (read,) = read_alone(tmp_path, {"seg": data}, own).values()
    assert (read.status, read.code) == (OK, None)
    assert read.peak < 64 * MIB and read.process < 300_000_000
    row = read.row
    assert (row["Modality"], row["NumberOfFrames"], row["PixelSpacing"]) == ("SEG", FRAMES, [0.703125, 0.703125])
    assert row["Position"] == [-180.0, -180.0, -600 + 1.25 * ((FRAMES - 1) // SEGMENTS)]
    assert row["Source"] == "1.2.826.0.1.3680043.10.511.3.4.0" and row["header_bytes"] > 5_000_000
    assert row["issues"] is None


def test_the_segmentation_is_what_pydicom_reads(tmp_path):
    """The generator writes DICOM: the same values by pydicom, and both layouts are one."""
    pydicom = pytest.importorskip("pydicom")
    for defined in (True, False):
        path = tmp_path / "seg.dcm"
        path.write_bytes(make_segmentation(frames=120, defined=defined))
        dataset = pydicom.dcmread(path)
        groups = dataset.PerFrameFunctionalGroupsSequence
        assert len(groups) == 120 == dataset.NumberOfFrames and len(dataset.SegmentSequence) == SEGMENTS
        last = groups[-1]
        assert last.SegmentIdentificationSequence[0].ReferencedSegmentNumber == SEGMENTS
        assert last.FrameContentSequence[0].DimensionIndexValues == [SEGMENTS, 2]
        source = last.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert len(dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 2
