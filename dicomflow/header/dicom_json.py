"""The DICOM JSON Model (PS3.18 annex F) of a tree.

In: elements, or the value field of a sequence.  Out: dicts and lists that ``json`` can write, or their text.
Knows how each VR is written in JSON; does not read files, knows no columns.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from dicomflow.errors import IssueCode, Status
from dicomflow.header.element import IMPLICIT_LE, Element, Encoding, Item, Limits
from dicomflow.header.tree import read_items
from dicomflow.header.values import MAX_ISSUES, MAX_RAW, Decoded, type_item
from dicomflow.header.values import Item as Value
from dicomflow.header.values import read_items as read_values
from dicomflow.header.vr import CHARSET_VRS
from dicomflow.model import RawValue

INLINE_LIMIT = 1024
"""Bytes of a binary value that are written into the JSON; of a longer one only the length is."""

_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
NOT_FINITE = tuple(_NOT_FINITE.values())
"""Numbers that JSON lacks, as strings."""

JsonObject = dict[str, Any]


def to_dicom_json(elements: Iterable[Element], *, inline_limit: int = INLINE_LIMIT) -> JsonObject:
    """The DICOM JSON Model of one data set (PS3.18 F.2).

    Tags ascend, group lengths are left out, an empty element has only its VR, an empty value among others is null. A DS
    or IS that is no number stays a string; NaN and infinity, which JSON lacks, are strings too. A binary value longer
    than ``inline_limit`` has a member ``length`` in place of a BulkDataURI: there is no server to ask for it.

    >>> from dicomflow.header.tree import read_tree
    >>> to_dicom_json(read_tree(b"\\x08\\x00\\x60\\x00CS\\x02\\x00MR").elements)
    {'00080060': {'vr': 'CS', 'Value': ['MR']}}
    """
    wanted = sorted((element for element in elements if element.tag & 0xFFFF), key=lambda element: element.tag)
    return {f"{element.tag:08X}": _element_json(element, inline_limit) for element in wanted}


def decode_sequence(
    value: RawValue,
    *,
    implicit: bool | None = None,
    limits: Limits | None = None,
    inline_limit: int = INLINE_LIMIT,
) -> Decoded:
    """The value of an SQ column: JSON text of the list of items; None where there is none.

    A sequence that cannot be walked to its end is null with the issue BAD_VALUE: half a sequence is a wrong value.
    A text in it whose characters had to be guessed or replaced is an issue of the column.

    Args:
        value: the value field of the sequence, with or without its sequence delimiter; VR ``UN`` reads it as PS3.5
            6.2.2 says.
        implicit: whether the data set around it is implicit VR; None: the first element of each item shows it.
        limits: what must not be crossed.
        inline_limit: see ``to_dicom_json``.
    """
    encoding = IMPLICIT_LE if value.vr == "UN" else Encoding(bool(implicit), value.big_endian)
    items, outcome = read_items(value.raw, encoding=encoding, charset=value.charset, limits=limits)
    if outcome.status != Status.OK and implicit is None and not encoding.implicit:
        # The length of an implicit element can look like two capitals, once in a hundred long ones.
        inner = encoding._replace(implicit=True)
        items, outcome = read_items(value.raw, encoding=inner, charset=value.charset, limits=limits)
    if outcome.status != Status.OK:
        return Decoded(None, ((IssueCode.BAD_VALUE, value.raw[: MAX_RAW // 2].hex()),))
    if not items:
        return Decoded(None)
    return Decoded(_dump_items(items, inline_limit), tuple(islice(_text_issues(items), MAX_ISSUES)))


def load_items(text: str) -> Any:
    """What a text of DICOM JSON says; a number that JSON has not (a bare NaN, 1e999) is a string, as ``to_dicom_json`` has it.

    Raises:
        ValueError: it is no JSON.

    >>> load_items('[NaN, 1.5, -Infinity, 1e999]')
    ['NaN', 1.5, '-Infinity', 'Infinity']
    """
    return json.loads(text, parse_constant=str, parse_float=_parse_float)


def _parse_float(text: str) -> object:
    return _write_float(float(text))


def write_value(vr: str, value: Value) -> object:
    """One value as JSON has it (PS3.18 table F.2.3-1); None for a name without any component group.

    >>> write_value("PN", "Doe^Jo=\u5c71"), write_value("DS", 0.5)
    ({'Alphabetic': 'Doe^Jo', 'Ideographic': '\u5c71'}, 0.5)
    """
    return _WRITERS[vr](value)


def _text_issues(items: Iterable[Item]) -> Iterator[tuple[IssueCode, str]]:
    """What had to be guessed or replaced in the texts of a sequence; plain ASCII is not looked at."""
    for element in chain.from_iterable(item.elements for item in items):
        if isinstance(element.value, tuple):
            yield from _text_issues(element.value)
        elif element.vr in CHARSET_VRS and not (element.value.isascii() and b"\x1b" not in element.value):
            yield from read_values(element.raw, element.vr).issues


def _dump_items(items: Iterable[Item], inline_limit: int) -> str:
    model = [to_dicom_json(item.elements, inline_limit=inline_limit) for item in items]
    return json.dumps(model, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _element_json(element: Element, inline_limit: int) -> JsonObject:
    if isinstance(element.value, tuple):
        items = [to_dicom_json(item.elements, inline_limit=inline_limit) for item in element.value]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    write = _WRITERS.get(element.vr)
    if write is None:
        return _binary_json(element.vr if element.vr in _BINARY else "UN", element.value, inline_limit)
    read = read_values(element.raw, element.vr)
    if any(code == IssueCode.BAD_LENGTH for code, _ in read.issues):
        return _binary_json("UN", element.value, inline_limit)
    written = [None if value is None else write(value) for value in read.values]
    if all(value is None for value in written):
        return {"vr": element.vr}
    return {"vr": element.vr, "Value": written}


def _binary_json(vr: str, value: bytes, inline_limit: int) -> JsonObject:
    if not value:
        return {"vr": vr}
    if len(value) > inline_limit:
        return {"vr": vr, "length": len(value)}
    return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}


def _write_plain(value: Value) -> object:
    return value


def _write_float(value: Value) -> object:
    return value if isinstance(value, float) and math.isfinite(value) else _NOT_FINITE[str(value)]


def _write_number(vr: str, value: Value) -> object:
    """A DS or IS as number; what is none stays text (PS3.18 F.2.3 allows both)."""
    number = type_item(value, vr)
    return value if number is None else number


_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def _write_name(value: Value) -> object:
    """The component groups that are not empty (PS3.18 F.2.2); None where all are."""
    groups = zip(_NAME_GROUPS, str(value).split("="), strict=False)
    return {name: group for name, group in groups if group} or None


_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_TEXT = ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
_WRITERS: dict[str, Callable[[Value], object]] = {
    **dict.fromkeys((*_TEXT, "AT", "SL", "SS", "SV", "UL", "US", "UV"), _write_plain),
    **dict.fromkeys(("FL", "FD"), _write_float),
    "DS": partial(_write_number, "DS"),
    "IS": partial(_write_number, "IS"),
    "PN": _write_name,
}
"""VR -> how one of its values is written (PS3.18 table F.2.3-1)."""
