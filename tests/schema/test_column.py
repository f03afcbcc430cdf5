"""Columns: paths as text, and types as the dictionary says."""

import pyarrow as pa
import pytest

from dicomflow.errors import ConfigError
from dicomflow.schema.column import ARROW_TYPES, MAX_PATH_STEPS, Step, make_column, parse_path


def test_paths_are_parsed_step_by_step():
    """Keywords, items, private elements with dots and spaces in the creator."""
    assert parse_path("ReferencedImageSequence[2].PatientID") == (Step(0x00081140, 2), Step(0x00100020))
    assert parse_path('(0019,"A.B C",0c)[0].CodeValue') == (Step(0x0019000C, 0, "A.B C"), Step(0x00080100))


@pytest.mark.parametrize(
    "text",
    ["", "patientID", "PatientID.", ".PatientID", "PatientID\n", "Nothing", "(0018,\"A\",0C)", '(0019,"",0C)', "(0019,A,0C)",
     '(0019,"A",10C)', "ReferencedImageSequence[-1].PatientID", "ReferencedImageSequence[1234567].PatientID", "PatientID[0]",
     ".".join(["ReferencedImageSequence[0]"] * MAX_PATH_STEPS + ["PatientID"])],
)  # fmt: skip
def test_what_is_no_path_is_refused(text):
    """With the path in the message."""
    with pytest.raises(ConfigError, match="path"):
        parse_path(text)


@pytest.mark.parametrize(
    ("name", "arrow"),
    [
        ("PatientID", pa.string()),
        ("StudyDate", pa.date32()),
        ("StudyTime", pa.time64("us")),
        ("AcquisitionDateTime", pa.timestamp("us")),
        ("PixelSpacing", pa.list_(pa.float64())),
        ("InstanceNumber", pa.int64()),
        ("Rows", pa.int32()),
        ("ImageType", pa.list_(pa.string())),
        ("ReferencedImageSequence", pa.string()),
        ("FrameIncrementPointer", pa.list_(pa.string())),
        ("ImageComments", pa.string()),
        ("RecommendedDisplayFrameRateInFloat", pa.float32()),
        ("PatientComments", pa.string()),
    ],
)
def test_types_follow_vr_and_vm(name, arrow):
    """VM 1 is a scalar, all else a list; texts that are never split are scalars."""
    assert make_column(name).arrow_type == arrow


def test_bulk_data_is_no_column():
    """OB, OW and their like, and VRs that nobody defines."""
    for vr, reason in (("OB", "bulk"), ("OW", "bulk"), ("UN", "bulk"), ("ZZ", "is none")):
        assert vr not in ARROW_TYPES
        with pytest.raises(ConfigError, match=reason):
            make_column("PatientID", vr=vr)


def test_an_element_by_its_tag():
    """Attributes of repeating groups have no keyword that says which group; the dictionary types them all the same."""
    rows = make_column("FirstOverlayRows", ("(6002,0010)",))
    assert (rows.paths, rows.vr, rows.many) == (((Step(0x60020010),),), "US", False)
    assert make_column("X", ("(0008,1140)[*].(0008,1155)",)).vr == "UI"
    assert make_column("Unknown", ("(0008,9999)",), vr="LO").arrow_type == pa.string()
    with pytest.raises(ConfigError, match="needs a vr"):
        make_column("Unknown", ("(0008,9999)",))
    with pytest.raises(ConfigError, match="by its creator"):
        make_column("Private", ("(0009,1001)",), vr="LO")


@pytest.mark.parametrize("path", ["(7FE0,0010)", "DigitalSignaturesSequence", '(7FE1,"GE",01)'])
def test_what_lies_behind_the_header_is_refused(path):
    """A column that could never have a value is a mistake."""
    with pytest.raises(ConfigError, match="headers end before"):
        make_column("X", (path,), vr="LO")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("PatientName[0].PatientID", "no sequence"),
        ("(6000,0010)[0].Rows", "no sequence"),
        ("AffectedSOPClassUID", "no group 0000"),
        ("OverlayRows", r"write its tag, such as \(6000,0010\)"),
        ("PerFrameFunctionalGroupSequence[*].Rows", "did you mean 'PerFrameFunctionalGroupsSequence'"),
    ],
)
def test_paths_that_lead_nowhere_are_refused(path, reason):
    """With what may have been meant."""
    with pytest.raises(ConfigError, match=reason):
        parse_path(path)


def test_creators_may_hold_dots_and_parentheses():
    """And padding, which means nothing."""
    assert parse_path('(0019,"A.B (C) ",0C)[0].CodeValue')[0] == Step(0x0019000C, 0, "A.B (C)")


@pytest.mark.parametrize("vm", ["one", "n-1", "", "1-", "0x1"])
def test_a_vm_that_is_none_is_refused(vm):
    """And not taken for a list."""
    with pytest.raises(ConfigError, match="multiplicity"):
        make_column("PatientID", vm=vm or "-")
