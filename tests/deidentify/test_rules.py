"""What happens to an attribute, and to a column."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dicomflow.deidentify.profile import Action
from dicomflow.deidentify.rules import make_rules
from dicomflow.dictionary import entry_for_keyword
from dicomflow.errors import ConfigError
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.column import make_column, parse_path
from dicomflow.schema.profile import Profile, load_profile


def action(keyword: str, *retain: str, **own: str) -> Action:
    entry = entry_for_keyword(keyword)
    assert entry is not None
    return make_rules(retain, own).for_attribute(entry.tag)


def field(name: str, *paths: str, vr: str | None = None) -> pa.Field:
    return instances_schema(Profile("p", (make_column(name, paths, vr=vr),))).field(0)


@pytest.mark.parametrize(
    ("keyword", "retain", "expected"),
    [
        ("PatientID", (), Action.HASH),
        ("AccessionNumber", (), Action.HASH),
        ("PatientSex", (), Action.EMPTY),
        ("PatientSex", ("patient",), Action.KEEP),
        ("StationName", ("device",), Action.KEEP),
        ("StationName", ("patient",), Action.DROP),
        ("InstitutionName", ("institution",), Action.KEEP),
        ("SOPInstanceUID", ("uids",), Action.KEEP),
        ("StudyDate", ("full_dates",), Action.KEEP),
        ("StudyDate", ("modified_dates",), Action.SHIFT),
        ("StudyTime", ("modified_dates",), Action.KEEP),
        ("AcquisitionDateTime", ("modified_dates",), Action.SHIFT),
        ("PatientBirthDate", ("full_dates",), Action.EMPTY),
        ("PatientBirthDate", ("modified_dates",), Action.EMPTY),
        ("TimezoneOffsetFromUTC", ("modified_dates",), Action.DROP),
        ("ProcedureCreationDate", ("modified_dates",), Action.SHIFT),
        ("ContentSequence", (), Action.DROP),
        ("Allergies", ("patient",), Action.DROP),
    ],
)
def test_profile_and_options(keyword: str, retain: tuple[str, ...], expected: Action) -> None:
    """K keeps, C moves a date; a text under C would have to be cleaned by somebody who understands it, and goes."""
    assert action(keyword, *retain) is expected


def test_rules_of_ones_own_come_first() -> None:
    """By keyword, by tag, by creator."""
    assert action("StudyDescription", StudyDescription="keep") is Action.KEEP
    rules = make_rules(own={"(0008,103E)": "hash", '(0019,"SIEMENS MR HEADER",0C)': "keep", "source_uri": "keep"})
    assert rules.for_attribute(0x0008103E) is Action.HASH
    assert rules.for_attribute(0x0019000C, "SIEMENS MR HEADER") is Action.KEEP
    assert rules.for_attribute(0x0019000C, "OTHER") is Action.DROP
    assert rules.for_column(pa.field("source_uri", pa.string())) is Action.KEEP


SHARED = "SharedFunctionalGroupsSequence[0]"


def test_times_can_be_left_out() -> None:
    """Then no DT stays either: it would be a time that nobody measured."""
    rules = make_rules(["modified_dates"], keep_times=False)
    assert [rules.for_attribute(tag) for tag in (0x00080020, 0x00080030, 0x0008002A)] == [
        Action.SHIFT, Action.DROP, Action.DROP,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (field("Rows"), Action.KEEP),
        (field("Rows", "PatientComments"), Action.DROP),
        (field("Rows", "Rows", "PatientName", vr="LT"), Action.DROP),
        (field("PatientName"), Action.EMPTY),
        (field("Both", "Modality", "PatientSex"), Action.EMPTY),
        (field("Deep", "ContentSequence[0].Modality"), Action.DROP),
        (field("Deep", "SharedFunctionalGroupsSequence[0].Rows"), Action.KEEP),
        (field("Deep", "SharedFunctionalGroupsSequence[*].RequestAttributesSequence[0].Rows"), Action.DROP),
        (field("Reference", "ReferencedImageSequence[0].ReferencedSOPInstanceUID"), Action.UID),
        (field("Text", "Rows", vr="UT"), Action.DROP),
        (
            field("EchoTime", "EchoTime", f"{SHARED}.MREchoSequence[0].EffectiveEchoTime", vr="DS"),
            Action.KEEP,
        ),  # DS and FD
        (field("XRayTubeCurrent", f"{SHARED}.CTExposureSequence[0].XRayTubeCurrentInmA", vr="IS"), Action.KEEP),
        (field("Weight", "Rows", "PatientWeight", vr="US"), Action.DROP),  # named by the table
        (field("Number", "Modality", vr="US"), Action.DROP),
        (field("Number", "PixelPaddingValue", vr="FD"), Action.KEEP),  # US or SS
        (field("Number", "LUTData", vr="US"), Action.DROP),  # numbers, or bytes
        (field("Private", '(0019,"X",0C)', vr="DS"), Action.DROP),
        (field("Unknown", "(0008,0003)", vr="LO"), Action.DROP),
        (pa.field("Rows", pa.int32()), Action.DROP),
        (pa.field("status", pa.string()), Action.KEEP),
        (pa.field("status", pa.string(), metadata=field("PatientID").metadata), Action.HASH),
        (pa.field("source_uri", pa.string()), Action.DROP),
        (pa.field("issues", pa.string()), Action.DROP),
        (pa.field("x", pa.string(), metadata={"dicom.paths": "NoSuchKeyword", "dicom.vr": "LO"}), Action.DROP),
    ],
)
def test_a_column_is_as_strict_as_any_tag_of_its_paths(column: pa.Field, expected: Action) -> None:
    """Names do not count; what is not understood is dropped."""
    assert make_rules().for_column(column) is expected


def test_no_column_of_a_profile_is_dropped_for_how_its_numbers_are_written() -> None:
    """What the table says of the attributes themselves is what becomes of the column."""
    rules = make_rules()
    for column in instances_schema(load_profile("standard")):
        paths = (column.metadata or {}).get(b"dicom.paths", b"").decode().split("\n")
        steps = [parse_path(path) for path in paths if path]
        if steps and all(rules.for_attribute(step.tag, step.creator) is Action.KEEP for path in steps for step in path):
            assert rules.for_column(column) is Action.KEEP, column.name


@pytest.mark.parametrize(
    ("own", "loosened"),
    [
        ({}, False),
        ({"StudyDescription": "keep"}, True),
        ({"Modality": "keep"}, False),
        ({"PatientName": "hash"}, False),
        ({"Modality": "drop"}, False),
        ({'(0019,"X",0C)': "keep"}, True),
        ({"source_uri": "keep"}, True),
        ({"PatientBirthDate": "shift"}, True),
    ],
)
def test_who_keeps_more_than_the_profile_claims_nothing(own: dict[str, str], loosened: bool) -> None:
    """A pseudonym where the profile wants nothing or a dummy is no claim less."""
    assert make_rules(own=own).is_loosened is loosened


@pytest.mark.parametrize(
    ("retain", "own", "message"),
    [
        (["dates"], {}, "no option"),
        (["full_dates", "modified_dates"], {}, "exclude"),
        ([], {"PatientNam": "keep"}, "did you mean 'PatientName'"),
        ([], {"PatientName": "remove"}, "no action"),
        ([], {"Rows": "hash"}, "VR US"),
        ([], {"StudyTime": "shift"}, "VR TM"),
        ([], {"ContentSequence": "dummy"}, "sequence"),
        ([], {"source_uri": "hash"}, "kept or dropped"),
        ([], {'(0019,"X"': "keep"}, "private element"),
        ([], {'(0019,"X",0C)': "hash"}, "kept, dropped"),
        ([], {"(0008,0003)": "hash"}, "not in the dictionary"),
    ],
)
def test_what_does_not_fit_is_refused(retain: list[str], own: dict[str, str], message: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(ConfigError, match=message):
        make_rules(retain, own)
