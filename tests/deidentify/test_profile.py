"""PS3.15 Table E.1-1 as data."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from dicomflow.deidentify.profile import OPTIONS, TECHNICAL_TEXTS, Action, default_action, find_entry
from dicomflow.dictionary import entry_for_keyword, entry_for_tag

CODES = {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}


def read_rows() -> list[dict[str, str]]:
    text = (resources.files("dicomflow.deidentify") / "profile.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_row_is_sound() -> None:
    """655 rows, each tag once, its keyword that of the dictionary, codes of the standard."""
    rows = read_rows()
    assert len(rows) == len({row["tag"] for row in rows}) == 655
    for row in rows:
        assert row["basic"] in CODES
        assert {row[name] for name in OPTIONS} <= {"", "K", "C"}
        if "X" not in row["tag"] and (entry := entry_for_tag(int(row["tag"], 16))):
            assert entry.keyword == row["keyword"]


@pytest.mark.parametrize(
    ("keyword", "code", "action"),
    [
        ("PatientName", "Z", Action.EMPTY),
        ("PatientID", "Z/D", Action.EMPTY),
        ("PatientAge", "X", Action.DROP),
        ("StudyInstanceUID", "U", Action.UID),
        ("SeriesDate", "X/D", Action.DROP),
        ("AcquisitionDateTime", "X/Z/D", Action.DROP),
        ("ContentDate", "Z/D", Action.EMPTY),
        ("ContentSequence", "D", Action.DUMMY),
        ("ReferencedImageSequence", "X/Z/U*", Action.KEEP),
    ],
)
def test_a_combined_code_is_its_first(keyword: str, code: str, action: Action) -> None:
    """The one that removes most; a sequence of references is entered."""
    entry = entry_for_keyword(keyword)
    assert entry is not None
    found = find_entry(entry.tag)
    assert found is not None and (found.code, found.action) == (code, action)


def test_repeating_groups() -> None:
    """Comments and data of every overlay, whatever is in a curve."""
    assert find_entry(0x60024000) and find_entry(0x60FE3000) and find_entry(0x50021234)
    assert find_entry(0x60020010) is None and find_entry(0x00280010) is None


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("Rows", Action.KEEP),
        ("Modality", Action.KEEP),
        ("Manufacturer", Action.KEEP),
        ("SegmentLabel", Action.DROP),
        ("PatientBirthDateInAlternativeCalendar", Action.DROP),
        ("SegmentDescription", Action.DROP),
        ("TextValue", Action.DROP),
        ("EvaluatorName", Action.DROP),
        ("SourceApplicationEntityTitle", Action.DROP),
        ("RetrieveURL", Action.DROP),
        ("ProcedureCreationDate", Action.DROP),
        ("SOPClassUID", Action.REGISTERED),
        ("SharedFunctionalGroupsSequence", Action.KEEP),
    ],
)
def test_what_the_table_does_not_name(keyword: str, action: Action) -> None:
    """Numbers and codes stay; no free text, no name, no address, no date does."""
    entry = entry_for_keyword(keyword)
    assert entry is not None and find_entry(entry.tag) is None
    assert default_action(entry.tag, dates=Action.DROP) is action


def test_technical_texts_are_attributes_outside_of_the_table() -> None:
    """Each is an LO or SH that the table does not name."""
    for keyword in TECHNICAL_TEXTS:
        entry = entry_for_keyword(keyword)
        assert entry is not None and set(entry.vrs) <= {"LO", "SH"} and find_entry(entry.tag) is None, keyword


def test_unknown_tags_are_dropped() -> None:
    """What no dictionary knows may be anything."""
    assert default_action(0x00080003, dates=Action.KEEP) is Action.DROP
