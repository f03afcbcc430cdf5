"""One row of ``read_headers`` held against pydicom's view of the file, column by column.

A value must equal pydicom's, but for ``RULES``; a null where pydicom has something must have its own issue, with the text as
found, and that issue must be true (``EXCUSES``).  Of a partial row, what pydicom read behind its end is not compared.
"""

import datetime as dt
import json
import re
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pydicom
from pydicom.dataset import FileDataset

from dicomflow.header.element import Element
from dicomflow.header.tree import read_items
from dicomflow.header.values import MAX_RAW
from dicomflow.schema.column import Column
from tests.oracle.expected import TEXT, Expected, Seen, Unreadable, find_each
from tests.oracle.files import silence
from tests.oracle.model import element_differences, pydicom_element, read_after, without_escapes

Row = Mapping[str, Any]
Issues = Mapping[str, Sequence[tuple[str, str]]]


def assert_equals_pydicom(row: Row, dataset: FileDataset | None, columns: Sequence[Column]) -> None:
    """Each column of the row, sequences left out, is what pydicom reads."""
    assert dataset is not None, "pydicom cannot read this"
    assert list(row_differences(row, dataset, columns)) == []


def row_differences(row: Row, dataset: FileDataset, columns: Sequence[Column]) -> Iterator[str]:
    """Columns that differ from pydicom and are explained by no rule and no issue."""
    expected, issues, partial = Expected(dataset), _issues_of(row), row["status"] == "partial"
    with silence():
        for column in columns:
            if column.vr == "SQ":
                continue
            if column.each:
                yield from _each_difference(column, row, dataset, is_excused=partial or bool(issues[column.name]))
                continue
            seen, mine = expected.find(column), row[column.name]
            if (partial and _is_beyond(seen, row)) or (seen is None and mine is None):
                continue
            if why := _difference(column, mine, seen, issues[column.name]):
                yield f"{column.name}: {why}"


def _each_difference(column: Column, row: Row, dataset: FileDataset, *, is_excused: bool) -> Iterator[str]:
    """Of the values of each item, all or none; where one could not be typed, or the header breaks off, ours may be fewer."""
    mine, theirs = row[column.name], find_each(dataset, column)
    if mine != theirs and not is_excused:
        yield f"{column.name}: {mine} is not {theirs}"


def _issues_of(row: Row) -> Issues:
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for issue in row["issues"] or []:
        found[issue["path"]].append((issue["code"], issue["raw"]))
    return found


def _is_beyond(seen: Seen | None, row: Row) -> bool:
    """Pydicom read it where for us no element can be, and the header had ended."""
    return seen is not None and seen.place is not None and seen.place >= row["header_bytes"]


def _difference(column: Column, mine: Any, seen: Seen | None, issues: Sequence[tuple[str, str]]) -> str | None:
    if seen is None:
        return "pydicom has nothing"
    theirs, ours = seen.items, mine if column.many else [mine]
    if not column.many and len(theirs) > 1:
        if ("extra_values", "\\".join(seen.texts)[:MAX_RAW]) not in issues:
            return "several values, and no issue says so"
        theirs = theirs[:1]
    ours = [None] * len(theirs) if ours is None else ours
    if len(ours) != len(theirs):
        return f"{len(ours)} values, pydicom has {len(theirs)}"
    wrong = [
        place for place, one in enumerate(theirs) if not _same(column, ours[place], one, seen.texts[place], issues)
    ]
    return f"{[ours[one] for one in wrong]} is not {[theirs[one] for one in wrong]}, issues {issues}" if wrong else None


def _same(column: Column, mine: Any, theirs: Any, text: str, issues: Sequence[tuple[str, str]]) -> bool:
    if mine is None and theirs is not None:
        return any(code in EXCUSES and EXCUSES[code](column.vr, text, raw) for code, raw in issues)
    return bool(mine == theirs) or any(rule(column.vr, mine, theirs, text) for rule in RULES)


# ---- nulls: what each issue claims, checked on the text --------------------------------------------------------------


def is_bad(vr: str, text: str, raw: str) -> bool:
    """The text is not what PS3.5 table 6.2-1 allows for the VR."""
    return raw == text[:MAX_RAW] and vr in _GRAMMAR and not _GRAMMAR[vr].fullmatch(text)


