"""Sequences: every element is judged by its tag, at every depth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dicomflow.deidentify.items import ItemCleaner
from dicomflow.deidentify.rules import make_rules
from dicomflow.deidentify.secret import Pseudonyms

NAMES = Pseudonyms(b"0123456789abcdef")


def clean(item: dict[str, Any], *retain: str, days: int | None = None, **own: str) -> Any:
    text = ItemCleaner(make_rules(retain, own), NAMES).clean(json.dumps([item]), days)
    return None if text is None else json.loads(text)[0]


def test_at_every_depth() -> None:
    """A sequence that stays keeps what may stay; one that goes takes all with it."""
    inner = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}, "00280010": {"vr": "US", "Value": [7]}}
    item = {"52009229": {"vr": "SQ", "Value": [inner, {"52009229": {"vr": "SQ", "Value": [inner]}}]}}
    item["0040A730"] = {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [7]}}]}
    kept = {"00100010": {"vr": "PN"}, "00280010": {"vr": "US", "Value": [7]}}
    assert clean(item) == {"52009229": {"vr": "SQ", "Value": [kept, {"52009229": {"vr": "SQ", "Value": [kept]}}]}}


def test_pseudonyms_are_those_of_the_columns() -> None:
    """A reference in a sequence still finds the instance, a patient the patient."""
    item = {"00081155": {"vr": "UI", "Value": ["1.2.3"]}, "00100020": {"vr": "LO", "Value": ["MRN"]}}
    item["00081150"] = {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2", "1.2.3"]}
    assert clean(item) == {
        "00081155": {"vr": "UI", "Value": [NAMES.replace_uid("1.2.3")]},
        "00100020": {"vr": "LO", "Value": [NAMES.replace_identifier(0x00100020, "MRN")]},
        "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2", NAMES.replace_uid("1.2.3")]},
    }


def test_dates_move_with_the_patient() -> None:
    """Whole ones; what is none, or whose patient is not known, is left out."""
    item = {
        "00080020": {"vr": "DA", "Value": ["20240301", "2024.03.01", "Smith", None]},
        "0008002A": {"vr": "DT", "Value": ["20240301101112", "2024"]},
        "00080030": {"vr": "TM", "Value": ["101112.5", "noon"]},
    }
    assert clean(item, "modified_dates", days=-1) == {
        "00080020": {"vr": "DA", "Value": ["20240229", "20240229", None, None]},
        "0008002A": {"vr": "DT", "Value": ["20240229101112.000000", None]},
        "00080030": {"vr": "TM", "Value": ["101112.5", None]},
    }
    assert clean(item, "modified_dates") == {"00080030": {"vr": "TM", "Value": ["101112.5", None]}}
    assert clean({"00080020": {"vr": "DA", "Value": ["00010101"]}}, "modified_dates", days=-1) is None


@pytest.mark.parametrize(
    "element",
    [
        {"00090010": {"vr": "LO", "Value": ["secret"]}},
        {"00080003": {"vr": "LO", "Value": ["secret"]}},
        {"00280010": {"vr": "LO", "Value": ["secret"]}},
        {"00280010": {"vr": "US", "Value": ["secret"]}},
        {"00280010": {"vr": "US", "Value": {"secret": 1}}},
        {"00280030": {"vr": "DS", "Value": ["secret"]}},
        {"00280010": {"vr": "US", "secret": 1, "Value": []}},
        {"00280010": "secret"},
        {"secret": {"vr": "LO", "Value": ["secret"]}},
        {"00282000": {"vr": "OB", "InlineBinary": "secret"}},
        {"00080060": {"vr": "CS", "Value": [{"secret": "secret"}]}},
        {"00081115": {"vr": "SQ", "Value": [{"00081030": {"vr": "LO", "Value": ["secret"]}}]}},
        {"00081115": {"vr": "SQ", "Value": ["secret"]}},
    ],
)
def test_what_is_not_understood_is_left_out(element: dict[str, Any]) -> None:
    """Private, unknown, of another VR, text where a number is due, bulk, what is no element."""
    assert "secret" not in str(clean(element))


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[1]", "null", '"x"', "[" * 100_000, '[{"00280010":{"vr":"FD","Value":[NaN]}}]']
)
def test_what_is_no_list_of_items_is_left_out(text: str) -> None:
    """Never handed on because it could not be read."""
    assert ItemCleaner(make_rules(), NAMES).clean(text, None) is None


def test_dummies_and_names() -> None:
    """A dummy fits the VR; a pseudonym of a name is a name."""
    item = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A", "Ideographic": "B"}]},
        "00100030": {"vr": "DA", "Value": ["20000101"]},
    }
    done = clean(item, PatientName="hash", PatientBirthDate="dummy")
    assert done["00100010"]["Value"][0] == {"Alphabetic": NAMES.replace_identifier(0x00100010, "A=B")}
    assert done["00100030"]["Value"] == ["19000101"]


def test_half_a_character_is_left_out() -> None:
    """JSON can escape a lone surrogate; no file can hold it as text."""
    cleaner = ItemCleaner(make_rules(), Pseudonyms(b"0123456789abcdef"))
    assert cleaner.clean('[{"00080060":{"vr":"CS","Value":["\\ud800"]}}]', None) is None


def test_a_code_has_the_form_of_one() -> None:
    """PS3.5 6.2: upper case, digits, space, underscore, at most 16; all else may be free text, and is left out and counted."""
    values = ["HEAD_FIRST 2", "Doe, John", "DOE-JOHN", "A" * 16, "A" * 17, "M\u00dcLLER", "", "a\n", None, 7]
    item = {"52009229": {"vr": "SQ", "Value": [{"00080008": {"vr": "CS", "Value": values}}]}}
    cleaner = ItemCleaner(make_rules(), NAMES)
    (cleaned,) = json.loads(cleaner.clean(json.dumps([item]), None) or "")
    kept = cleaned["52009229"]["Value"][0]["00080008"]["Value"]
    assert kept == ["HEAD_FIRST 2", None, None, "A" * 16, *[None] * 6] and cleaner.unfit == 6
    assert clean({"00080060": {"vr": "CS", "Value": ["Doe"]}}) is None
    own = {"00080060": {"vr": "CS", "Value": ["Doe"]}}
    assert clean(own, Modality="keep") == own


def test_one_number_that_json_has_not_costs_nothing_else() -> None:
    """NaN and infinity of an FD or FL stay, as strings; in a DS, and where they are no number of the standard, they go."""
    text = (
        '[{"00189087":{"vr":"FD","Value":[NaN,1.5,-Infinity,1e999,"NaN","Infinity","secret"]},'
        '"00280030":{"vr":"DS","Value":[NaN,0.5,"NaN"]},"00080060":{"vr":"CS","Value":["CT"]}}]'
    )
    cleaned = ItemCleaner(make_rules(), NAMES).clean(text, None)
    assert json.loads(cleaned or "", parse_constant=pytest.fail) == [
        {
            "00189087": {"vr": "FD", "Value": ["NaN", 1.5, "-Infinity", "Infinity", "NaN", "Infinity", None]},
            "00280030": {"vr": "DS", "Value": [None, 0.5, None]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
        }
    ]
