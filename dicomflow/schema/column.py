"""Columns: what to take from a header and how to type it.

In: keywords, paths, private creators.  Out: frozen ``Column`` objects.  Knows the dictionary; no bytes, no files.

A path is written as DICOM people read it, outermost first::

    PatientID
    SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    PerFrameFunctionalGroupsSequence[*].PlanePositionSequence[0].ImagePositionPatient     of all items, as a list
    (0019,"GEMS_ACQU_01",0C)          a private element: group, creator, low byte of the element (PS3.5 7.8.1)
    (6000,0010)                       an element by its tag: of a repeating group, or one without a keyword
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from dicomflow.dictionary import (
    entry_for_keyword,
    entry_for_tag,
    format_tag,
    keywords,
    repeating_mask,
    vr_for_tag,
)
from dicomflow.errors import ConfigError

_STEP = re.compile(r"(?P<keyword>[A-Za-z][A-Za-z0-9]*)(?:\[(?P<item>[0-9]{1,6}|\*)\])?\Z")
_PRIVATE = re.compile(
    r'\((?P<group>[0-9A-Fa-f]{4}),"(?P<creator>[^"\\]{1,64})",(?P<element>[0-9A-Fa-f]{2})\)(?:\[(?P<item>[0-9]{1,6}|\*)\])?\Z'
)
_TAG = re.compile(r"\((?P<group>[0-9A-Fa-f]{4}),(?P<element>[0-9A-Fa-f]{4})\)(?:\[(?P<item>[0-9]{1,6}|\*)\])?\Z")
_VM = re.compile(r"[0-9]{1,3}(-([0-9]{1,3}|[0-9]?n))?\Z")
_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SEPARATOR = re.compile(r'\.(?=(?:[^"]*"[^"]*")*[^"]*\Z)')  # no dot inside quotes

MAX_PATH_STEPS = 8

STOP_TAG = 0x7FE00008
"""The first tag of the pixels: headers end there."""

_FIRST_TAG = 0x00020000

ALL_ITEMS = -1
"""The item of a step that is written ``[*]``."""

ARROW_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(["AE", "CS", "LO", "SH", "UI", "UC", "UR", "LT", "ST", "UT", "AS", "PN", "AT", "SQ"], pa.string()),
    "DA": pa.date32(),
    "TM": pa.time64("us"),
    "DT": pa.timestamp("us"),
    **dict.fromkeys(["DS", "FD"], pa.float64()),
    "FL": pa.float32(),
    **dict.fromkeys(["IS", "SL", "UL", "SV", "UV"], pa.int64()),
    **dict.fromkeys(["US", "SS"], pa.int32()),
}
"""VR -> type of one value (design: values table).  VRs that are not here are bulk data and no columns."""

NEVER_SPLIT = frozenset({"LT", "ST", "UT", "UR", "SQ"})
"""VRs whose values are never split at a backslash (PS3.5 6.2)."""


ISSUES_TYPE = pa.list_(pa.struct([("path", pa.string()), ("code", pa.string()), ("raw", pa.string())]))

SOURCE_FIELDS = [
    pa.field("source_uri", pa.string(), nullable=False),
    pa.field("source_member", pa.string()),
    pa.field("source_size", pa.int64()),
    pa.field("source_mtime", pa.timestamp("us")),
    pa.field("header_bytes", pa.int64()),
    pa.field("header_digest", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("issues", ISSUES_TYPE),
]
"""Columns of ``instances`` that say where a row came from, after those of the profile."""


class Step(NamedTuple):
    """One step of a path: a tag, and the item to enter where the tag is a sequence.

    ``item`` is ``ALL_ITEMS`` for ``[*]``.  For a private element ``creator`` names the block's owner and ``tag`` is
    ``(group << 16) | low byte``.
    """

    tag: int
    item: int | None = None
    creator: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute column of ``instances``.

    Attributes:
        name: column name; the DICOM keyword where there is one.
        vr: the VR that types the column.
        many: True where the VM allows several values: the column is a list.
        paths: where to look, in order; the first that is present wins.
    """

    name: str
    vr: str
    many: bool
    paths: tuple[tuple[Step, ...], ...]
    path_texts: tuple[str, ...]

    @property
    def item_type(self) -> pa.DataType:
        """Arrow type of one value."""
        return ARROW_TYPES[self.vr]

    @property
    def each(self) -> bool:
        """True where a path has ``[*]``: the column is a list with one place for each item of that sequence."""
        return any(step.item == ALL_ITEMS for path in self.paths for step in path)

    @property
    def arrow_type(self) -> pa.DataType:
        """Arrow type of the column: the item type, a list of it, or with ``[*]`` a list of these."""
        value = pa.list_(self.item_type) if self.many else self.item_type
        return pa.list_(value) if self.each else value


