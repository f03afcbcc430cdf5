"""Turn elements into rows for people: tag, VR, name, value as the dataset would hold it, what is wrong with it.

In: a Header, or the row of a profile.  Out: ``ElementRow`` one by one.  Knows values and names, no terminal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dicomflow.dictionary import Entry, entry_for_tag, format_tag
from dicomflow.errors import IssueCode
from dicomflow.header.element import Element, Header, Item
from dicomflow.header.values import Decoded, decode_value
from dicomflow.report.header import HeaderReport
from dicomflow.report.text import format_bytes, harmless
from dicomflow.schema.column import ARROW_TYPES, NEVER_SPLIT, Column

MAX_VALUE = 1000
"""Characters of a value that are shown, however wide the terminal; a list of a million numbers says only its beginning."""

_MAX_LIST = 256

NULL = "null"


class ElementRow(NamedTuple):
    """One line of the table.

    Attributes:
        depth: how many sequences it is inside of.
        tag: ``(GGGG,EEEE)``; empty for the line of an item and for a column.
        vr: two letters.
        name: keyword, private creator with the element's low byte, or column.
        value: text without anything that a terminal could act on.
        is_value: whether ``value`` is one, and not a remark such as ``null`` or ``<1.2 MB>``.
        issues: what is wrong, each with the text as found where the value was dropped.
    """

    depth: int
    tag: str
    vr: str
    name: str
    value: str
    is_value: bool = True
    issues: tuple[str, ...] = ()


def iter_elements(header: Header) -> Iterator[ElementRow]:
    """File meta information and data set, in the order of the file, items indented below their sequence."""
    for element in header.file_meta:
        yield from _iter_element(element, 0, repeated=False)
    for element in header.elements:
        yield from _iter_element(element, 0, repeated=element.tag in header.repeated)


def iter_columns(report: HeaderReport) -> Iterator[ElementRow]:
    """The columns of the report's profile, as the dataset would hold them."""
    for column in report.profile.columns:
        issues = [_mark(issue.code, issue.raw) for issue in report.issues if issue.path == column.name]
        text, is_value = _format_value(report.row.get(column.name))
        yield ElementRow(0, _column_tag(column), column.vr, column.name, text, is_value, tuple(issues))


def _iter_element(element: Element, depth: int, *, repeated: bool) -> Iterator[ElementRow]:
    value = element.value
    if isinstance(value, tuple):
        remark = f"<{len(value)} item{'' if len(value) == 1 else 's'}>"
        yield _row(element, depth, remark, is_value=False, repeated=repeated)
        for number, item in enumerate(value, 1):
            yield ElementRow(depth + 1, "", "", f"item {number} of {len(value)}", "", is_value=False)
            yield from _iter_item(item, depth + 1)
        return
    if _is_bulk(element):
        yield _row(
            element, depth, f"<{format_bytes(len(value))}>" if value else NULL, is_value=False, repeated=repeated
        )
        return
    decoded = _decode(element)
    text, is_value = _format_value(decoded.value)
    yield _row(element, depth, text, is_value=is_value, repeated=repeated, decoded=decoded)


def _iter_item(item: Item, depth: int) -> Iterator[ElementRow]:
    for element in item.elements:
        yield from _iter_element(element, depth, repeated=False)


def _row(
    element: Element, depth: int, text: str, *, is_value: bool, repeated: bool, decoded: Decoded | None = None
) -> ElementRow:
    issues = [_mark(code, raw) for code, raw in (decoded.issues if decoded else ())]
    if repeated:
        issues.append(_mark(IssueCode.REPEATED_TAG, ""))
    return ElementRow(
        depth, format_tag(element.tag), harmless(element.vr), _name(element), text, is_value, tuple(issues)
    )


# ---- names -----------------------------------------------------------------------------------------------------------


def _name(element: Element) -> str:
    """The keyword; for a private element its creator and low byte, which is how a profile names it."""
    entry = entry_for_tag(element.tag)
    if entry is not None:
        return entry.keyword or entry.name
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if number == 0:
        return "GroupLength"
    if not group & 1:
        return "not in the dictionary"
    if number <= 0xFF:
        return "PrivateCreator"
    if element.private_creator:
        return f'"{harmless(element.private_creator)}",{number & 0xFF:02X}'
    return "private, no creator"


def _column_tag(column: Column) -> str:
    """The tag of the first path's last step; a private one has no fixed tag."""
    step = column.paths[0][-1]
    return format_tag(step.tag) if step.creator is None else f"({step.tag >> 16:04X},xx{step.tag & 0xFF:02X})"


# ---- values ----------------------------------------------------------------------------------------------------------


def _is_bulk(element: Element) -> bool:
    """VRs that are no columns, by the file or by the dictionary; SQ here is a sequence that could not be walked."""
    entry = entry_for_tag(element.tag)
    return (
        element.vr not in ARROW_TYPES or element.vr == "SQ" or (entry is not None and entry.vrs[0] not in ARROW_TYPES)
    )


def _decode(element: Element) -> Decoded:
    """As a column of that attribute would: typed by the dictionary, or by the file where the dictionary knows nothing."""
    entry = entry_for_tag(element.tag)
    if entry is None or entry.vrs[0] == "SQ":
        decoded = decode_value(element.raw, element.vr, many=element.vr not in NEVER_SPLIT)
        one = isinstance(decoded.value, list) and len(decoded.value) == 1
        return decoded._replace(value=decoded.value[0]) if one and isinstance(decoded.value, list) else decoded
    vr = element.vr if element.vr in entry.vrs else entry.vrs[0]
    return decode_value(element.raw, vr, _is_many(entry, vr))


def _is_many(entry: Entry, vr: str) -> bool:
    return entry.vm not in ("1", "0-1") and vr not in NEVER_SPLIT


def _format_value(value: object) -> tuple[str, bool]:
    if value is None:
        return NULL, False
    if not isinstance(value, Sequence) or isinstance(value, str):
        return _format_one(value), True
    shown = ", ".join(_format_one(one) for one in value[:_MAX_LIST])
    more = f", ... {len(value):,} in all" if len(value) > _MAX_LIST else ""
    return f"[{shown}{more}]"[:MAX_VALUE], True


def _format_one(value: object) -> str:
    if value is None:
        return NULL
    if isinstance(value, list):  # of a column with [*]
        return f"[{', '.join(_format_one(one) for one in value[:_MAX_LIST])}]"
    if isinstance(value, dt.date | dt.time):  # a datetime is a date
        return value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
    return harmless(str(value)[:MAX_VALUE])


def _mark(code: IssueCode | str, raw: str) -> str:
    return f'{code} "{harmless(raw)}"' if raw else str(code)
