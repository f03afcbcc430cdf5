"""The same rules for sequences, which a dataset holds as DICOM JSON (PS3.18 annex F).

In: the text of the items, rules.  Out: the text of items in which every element was judged by its tag, at every depth.
What is not understood is left out: private and unknown elements, binary values, a VR that is not the dictionary's, a number
that is text, a code that has not the form of one.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicomflow.deidentify.profile import NUMBERS, Action
from dicomflow.deidentify.rules import Rules
from dicomflow.deidentify.secret import Pseudonyms
from dicomflow.deidentify.values import DUMMY_TEXT
from dicomflow.dictionary import entry_for_tag
from dicomflow.header.dicom_json import NOT_FINITE, load_items
from dicomflow.header.values import type_item

Json = dict[str, Any]

REGISTERED_UID = re.compile(r"1\.2\.840\.10008(?:\.[0-9]{1,5}){1,10}")
"""UIDs that the standard has registered (PS3.6 annex A)."""

CODE = re.compile(r"[A-Z0-9 _]{1,16}")
"""What a CS looks like (PS3.5 6.2); anything else in one is free text."""

_TAG = re.compile(r"[0-9A-F]{8}")
_PLAIN = {"DA": re.compile(r"[0-9.]{8,10}"), "TM": re.compile(r"[0-9.:]{2,16}"), "DT": re.compile(r"[0-9.+-]{4,26}"),
          "AT": re.compile(r"[0-9A-F]{8}")}  # fmt: skip
"""What a text of these VRs may look like; anything else in them is not theirs."""

_FLOATS = frozenset({"FD", "FL"})

_DUMMY_BY_VR = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "AS": "000Y",
    "PN": {"Alphabetic": DUMMY_TEXT},
}


@dataclass(slots=True)
class ItemCleaner:
    """Cleans the items of sequences.

    Attributes:
        unfit: how many codes were left out so far because they have not the form of one.
    """

    rules: Rules
    pseudonyms: Pseudonyms
    unfit: int = 0

    def clean(self, text: str, days: int | None) -> str | None:
        """The items without what must not stay; None where nothing of them does, or they cannot be read.

        Args:
            text: a JSON array of data sets.
            days: to add to dates that are moved; None: they are left out.
        """
        try:
            items = load_items(text)
            cleaned = [self._clean_item(item, days) for item in items] if isinstance(items, list) else []
            if not any(cleaned):
                return None
            made = json.dumps(cleaned, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            made.encode()  # an escape may stand for half a character, which is no text
            return made
        except (ValueError, RecursionError, AttributeError):
            return None

    def _clean_item(self, item: Json, days: int | None) -> Json:
        elements = ((tag, self._clean_element(tag, element, days)) for tag, element in item.items())
        return {tag: element for tag, element in elements if element is not None}

    def _clean_element(self, tag: str, element: Any, days: int | None) -> Json | None:
        """None where it is left out."""
        number = int(tag, 16) if _TAG.fullmatch(tag) else None
        entry = None if number is None else entry_for_tag(number)
        if number is None or entry is None or not isinstance(element, dict) or element.get("vr") not in entry.vrs:
            return None
        vr, action = element["vr"], self.rules.for_attribute(number)
        values = element.get("Value", [])
        if action is Action.DROP or not isinstance(values, list):
            return None
        if action is Action.EMPTY or not values:
            return {"vr": vr}
        if vr == "SQ":
            return self._clean_sequence(values, days)
        kept = [None if value is None else self._clean_value(number, vr, action, value, days) for value in values]
        return None if all(value is None for value in kept) else {"vr": vr, "Value": kept}

    def _clean_sequence(self, values: list[Any], days: int | None) -> Json | None:
        items = [self._clean_item(item, days) for item in values]
        return {"vr": "SQ", "Value": items} if any(items) else None

    def _clean_value(self, tag: int, vr: str, action: Action, value: Any, days: int | None) -> Any:
        if action is Action.KEEP:
            return self._check_code(tag, value) if vr == "CS" else _check_plain(vr, value)
        if action is Action.DUMMY:
            return 0 if vr in NUMBERS else _DUMMY_BY_VR.get(vr, DUMMY_TEXT)
        if action is Action.SHIFT:
            return _shift(vr, value, days)
        if vr == "PN":
            name = value if isinstance(value, dict) else {}
            joined = "=".join(str(name.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic"))
            return {"Alphabetic": self.pseudonyms.replace_identifier(tag, joined.rstrip("="))}
        if not isinstance(value, str):
            return None
        if action is Action.HASH and vr != "UI":
            return self.pseudonyms.replace_identifier(tag, value)
        return value if action is Action.REGISTERED and is_registered(value) else self.pseudonyms.replace_uid(value)

    def _check_code(self, tag: int, value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        if is_code(value) or self.rules.keeps_unseen(tag):
            return value
        self.unfit += 1
        return None


def is_code(text: str) -> bool:
    """Whether this has the form of a CS: upper case, digits, space and underscore, at most 16 of them.

    >>> is_code("HEAD_FIRST"), is_code("Doe, John")
    (True, False)
    """
    return CODE.fullmatch(text) is not None


def is_registered(uid: str) -> bool:
    """Whether the standard has registered this UID: it names a class or a syntax, nobody's images.

    >>> is_registered("1.2.840.10008.1.2.1"), is_registered("1.2.840.113619.2.1")
    (True, False)
    """
    return REGISTERED_UID.fullmatch(uid) is not None


def _check_plain(vr: str, value: Any) -> Any:
    """A value that is kept must be what its VR says."""
    if vr in _FLOATS and value in NOT_FINITE:
        return value
    if vr in NUMBERS:
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if vr == "PN":
        return value if isinstance(value, dict) and all(isinstance(group, str) for group in value.values()) else None
    if not isinstance(value, str):
        return None
    return value if vr not in _PLAIN or _PLAIN[vr].fullmatch(value) else None


def _shift(vr: str, value: Any, days: int | None) -> str | None:
    read = type_item(value, vr) if isinstance(value, str) and days is not None else None
    write = _WRITE_DATES.get(vr)
    if write is None or not isinstance(read, dt.date):
        return None
    try:
        return write(read + dt.timedelta(days=days or 0))
    except OverflowError:
        return None


def _write_date(value: dt.date) -> str:
    return f"{value.year:04d}{value.month:02d}{value.day:02d}"


def _write_datetime(value: dt.date) -> str:
    return _write_date(value) + f"{value:%H%M%S.%f}"


_WRITE_DATES: dict[str, Callable[[dt.date], str]] = {"DA": _write_date, "DT": _write_datetime}