def parse_path(text: str) -> tuple[Step, ...]:
    """Parse a column path.

    >>> parse_path("PatientID")
    (Step(tag=1048608, item=None, creator=None),)

    Raises:
        ConfigError: unknown keyword, an item index missing before or present after the last step, more than one ``[*]``,
            too deep.
    """
    parts = _SEPARATOR.split(text)
    if len(parts) > MAX_PATH_STEPS:
        raise ConfigError(f"path {text!r}: more than {MAX_PATH_STEPS} steps")
    steps = tuple(_parse_step(part, text) for part in parts)
    for step, part in zip(steps[:-1], parts, strict=False):
        _check_sequence(step, part, text)
    if steps[-1].item is not None:
        raise ConfigError(f"path {text!r}: the last step names an attribute, not an item")
    if sum(step.item == ALL_ITEMS for step in steps) > 1:
        raise ConfigError(f"path {text!r}: [*] can stand once in a path")
    if steps[0].tag < _FIRST_TAG:
        raise ConfigError(f"path {text!r}: is never read, a data set has no group 0000")
    if steps[0].tag >= STOP_TAG & 0xFFFF0000:
        raise ConfigError(f"path {text!r}: is never read, headers end before {format_tag(STOP_TAG)}")
    return steps


def _check_sequence(step: Step, part: str, text: str) -> None:
    """Each step before the last enters an item of a sequence."""
    if step.creator is None and vr_for_tag(step.tag) not in ("SQ", "UN"):
        raise ConfigError(f"path {text!r}: {part!r} is no sequence, nothing is inside of it")
    if step.item is None:
        raise ConfigError(f"path {text!r}: each sequence before the last step needs an item, such as [0] or [*]")


def _parse_step(part: str, text: str) -> Step:
    if found := _PRIVATE.match(part):
        group = int(found["group"], 16)
        if not group & 1:
            raise ConfigError(f"path {text!r}: a private group is odd, {found['group']} is even")
        if not found["creator"].isascii():
            raise ConfigError(f"path {text!r}: a private creator is found by its ASCII name only")
        tag = (group << 16) | int(found["element"], 16)
        return Step(tag, _item(found["item"]), found["creator"].strip(" "))
    if found := _TAG.match(part):
        return _parse_tag(found, text)
    found = _STEP.match(part)
    if not found:
        raise ConfigError(
            f'path {text!r}: cannot read {part!r}; write Keyword, Keyword[0], (6000,0010) or (0019,"CREATOR",0C)'
        )
    entry = entry_for_keyword(found["keyword"])
    if entry is None:
        raise ConfigError(f"path {text!r}: {found['keyword']!r} is not a DICOM keyword{_hint(found['keyword'])}")
    return Step(entry.tag, _item(found["item"]))


def _hint(keyword: str) -> str:
    """What may have been meant."""
    if mask := repeating_mask(keyword):
        return f"; it is in repeating groups: write its tag, such as ({mask[:4].replace('x', '0')},{mask[4:]})"
    near = difflib.get_close_matches(keyword, keywords(), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _parse_tag(found: re.Match[str], text: str) -> Step:
    tag = int(found["group"] + found["element"], 16)
    if tag >> 16 & 1:
        raise ConfigError(f'path {text!r}: a private element is named by its creator: (0019,"CREATOR",0C)')
    return Step(tag, _item(found["item"]))


def _item(text: str | None) -> int | None:
    if text is None:
        return None
    return ALL_ITEMS if text == "*" else int(text)


def make_column(name: str, paths: tuple[str, ...] = (), vr: str | None = None, vm: str | None = None) -> Column:
    """A Column, typed by the DICOM dictionary where ``vr`` and ``vm`` are not given.

    >>> make_column("PixelSpacing").arrow_type
    ListType(list<item: double>)

    Raises:
        ConfigError: a path is wrong, the VR cannot be a column, or a private path comes without ``vr``.
    """
    texts = paths or (name,)
    steps = tuple(parse_path(text) for text in texts)
    last = steps[0][-1]
    entry = None if last.creator else entry_for_tag(last.tag)
    vr = vr or (entry.vrs[0] if entry else None)
    vm = vm or (entry.vm if entry else "1")
    if not _VM.match(vm):
        raise ConfigError(f"column {name!r}: vm {vm!r} is no value multiplicity; write '1', '3', '1-n' or '2-2n'")
    if vr is None:
        raise ConfigError(f"column {name!r}: a private element, or one that the dictionary does not know, needs a vr")
    if vr not in ARROW_TYPES:
        reason = "holds bulk data and cannot be a column" if vr in _BULK_VRS else "is none"
        raise ConfigError(f"column {name!r}: VR {vr} {reason}")
    many = vm not in ("1", "0-1") and vr not in NEVER_SPLIT
    return Column(name, vr, many, steps, texts)
