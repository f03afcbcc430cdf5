"""Walk the elements of a data set in plain Python: where each is, how it is laid out, what it holds.

In: bytes, an encoding, limits.  Out: ``Found`` elements, in the order of the file; a fault as code and offset.
Knows how elements are laid out (PS3.5 chapter 7); not what they mean to each other.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import NamedTuple

from dicomflow.dictionary import vr_for_tag
from dicomflow.errors import Code
from dicomflow.header.element import IMPLICIT_LE, MAX_DEPTH, UNDEFINED_LENGTH, Encoding, Limits
from dicomflow.header.vr import FRAGMENTED_VRS, KNOWN_VRS, LONG_VRS
from dicomflow.schema.column import STOP_TAG

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = frozenset({_ITEM, _ITEM_END, _SEQUENCE_END})


class Fault(Exception):
    """Nothing can be read at ``offset``; never leaves this module."""

    def __init__(self, code: Code, offset: int) -> None:
        super().__init__(code)
        self.code = code
        self.offset = offset


class Bound(NamedTuple):
    """Where what holds an element ends; ``defined`` by a length, or only by the end of the data."""

    end: int
    defined: bool


class Found(NamedTuple):
    """An element as laid out in the file; ``letters`` is "" where the file has no VR."""

    tag: int
    letters: str
    offset: int
    length: int
    start: int  # of the value field
    big_endian: bool
    value: bytes | tuple[FoundItem, ...] = b""


class FoundItem(NamedTuple):
    """One item as laid out in the file."""

    offset: int
    encoding: Encoding
    elements: list[Found]


class Walk:
    """One pass over elements; collects what it finds, and the first fault."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.pos = 0
        self.found: list[Found] = []
        self.fault: Fault | None = None
        self.finished = False  # more data would not change how the walk ended
        self._count = 0

    def run(self, pos: int, encoding: Encoding, group: int | None = None) -> None:
        """Walk top-level elements from ``pos``: those of one group, or all up to the stop tag."""
        try:
            self._run(pos, encoding, group)
        except Fault as fault:
            self.fault = self.fault or fault
            self.finished = fault.code != Code.TRUNCATED

    def _run(self, pos: int, encoding: Encoding, group: int | None) -> None:
        bound = Bound(len(self.data), False)
        while True:
            self.pos = pos
            if not any(self.data[pos : pos + 8]) and self._is_padding(pos, encoding):
                return
            self._need(pos, pos + 8, bound)
            tag = self._tag(pos, encoding)
            if group is not None and tag >> 16 != group:
                return
            if tag >= STOP_TAG:
                if tag in _DELIMITERS:
                    pos = self._skip_stray_item(pos, tag, bound, encoding)
                    continue
                if not self._is_stop(pos, tag, encoding):
                    raise Fault(Code.BAD_ELEMENT, pos)
                self.finished = True
                return
            found, after = self._element(pos, bound, encoding, 0)
            if after > self.limits.max_header_bytes:
                raise Fault(Code.LIMIT_HEADER_BYTES, pos)
            self.found.append(found)
            pos = after

    def _is_stop(self, pos: int, tag: int, encoding: Encoding) -> bool:
        """Whether an element begins here; a wrong length leads into the middle of a value, where any tag may seem to stand.

        Above (7FFF,FFFF) there are signatures, padding and private elements (PS3.6 chapter 6).
        """
        group = tag >> 16
        if group < 0x8000 or group in (0xFFFA, 0xFFFC):
            return True
        if encoding.implicit:
            return bool(group & 1) and group != 0xFFFF
        return vr_at(self.data, pos) in KNOWN_VRS

    def _skip_stray_item(self, pos: int, tag: int, bound: Bound, encoding: Encoding) -> int:
        """An item whose sequence is gone is read over by its length; where it has none, nobody can say where it ends."""
        length = self._u32(pos + 4, encoding)
        if tag != _ITEM or length in (0, UNDEFINED_LENGTH):
            raise Fault(Code.BAD_ELEMENT, pos)
        self._tick(pos)
        self._need(pos, pos + 8 + length, bound)
        self.fault = self.fault or Fault(Code.BAD_ELEMENT, pos)
        return pos + 8 + length

    def _is_padding(self, pos: int, encoding: Encoding) -> bool:
        """The end, or zeros up to it; but the first byte of a tag may be a zero as well, and that would be a cut."""
        rest = len(self.data) - pos
        enough = rest == 0 or rest >= 8 or (rest > 1 and not encoding.big_endian)
        return enough and self._content_end <= pos

    @cached_property
    def _content_end(self) -> int:
        """Where the zeros begin that pad the data; looked for once, so that zeros inside cost nothing more."""
        return len(self.data.rstrip(b"\0"))

    def items(self, pos: int, bound: Bound, encoding: Encoding, depth: int) -> tuple[tuple[FoundItem, ...], int]:
        """Items up to the sequence delimiter, or to the bound where a length defines it; and where they end."""
        if depth > min(self.limits.max_depth, MAX_DEPTH):
            raise Fault(Code.LIMIT_DEPTH, pos)
        items: list[FoundItem] = []
        while pos < bound.end or not bound.defined:
            self._need(pos, pos + 8, bound)
            tag, length, start = self._tag(pos, encoding), self._u32(pos + 4, encoding), pos + 8
            if tag == _SEQUENCE_END:
                return tuple(items), start
            if tag != _ITEM:
                raise Fault(Code.BAD_SEQUENCE, pos)
            self._tick(pos)
            inner = bound
            if length != UNDEFINED_LENGTH:
                self._need(pos, start + length, bound)
                inner = Bound(start + length, True)
            found = item_encoding(self.data, start, inner.end, encoding)
            elements, after = self._item(start, inner, found, depth)
            items.append(FoundItem(pos, found, elements))
            pos = after if length == UNDEFINED_LENGTH else inner.end
        return tuple(items), pos

    def _item(self, pos: int, bound: Bound, encoding: Encoding, depth: int) -> tuple[list[Found], int]:
        """The data set of one item, up to its delimiter or the bound."""
        elements: list[Found] = []
        while pos < bound.end or not bound.defined:
            self._need(pos, pos + 8, bound)
            tag = self._tag(pos, encoding)
            if tag == _ITEM_END:
                return elements, pos + 8
            if tag in _DELIMITERS:
                raise Fault(Code.BAD_ELEMENT, pos)
            found, pos = self._element(pos, bound, encoding, depth)
            elements.append(found)
        return elements, pos

    def _element(self, pos: int, bound: Bound, encoding: Encoding, depth: int) -> tuple[Found, int]:
        """One element with its value, and where it ends."""
        self._tick(pos)
        head = self._head(pos, bound, encoding)
        if head.letters == "UN":
            encoding = IMPLICIT_LE  # what UN holds (PS3.5 6.2.2)
        if head.length == UNDEFINED_LENGTH:
            if layout_vr(head) in FRAGMENTED_VRS:
                after = self._fragments(head.start, bound, encoding)
                return head._replace(value=self.data[head.start : after - 8]), after
            items, after = self.items(head.start, bound, encoding, depth + 1)
            return head._replace(value=items), after
        after = head.start + head.length
        self._need(pos, after, bound)
        if layout_vr(head) == "SQ":
            return head._replace(value=self._sequence(head.start, after, encoding, depth)), after
        return head._replace(value=self.data[head.start : after]), after

    def _sequence(self, start: int, end: int, encoding: Encoding, depth: int) -> bytes | tuple[FoundItem, ...]:
        """A sequence of defined length; one that cannot be walked stays bytes, and what follows can still be read."""
        try:
            return self.items(start, Bound(end, True), encoding, depth + 1)[0]
        except Fault as fault:
            if fault.code == Code.LIMIT_ELEMENTS:
                raise
            self.fault = self.fault or fault
            return self.data[start:end]

    def _fragments(self, pos: int, bound: Bound, encoding: Encoding) -> int:
        """Skip the fragments of encapsulated data (PS3.5 A.4); the offset after their delimiter."""
        while True:
            self._need(pos, pos + 8, bound)
            tag, length = self._tag(pos, encoding), self._u32(pos + 4, encoding)
            if tag == _SEQUENCE_END:
                return pos + 8
            if tag != _ITEM or length == UNDEFINED_LENGTH:
                raise Fault(Code.BAD_SEQUENCE, pos)
            self._tick(pos)
            self._need(pos, pos + 8 + length, bound)
            pos += 8 + length

    def _head(self, pos: int, bound: Bound, encoding: Encoding) -> Found:
        """Tag, VR and length; without two capitals for a VR the element is read as implicit, as pydicom does."""
        tag = self._tag(pos, encoding)
        letters = "" if encoding.implicit else vr_at(self.data, pos)
        big_endian = encoding.big_endian and letters != "UN"
        if letters in LONG_VRS:
            self._need(pos, pos + 12, bound)
            return Found(tag, letters, pos, self._u32(pos + 8, encoding), pos + 12, big_endian)
        if letters:
            length = int.from_bytes(self.data[pos + 6 : pos + 8], "big" if encoding.big_endian else "little")
            return Found(tag, letters, pos, length, pos + 8, big_endian)
        return Found(tag, letters, pos, self._u32(pos + 4, encoding), pos + 8, big_endian)

    def _tag(self, pos: int, encoding: Encoding) -> int:
        group, element = struct.unpack_from(">HH" if encoding.big_endian else "<HH", self.data, pos)
        return int(group << 16 | element)

    def _u32(self, pos: int, encoding: Encoding) -> int:
        return int(struct.unpack_from(">I" if encoding.big_endian else "<I", self.data, pos)[0])

    def _need(self, pos: int, after: int, bound: Bound) -> None:
        """The element at ``pos`` reaches to ``after``."""
        if after > bound.end:
            raise Fault(Code.BAD_LENGTH if bound.defined else Code.TRUNCATED, pos)

    def _tick(self, pos: int) -> None:
        self._count += 1
        if self._count > self.limits.max_elements:
            raise Fault(Code.LIMIT_ELEMENTS, pos)


