"""The DICOM JSON Model: rules of PS3.18 annex F on literals; tests/oracle holds it against pydicom's to_json_dict."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dicomflow.errors import IssueCode
from dicomflow.header.dicom_json import decode_sequence, to_dicom_json
from dicomflow.header.element import Element
from dicomflow.header.tree import read_tree
from dicomflow.model import RawValue

ITEM = b"\xfe\xff\x00\xe0"
MR = b"\x08\x00\x60\x00CS\x02\x00MR"
IMPLICIT_MR = b"\x08\x00\x60\x00\x02\x00\x00\x00MR"


def json_of(value, vr, charset=None, **rest):
    """JSON of one element."""
    element = Element(tag=0x00091001, vr=vr, value=value, offset=0, length=0, charset=charset)
    return to_dicom_json([element], **rest)["00091001"]


@pytest.mark.parametrize(
    ("raw", "vr", "values"),
    [
        (b"A\\\\C ", "CS", ["A", None, "C"]),
        (b"a\\b ", "LT", ["a\\b"]),
        (b"1.50\\x\\nan", "DS", [1.5, "x", "nan"]),
        (b"12\\4.1\\1.0", "IS", [12, "4.1", 1]),
        (b"\x18\0\x63\x10", "AT", ["00181063"]),
        (struct.pack("<2h", -1, 2), "SS", [-1, 2]),
        (struct.pack("<Q", 2**63), "UV", [2**63]),
        (
            struct.pack("<4d", 1.5, float("nan"), float("inf"), float("-inf")),
            "FD",
            [1.5, "NaN", "Infinity", "-Infinity"],
        ),
        (
            b"A^B=C=D\\=E\\\\F",
            "PN",
            [
                {"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"},
                {"Ideographic": "E"},
                None,
                {"Alphabetic": "F"},
            ],
        ),
        (b"20200131", "DA", ["20200131"]),
    ],
)
def test_values(raw, vr, values):
    """Each VR is written as PS3.18 table F.2.3-1 says; a number that is none stays text."""
    assert json_of(raw, vr) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", ["CS", "DS", "PN", "US", "AT", "OB", "UN", "UT"])
def test_empty_elements_have_only_a_vr(vr):
    """PS3.18 F.2.5."""
    assert json_of(b"", vr) == {"vr": vr}
    assert json_of((), "SQ") == {"vr": "SQ"}


def test_a_name_without_groups_is_empty():
    """Delimiters alone are no value (PS3.18 F.2.5), and no object without members among others."""
    assert json_of(b"==", "PN") == {"vr": "PN"}
    assert json_of(b"=\\A ", "PN") == {"vr": "PN", "Value": [None, {"Alphabetic": "A"}]}


def test_binary():
    """Inline up to the limit; beyond it, and where no writer knows the VR, nothing is pretended."""
    assert json_of(b"\1\2", "OB") == {"vr": "OB", "InlineBinary": "AQI="}
    assert json_of(b"\1\2\3", "OW", inline_limit=2) == {"vr": "OW", "length": 3}
    assert json_of(b"\1\2", "ZZ") == {"vr": "UN", "InlineBinary": "AQI="}
    assert json_of(b"\1\2\3", "US") == {"vr": "UN", "InlineBinary": "AQID"}


def test_group_lengths_are_left_out_and_tags_ascend():
    """PS3.18 F.2.2."""
    elements = [
        Element(tag=tag, vr="UL", value=b"", offset=0, length=0) for tag in (0x00100020, 0x00080000, 0x00080060)
    ]
    assert list(to_dicom_json(elements)) == ["00080060", "00100020"]


def test_charset_is_decoded():
    """Text is Unicode in JSON, whatever the file has."""
    assert json_of(b"M\xfcller", "LO", b"ISO_IR 100") == {"vr": "LO", "Value": ["Müller"]}


@pytest.mark.parametrize("implicit", [None, False])
@pytest.mark.parametrize("delimiter", [b"", b"\xfe\xff\xdd\xe0\0\0\0\0"])
def test_sequence_text(implicit, delimiter):
    """A sequence column holds the JSON of its items, an empty item being an empty object."""
    raw = ITEM + struct.pack("<I", len(MR)) + MR + ITEM + b"\0\0\0\0" + delimiter
    assert (
        decode_sequence(RawValue(raw, "SQ"), implicit=implicit).value == '[{"00080060":{"vr":"CS","Value":["MR"]}},{}]'
    )


@pytest.mark.parametrize(("vr", "implicit"), [("SQ", True), ("SQ", None), ("UN", None), ("UN", False)])
def test_implicit_sequence_text(vr, implicit):
    """Implicit items are read as such, declared or not, also in UN of a big-endian file."""
    raw = ITEM + struct.pack("<I", len(IMPLICIT_MR)) + IMPLICIT_MR
    value = RawValue(raw, vr, big_endian=vr == "UN")
    assert json.loads(decode_sequence(value, implicit=implicit).value) == [{"00080060": {"vr": "CS", "Value": ["MR"]}}]


def test_an_implicit_length_that_looks_like_a_vr():
    """0x00004344 is ``DC`` and two zeros: no VR, so the items are read as implicit."""
    content = b"\x08\x00\x60\x00" + struct.pack("<I", 0x4344) + b"M" * 0x4344
    raw = ITEM + struct.pack("<I", len(content)) + content
    assert json.loads(decode_sequence(RawValue(raw, "SQ")).value) == [
        {"00080060": {"vr": "CS", "Value": ["M" * 0x4344]}}
    ]


def test_empty_and_broken_sequences():
    """No items are null; a sequence that cannot be walked is null with an issue."""
    assert decode_sequence(RawValue(b"", "SQ")) == (None, ())
    broken = RawValue(ITEM + b"\xff\0\0\0" + MR, "SQ")
    assert decode_sequence(broken) == (None, ((IssueCode.BAD_VALUE, broken.raw[:32].hex()),))


@given(st.binary(max_size=200), st.sampled_from([b"", MR, ITEM + b"\xff\xff\xff\xff" + MR]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_valid_json(data, start):
    """Whatever was read can be written as strict JSON."""
    json.dumps(to_dicom_json(read_tree(start + data).elements), allow_nan=False)
    text = decode_sequence(RawValue(start + data, "SQ")).value
    assert text is None or json.loads(text)


def test_pydicom_reads_it_back():
    """What is written is the DICOM JSON Model: pydicom loads it."""
    header = read_tree(MR + b"\x10\x00\x10\x00PN\x04\x00A^B=" + b"\x28\x00\x30\x00DS\x08\x000.5\\0.25")
    dataset = Dataset.from_json(json.dumps(to_dicom_json(header.elements)))
    assert (dataset.Modality, str(dataset.PatientName), list(dataset.PixelSpacing)) == ("MR", "A^B", [0.5, 0.25])