def has_offset(vr: str, text: str, raw: str) -> bool:
    """A DT with an offset from UTC, in a column that has no zone (design, section 4)."""
    return raw == text and vr == "DT" and bool(re.fullmatch(r"\d{4,14}(\.\d{1,6})?[+-]\d{4}", text))


def has_fraction(vr: str, text: str, raw: str) -> bool:
    """An FD that is no integer, in an integer column (design, section 4); its text shows all of its digits."""
    return vr == "IS" and bytes.fromhex(raw) == struct.pack("<d", float(text)) and not float(text).is_integer()


_GRAMMAR = {
    "DA": re.compile(r"\d{8}|\d{4}\.\d\d\.\d\d"),
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "IS": re.compile(r"[+-]?\d+"),
}
EXCUSES: dict[str, Callable[[str, str, str], bool]] = {
    "bad_value": is_bad,
    "utc_offset": has_offset,
    "not_integral": has_fraction,
}
"""Issue -> whether it is true of this text, and keeps it; all that these files make us raise."""


# ---- values ----------------------------------------------------------------------------------------------------------


def old_time(vr: str, mine: Any, theirs: Any, text: str) -> bool:
    """``HH:MM:SS.frac`` is the form of ACR-NEMA 300 (PS3.5 table 6.2-1, TM, note); pydicom keeps it as text only."""
    if vr != "TM" or not isinstance(theirs, Unreadable) or not re.fullmatch(r"\d\d:\d\d:\d\d(\.\d{1,6})?", text):
        return False
    found = pydicom.valuerep.TM(text.replace(":", ""))
    return bool(mine == dt.time(found.hour, found.minute, found.second, found.microsecond))


def empty_groups(vr: str, mine: Any, theirs: Any, text: str) -> bool:
    """A name is kept as stored; pydicom omits empty groups at its end, which writers may (PS3.5 table 6.2-1, PN)."""
    return vr == "PN" and isinstance(theirs, str) and mine.endswith("=") and mine.rstrip("=") == theirs


def escapes(vr: str, mine: Any, theirs: Any, text: str) -> bool:
    """Escape sequences designate character sets, they are no characters (PS3.5 6.1.2.5.3); pydicom leaves some in."""
    if vr not in TEXT or not isinstance(theirs, str) or "\x1b" not in theirs:
        return False
    return "\x1b" not in mine and mine.rstrip("=") == without_escapes(theirs)


RULES: Sequence[Callable[[str, Any, Any, str], bool]] = (old_time, empty_groups, escapes)
"""Differences in which the standard is with dicomflow."""


# ---- sequences -------------------------------------------------------------------------------------------------------


def sequence_differences(
    row: Row, dataset: FileDataset, elements: Sequence[Element], columns: Sequence[Column]
) -> Iterator[str]:
    """The same of the SQ columns, each a sequence of the data set itself: JSON against pydicom's ``to_json_dict``.

    Args:
        row: of ``read_headers``.
        dataset: pydicom's view.
        elements: of the tree, as far as that came.
        columns: all columns.
    """
    known = {element.tag: element for element in elements}
    beyond = {int(tag, 16) for tag in read_after(dataset, row["header_bytes"])} if row["status"] == "partial" else ()
    for column in columns:
        tag, mine = column.paths[0][-1].tag, row[column.name]
        if column.vr != "SQ" or (mine is None and (tag not in dataset or tag in beyond)):
            continue
        element = known.get(tag) or _read_again(dataset, tag)
        theirs = pydicom_element(dataset, tag) if tag in dataset else {}
        ours = {"vr": "SQ", "Value": json.loads(mine or "[]")}
        if bool(ours["Value"]) != bool(theirs.get("Value")):
            yield f"{column.name}: only {'we have' if mine else 'pydicom has'} it"
        elif mine:
            yield from element_differences(element, ours, theirs, at=column.name)


def _read_again(dataset: FileDataset, tag: int) -> Element:
    """A sequence that the tree did not come to, behind structure that only pydicom gets over."""
    raw = dataset.get_item(tag)
    return Element(tag=tag, vr="SQ", value=read_items(raw.value).items, offset=raw.value_tell, length=raw.length)