def item_encoding(data: bytes, pos: int, end: int, encoding: Encoding) -> Encoding:
    """The encoding of an item's data set: some writers switch to implicit VR inside explicit sequences, or back in UN."""
    if end - pos < 8 or data[pos : pos + 2] in (b"\xfe\xff", b"\xff\xfe"):
        return encoding
    vr = vr_at(data, pos)
    if not encoding.implicit:
        return encoding if vr else encoding._replace(implicit=True)
    # Two letters may be a length as well; it cannot be one that reaches past the end.
    as_length = int.from_bytes(data[pos + 4 : pos + 8], "little")
    return encoding._replace(implicit=False) if vr in KNOWN_VRS and as_length > end - pos else encoding


def layout_vr(head: Found) -> str:
    """The VR that says whether the value is a sequence, fragments or plain; the dictionary's where the file names none."""
    return head.letters if head.letters in KNOWN_VRS and head.letters != "UN" else vr_for_tag(head.tag)


def vr_at(data: bytes, pos: int) -> str:
    """The VR letters of the element at ``pos``; "" where there are no two capitals (nor ``??`` or spaces in their place)."""
    letters = data[pos + 4 : pos + 6]
    if letters in (b"??", b"  "):
        return letters.decode("ascii")
    return letters.decode("ascii") if len(letters) == 2 and letters.isalpha() and letters.isupper() else ""
