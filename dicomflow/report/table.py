"""Lay out the header of a file for a terminal or a pipe.

In: a HeaderReport, a width.  Out: ``rich.text.Text``, chunk by chunk: a header may have a million elements.
Knows columns of text and colours; decides nothing about values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from rich.text import Text

from dicomflow.errors import IssueCode, Status
from dicomflow.header.element import Element, Encoding, Header
from dicomflow.header.reader import COMPILED
from dicomflow.header.values import decode_value
from dicomflow.report.elements import ElementRow, iter_columns, iter_elements
from dicomflow.report.header import HeaderReport
from dicomflow.report.text import format_bytes, harmless, pad, shorten

_INDENT = 2
_MAX_INDENT = 16
_MIN_VALUE = 16
_CHUNK = 500
_MAX_MARKS = 3

_TRANSFER_SYNTAX, _CHARSET = 0x00020010, 0x00080005
_OF_HEADER = frozenset({IssueCode.TRANSFER_SYNTAX, IssueCode.UID_FROM_FILE_META})


class _Frame(NamedTuple):
    """Widths in cells: of names, indentation included, and of values, marks included (None: as long as they are)."""

    name: int
    value: int | None


def render_header(report: HeaderReport, *, width: int | None, columns: bool = False) -> Iterator[Text]:
    """The header as lines of text.

    Args:
        report: what to show.
        width: cells of the terminal; None for a pipe, where nothing is cut to fit.
        columns: only the columns of the profile, instead of all elements.
    """
    frame = _make_frame(width)
    rows = iter_columns(report) if columns else iter_elements(report.header)
    lines = chain((_render_row(row, frame) for row in rows), [Text()], render_outcome(report))
    while chunk := list(islice(lines, _CHUNK)):
        yield Text("\n").join(chunk)


def _make_frame(width: int | None) -> _Frame:
    if width is None:
        return _Frame(40, None)
    name = max(20, min(40, width * 35 // 100))
    return _Frame(name, max(_MIN_VALUE, width - len("(0008,0018) CS  ") - name - 2))


def _render_row(row: ElementRow, frame: _Frame) -> Text:
    indent = " " * min(_INDENT * row.depth, _MAX_INDENT)
    if not row.tag:
        return Text(indent + row.name, style="dim")
    name = pad(row.name, frame.name - len(indent)) if frame.value else row.name.ljust(frame.name - len(indent))
    marks = _join_marks(row.issues)
    value = row.value
    if frame.value:
        marks = shorten(marks, max(_MIN_VALUE, frame.value * 2 // 3)) if marks else ""
        value = shorten(value, max(4, frame.value - len(marks) - 2) if marks else frame.value)
    line = Text.assemble(indent, (row.tag, "dim"), " ", (f"{row.vr:<2}", "cyan"), "  ", name, "  ")
    line.append(value, style="" if row.is_value else "dim")
    return line.append(f"  {marks}", style="yellow") if marks else line


def _join_marks(issues: tuple[str, ...]) -> str:
    more = f" and {len(issues) - _MAX_MARKS} more" if len(issues) > _MAX_MARKS else ""
    return "  ".join(f"! {issue}" for issue in issues[:_MAX_MARKS]) + more


# ---- how reading ended -----------------------------------------------------------------------------------------------


def render_outcome(report: HeaderReport) -> Iterable[Text]:
    """The last lines: outcome, transfer syntax, character set, issues of the header as a whole."""
    outcome = report.outcome
    line = Text.assemble((str(outcome.status), _COLORS.get(outcome.status, "bold red")))
    if outcome.code:
        line.append(f": {outcome.code}")
    if outcome.offset is not None and outcome.status is not Status.SKIPPED:
        line.append(f" at byte {outcome.offset:,}")
    yield line.append(f" ({harmless(outcome.message)})" if outcome.message else "")
    why = "the fast reader cannot walk it" if COMPILED else "the fast reader was not compiled when this was installed"
    reader = f"pydicom; {why}" if report.by_pydicom else "fast"
    inflated = " after inflating" if report.header.deflated else ""
    yield _fact("header", f"{format_bytes(report.header_bytes)}{inflated}, of a file of {format_bytes(report.size)}")
    yield _fact("syntax", _describe_syntax(report.header))
    yield _fact("charset", _charset(report.header) or "none declared")
    yield _fact("reader", reader)
    for issue in report.issues:
        if issue.code in _OF_HEADER:
            yield Text(f"! {issue.code}: {_REMARKS[IssueCode(issue.code)]}", style="yellow")


_COLORS = {Status.OK: "bold green", Status.PARTIAL: "bold yellow", Status.SKIPPED: "bold yellow"}

_REMARKS = {
    IssueCode.TRANSFER_SYNTAX: "the data set is not encoded as declared; it was read as it is",
    IssueCode.UID_FROM_FILE_META: "no SOPInstanceUID in the data set; MediaStorageSOPInstanceUID stands in",
}


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name:<9}", "dim"), value)


def _describe_syntax(header: Header) -> str:
    """What was found, and what the file declares."""
    found = _ENCODINGS[header.encoding] + (", deflated" if header.deflated else "")
    declared = _text(header.file_meta, _TRANSFER_SYNTAX)
    if declared is None:
        return f"{found}; none declared"
    return f"{found}; {'but declared' if header.syntax_differs else 'declared'} {declared}"


_ENCODINGS = {
    Encoding(implicit=True, big_endian=False): "implicit VR little endian",
    Encoding(implicit=False, big_endian=False): "explicit VR little endian",
    Encoding(implicit=False, big_endian=True): "explicit VR big endian",
    Encoding(implicit=True, big_endian=True): "implicit VR big endian",
}


def _charset(header: Header) -> str | None:
    return _text(header.elements, _CHARSET)


def _text(elements: tuple[Element, ...], tag: int) -> str | None:
    """A short text by its tag; None where it is absent or empty."""
    found = next((element for element in elements if element.tag == tag), None)
    value = decode_value(found.raw, "LO", many=False).value if found else None
    return shorten(harmless(str(value)), 128) if value else None
