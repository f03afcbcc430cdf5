"""Read all elements of one header into a tree, carefully and in plain Python.

In: the bytes of a file (sans-I/O), or the value field of a sequence.  Out: Header, Element, Item; faults are an Outcome.
Knows how elements are laid out (PS3.5 chapter 7, PS3.10 chapter 7); does not decode values, knows no columns, no files.

It serves ``show``, sequences as JSON, and as a second opinion on the compiled scanner.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from dicomflow.dictionary import entry_for_tag, vr_for_tag
from dicomflow.errors import Code, Status
from dicomflow.header.charset import decode_text
from dicomflow.model import Outcome, RawValue

STOP_TAG = 0x7FE00008
UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_DEPTH = 100
"""Nested sequences that are followed, whatever the limits say: the reader is recursive."""

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs with a 32-bit length in explicit VR (PS3.5 7.1.2)."""
KNOWN_VRS = LONG_VRS.union(
    ["AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM"],
    ["UI", "UL", "US"],
)
_FRAGMENTED_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = frozenset({_ITEM, _ITEM_END, _SEQUENCE_END})
_CHARSET, _DIRECTORY_RECORDS, _PIXEL_REPRESENTATION = 0x00080005, 0x00041220, 0x00280103
_MEDIA_STORAGE_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_DICOMDIR_CLASS = b"1.2.840.10008.1.3.10"
_FIRST_INFLATE = 64 * 1024
_INFLATE_STEP = 1024  # bytes of input; what an error costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What no header may cross; ``max_depth`` is at most ``MAX_DEPTH``."""

    max_header_bytes: int = 256 << 20
    max_elements: int = 2_000_000
    max_depth: int = 64
    max_inflated_bytes: int = 256 << 20


class Encoding(NamedTuple):
    """How elements are laid out."""

    implicit: bool
    big_endian: bool


EXPLICIT_LE = Encoding(implicit=False, big_endian=False)
IMPLICIT_LE = Encoding(implicit=True, big_endian=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One data element.

    Attributes:
        tag: 0xGGGGEEEE.
        vr: as in the file; the dictionary's where the file has none, or UN for a tag that the dictionary knows.
        value: the value field, or the items of a sequence. A sequence that cannot be walked is UN and bytes.
        offset: of the element's first byte.
        length: of the value field as the file says; ``UNDEFINED_LENGTH`` where it is delimited.
        charset: the value field of the SpecificCharacterSet in force.
        private_creator: the owner of a private element's block, where the data set names it.
    """

    tag: int
    vr: str
    value: bytes | tuple[Item, ...]
    offset: int
    length: int
    big_endian: bool = False
    charset: bytes | None = None
    private_creator: str | None = None

    @property
    def raw(self) -> RawValue:
        """The value field for ``header.values``; a sequence has none there."""
        return RawValue(self.value if isinstance(self.value, bytes) else b"", self.vr, self.big_endian, self.charset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a sequence."""

    elements: tuple[Element, ...]
    offset: int
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """All that was read, and how it ended.

    Attributes:
        file_meta: elements of group 0002 before the data set.
        elements: the data set up to the stop tag, in file order; of a repeated tag the last.
        encoding: of the data set, as found.
        syntax_differs: the data set is not encoded as (0002,0010) declares.
        repeated: top-level tags that occur more than once.
        stop_offset: where the header ends: the stop tag, the end, or the fault. After inflating, where deflated.
    """

    outcome: Outcome
    file_meta: tuple[Element, ...] = ()
    elements: tuple[Element, ...] = ()
    encoding: Encoding = EXPLICIT_LE
    deflated: bool = False
    syntax_differs: bool = False
    repeated: frozenset[int] = frozenset()
    stop_offset: int = 0


class Sequence(NamedTuple):
    """The items of one sequence, and how reading them ended."""

    items: tuple[Item, ...]
    outcome: Outcome


def read_tree(data: bytes, *, limits: Limits | None = None) -> Header:
    r"""Read the header in ``data``, the bytes of a file from its first one.

    Never raises for data: what cannot be read is the outcome, with the offset of the element where reading ended.

    >>> read_tree(b"\x08\x00\x60\x00CS\x02\x00MR").elements[0].value
    b'MR'
    """
    limits = limits or Limits()
    start = _sniff(data)
    if start is None:
        code = Code.NO_DICOM_HEADER if data else Code.EMPTY_FILE
        return Header(outcome=Outcome(status=Status.NOT_DICOM, code=code, offset=0))
    meta = _Walk(data, limits)
    meta.run(start, EXPLICIT_LE, group=0x0002)
    file_meta, _ = _resolve(meta.found, _Scope())
    if meta.fault:
        return Header(outcome=_judge(meta, file_meta, ()), file_meta=file_meta, stop_offset=meta.pos)
    declared = _declared_syntax(file_meta)
    deflated = declared == _DEFLATED and not _is_plain(data, meta.pos)
    read = _read_deflated if deflated else _read_data_set
    walk, encoding = read(data, meta.pos, _SYNTAXES.get(declared or "", EXPLICIT_LE) if declared else None, limits)
    elements, repeated = _resolve(walk.found, _Scope())
    return Header(
        outcome=_judge(walk, file_meta, elements),
        file_meta=file_meta,
        elements=elements,
        encoding=encoding,
        deflated=deflated,
        syntax_differs=_differs(declared, encoding, deflated) if elements else False,
        repeated=repeated,
        stop_offset=walk.pos,
    )


def read_items(
    data: bytes,
    *,
    encoding: Encoding | None = None,
    charset: bytes | None = None,
    limits: Limits | None = None,
) -> Sequence:
    """Read the value field of a sequence, with or without its sequence delimiter.

    Args:
        data: the value field.
        encoding: of the data set that holds the sequence; explicit little endian where it is not known (an item that
            is implicit all the same is recognised by its first element).
        charset: the SpecificCharacterSet in force around the sequence.
        limits: what must not be crossed.
    """
    walk = _Walk(data, limits or Limits())
    try:
        found, _ = walk.items(0, _Bound(len(data), True), encoding or EXPLICIT_LE, 1)
    except _Fault as fault:
        return Sequence((), Outcome(status=Status.PARTIAL, code=fault.code, offset=fault.offset))
    items = tuple(_resolve_item(item, _Scope(charset)) for item in found)
    if walk.fault:
        return Sequence(items, Outcome(status=Status.PARTIAL, code=walk.fault.code, offset=walk.fault.offset))
    return Sequence(items, Outcome(status=Status.OK))


def _judge(walk: _Walk, file_meta: tuple[Element, ...], elements: tuple[Element, ...]) -> Outcome:
    """The outcome of a file that was recognised as DICOM."""
    media_class = next((element.raw.raw for element in file_meta if element.tag == _MEDIA_STORAGE_CLASS), b"")
    if media_class.strip(b" \0") == _DICOMDIR_CLASS or any(element.tag == _DIRECTORY_RECORDS for element in elements):
        return Outcome(status=Status.SKIPPED, code=Code.DICOMDIR, offset=walk.pos)
    if not walk.fault:
        if file_meta or elements:
            return Outcome(status=Status.OK)
        return Outcome(status=Status.FAILED, code=Code.UNREADABLE_HEADER, offset=walk.pos)
    code, offset = walk.fault.code, walk.fault.offset
    if code == Code.LIMIT_INFLATED_BYTES:  # a bomb is no row, even where it begins like a header
        return Outcome(status=Status.FAILED, code=code, offset=offset)
    if file_meta or elements:
        return Outcome(status=Status.PARTIAL, code=code, offset=offset)
    return Outcome(status=Status.FAILED, code=Code.UNREADABLE_HEADER, offset=offset)


# ---- where and how the data set begins ---------------------------------------------------------------------------


def _sniff(data: bytes) -> int | None:
    """Where the first element is: after ``DICM``, or at 0 or 128 where a known element of group 0002 or 0008 stands."""
    if data[128:132] == b"DICM":
        return 132
    return next((start for start in (0, 128) if _plausible(data, start)), None)


def _plausible(data: bytes, start: int) -> bool:
    if len(data) - start < 8:
        return False
    group, element, length = struct.unpack_from("<HHI", data, start)
    big_endian = group == 0x0800
    if big_endian:
        group, element = struct.unpack_from(">HH", data, start)
    if group not in (0x0002, 0x0008) or (element and entry_for_tag(group << 16 | element) is None):
        return False
    if _vr_at(data, start) in KNOWN_VRS:
        return True
    remaining = len(data) - start - 8
    return not big_endian and (length <= remaining or length == UNDEFINED_LENGTH)


def _vr_at(data: bytes, pos: int) -> str:
    """The VR letters of the element at ``pos``; "" where there are no two capitals."""
    letters = data[pos + 4 : pos + 6]
    return letters.decode("ascii") if len(letters) == 2 and letters.isalpha() and letters.isupper() else ""


def _declared_syntax(file_meta: Iterable[Element]) -> str | None:
    raw = next((element.raw.raw for element in file_meta if element.tag == _TRANSFER_SYNTAX), b"")
    return raw.rstrip(b" \0").decode("latin-1") or None


_DEFLATED = "1.2.840.10008.1.2.1.99"
_SYNTAXES = {
    "1.2.840.10008.1.2": IMPLICIT_LE,
    "1.2.840.10008.1.2.2": Encoding(implicit=False, big_endian=True),
    "1.2.840.113619.5.2": IMPLICIT_LE,  # GE: only the pixels are big-endian
}
"""Transfer syntaxes that are not explicit little endian (PS3.5 annex A)."""


def _differs(declared: str | None, encoding: Encoding, deflated: bool) -> bool:
    """Whether the data set is not as declared; nothing declared is no difference."""
    if declared is None:
        return False
    return _SYNTAXES.get(declared, EXPLICIT_LE) != encoding or deflated != (declared == _DEFLATED)


def _is_plain(data: bytes, pos: int) -> bool:
    """Whether an element stands where a deflated stream is declared."""
    return data[pos : pos + 2] == b"\x08\0" and _vr_at(data, pos) in KNOWN_VRS


def _read_data_set(data: bytes, pos: int, expected: Encoding | None, limits: Limits) -> tuple[_Walk, Encoding]:
    """Walk the data set; its encoding as found."""
    walk = _Walk(data, limits)
    if data[pos : pos + 8] == b"\0\0\0\0\4\0\0\0":  # a command set was left before the data set (PS3.7 6.3.1)
        walk.run(pos, IMPLICIT_LE, group=0x0000)
        pos = walk.pos
    encoding = _look(data, pos, expected)
    if not walk.fault:
        walk.run(pos, encoding)
    return walk, encoding


def _look(data: bytes, pos: int, expected: Encoding | None) -> Encoding:
    """The encoding that the first element shows: what is there wins over what is declared."""
    if len(data) - pos < 8:
        return expected or EXPLICIT_LE
    vr = _vr_at(data, pos)
    explicit = vr in KNOWN_VRS or bool(vr and expected and not expected.implicit)
    if not explicit:
        return IMPLICIT_LE
    little, big = struct.unpack_from("<H", data, pos)[0], struct.unpack_from(">H", data, pos)[0]
    if min(little, big) > 0x00FF:
        return Encoding(False, bool(expected and expected.big_endian))
    return Encoding(False, big < little)


def _read_deflated(data: bytes, pos: int, expected: Encoding | None, limits: Limits) -> tuple[_Walk, Encoding]:
    """Inflate only as far as the walk needs, in steps that grow fourfold: the work stays linear."""
    size = _FIRST_INFLATE
    while True:
        size = min(size, limits.max_inflated_bytes)
        inflated, code = _inflate(data, pos, size)
        walk, encoding = _read_data_set(inflated, 0, expected, limits)
        if walk.finished or code is None:
            return walk, encoding
        if code != Code.LIMIT_INFLATED_BYTES or size == limits.max_inflated_bytes:
            walk.fault = _Fault(code, walk.pos)
            return walk, encoding
        size *= 4


def _inflate(data: bytes, pos: int, size: int) -> tuple[bytes, Code | None]:
    """Up to ``size`` bytes, and why there are no more: None at the true end (PS3.5 A.5: raw; some add a zlib header)."""
    inflated, code = _inflate_window(data, pos, size, -zlib.MAX_WBITS)
    if code == Code.INFLATE_ERROR and not inflated:
        return _inflate_window(data, pos, size, zlib.MAX_WBITS)
    return inflated, code


def _inflate_window(data: bytes, pos: int, size: int, window: int) -> tuple[bytes, Code | None]:
    inflater = zlib.decompressobj(window)
    inflated = bytearray()
    try:
        for start in range(pos, len(data), _INFLATE_STEP):
            inflated += inflater.decompress(data[start : start + _INFLATE_STEP], size - len(inflated))
            if inflater.eof:
                return bytes(inflated), None
            if len(inflated) >= size:
                return bytes(inflated), Code.LIMIT_INFLATED_BYTES
    except zlib.error:
        return bytes(inflated), Code.INFLATE_ERROR
    return bytes(inflated), Code.TRUNCATED


# ---- the walk: bytes -> _Found ------------------------------------------------------------------------------------


class _Fault(Exception):
    """Nothing can be read at ``offset``; never leaves this module."""

    def __init__(self, code: Code, offset: int) -> None:
        super().__init__(code)
        self.code = code
        self.offset = offset


class _Bound(NamedTuple):
    """Where what holds an element ends; ``defined`` by a length, or only by the end of the data."""

    end: int
    defined: bool


class _Found(NamedTuple):
    """An element as laid out in the file; ``letters`` is "" where the file has no VR."""

    tag: int
    letters: str
    offset: int
    length: int
    start: int  # of the value field
    big_endian: bool
    value: bytes | tuple[_FoundItem, ...] = b""


class _FoundItem(NamedTuple):
    offset: int
    encoding: Encoding
    elements: list[_Found]


class _Walk:
    """One pass over elements; collects what it finds, and the first fault."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.limits = limits
        self.pos = 0
        self.found: list[_Found] = []
        self.fault: _Fault | None = None
        self.finished = False  # more data would not change how the walk ended
        self._count = 0

    def run(self, pos: int, encoding: Encoding, group: int | None = None) -> None:
        """Walk top-level elements from ``pos``: those of one group, or all up to the stop tag."""
        try:
            self._run(pos, encoding, group)
        except _Fault as fault:
            self.fault = self.fault or fault
            self.finished = fault.code != Code.TRUNCATED

    def _run(self, pos: int, encoding: Encoding, group: int | None) -> None:
        bound = _Bound(len(self.data), False)
        while True:
            self.pos = pos
            if not any(self.data[pos : pos + 8]) and self._content_end <= pos:
                return  # the end, or padding zeros up to it
            self._need(pos, pos + 8, bound)
            tag = self._tag(pos, encoding)
            if group is not None and tag >> 16 != group:
                return
            if tag >= STOP_TAG:
                if tag in _DELIMITERS:
                    raise _Fault(Code.BAD_ELEMENT, pos)
                self.finished = True
                return
            found, after = self._element(pos, bound, encoding, 0)
            if after > self.limits.max_header_bytes:
                raise _Fault(Code.LIMIT_HEADER_BYTES, pos)
            self.found.append(found)
            pos = after

    @cached_property
    def _content_end(self) -> int:
        """Where the zeros begin that pad the data; looked for once, so that zeros inside cost nothing more."""
        return len(self.data.rstrip(b"\0"))

    def items(self, pos: int, bound: _Bound, encoding: Encoding, depth: int) -> tuple[tuple[_FoundItem, ...], int]:
        """Items up to the sequence delimiter, or to the bound where a length defines it; and where they end."""
        if depth > min(self.limits.max_depth, MAX_DEPTH):
            raise _Fault(Code.LIMIT_DEPTH, pos)
        items: list[_FoundItem] = []
        while pos < bound.end or not bound.defined:
            self._need(pos, pos + 8, bound)
            tag, length, start = self._tag(pos, encoding), self._u32(pos + 4, encoding), pos + 8
            if tag == _SEQUENCE_END:
                return tuple(items), start
            if tag != _ITEM:
                raise _Fault(Code.BAD_SEQUENCE, pos)
            self._tick(pos)
            inner = bound
            if length != UNDEFINED_LENGTH:
                self._need(pos, start + length, bound)
                inner = _Bound(start + length, True)
            found = _item_encoding(self.data, start, inner.end, encoding)
            elements, after = self._item(start, inner, found, depth)
            items.append(_FoundItem(pos, found, elements))
            pos = after if length == UNDEFINED_LENGTH else inner.end
        return tuple(items), pos

    def _item(self, pos: int, bound: _Bound, encoding: Encoding, depth: int) -> tuple[list[_Found], int]:
        """The data set of one item, up to its delimiter or the bound."""
        elements: list[_Found] = []
        while pos < bound.end or not bound.defined:
            self._need(pos, pos + 8, bound)
            tag = self._tag(pos, encoding)
            if tag == _ITEM_END:
                return elements, pos + 8
            if tag in _DELIMITERS:
                raise _Fault(Code.BAD_ELEMENT, pos)
            found, pos = self._element(pos, bound, encoding, depth)
            elements.append(found)
        return elements, pos

    def _element(self, pos: int, bound: _Bound, encoding: Encoding, depth: int) -> tuple[_Found, int]:
        """One element with its value, and where it ends."""
        self._tick(pos)
        head = self._head(pos, bound, encoding)
        if head.letters == "UN":
            encoding = IMPLICIT_LE  # what UN holds (PS3.5 6.2.2)
        if head.length == UNDEFINED_LENGTH:
            if _layout_vr(head) in _FRAGMENTED_VRS:
                after = self._fragments(head.start, bound, encoding)
                return head._replace(value=self.data[head.start : after - 8]), after
            items, after = self.items(head.start, bound, encoding, depth + 1)
            return head._replace(value=items), after
        after = head.start + head.length
        self._need(pos, after, bound)
        if _layout_vr(head) == "SQ":
            return head._replace(value=self._sequence(head.start, after, encoding, depth)), after
        return head._replace(value=self.data[head.start : after]), after

    def _sequence(self, start: int, end: int, encoding: Encoding, depth: int) -> bytes | tuple[_FoundItem, ...]:
        """A sequence of defined length; one that cannot be walked stays bytes, and what follows can still be read."""
        try:
            return self.items(start, _Bound(end, True), encoding, depth + 1)[0]
        except _Fault as fault:
            if fault.code == Code.LIMIT_ELEMENTS:
                raise
            self.fault = self.fault or fault
            return self.data[start:end]

    def _fragments(self, pos: int, bound: _Bound, encoding: Encoding) -> int:
        """Skip the fragments of encapsulated data (PS3.5 A.4); the offset after their delimiter."""
        while True:
            self._need(pos, pos + 8, bound)
            tag, length = self._tag(pos, encoding), self._u32(pos + 4, encoding)
            if tag == _SEQUENCE_END:
                return pos + 8
            if tag != _ITEM or length == UNDEFINED_LENGTH:
                raise _Fault(Code.BAD_SEQUENCE, pos)
            self._tick(pos)
            self._need(pos, pos + 8 + length, bound)
            pos += 8 + length

    def _head(self, pos: int, bound: _Bound, encoding: Encoding) -> _Found:
        """Tag, VR and length; without two capitals for a VR the element is read as implicit, as pydicom does."""
        tag = self._tag(pos, encoding)
        letters = "" if encoding.implicit else _vr_at(self.data, pos)
        big_endian = encoding.big_endian and letters != "UN"
        if letters in LONG_VRS:
            self._need(pos, pos + 12, bound)
            return _Found(tag, letters, pos, self._u32(pos + 8, encoding), pos + 12, big_endian)
        if letters:
            length = int.from_bytes(self.data[pos + 6 : pos + 8], "big" if encoding.big_endian else "little")
            return _Found(tag, letters, pos, length, pos + 8, big_endian)
        return _Found(tag, letters, pos, self._u32(pos + 4, encoding), pos + 8, big_endian)

    def _tag(self, pos: int, encoding: Encoding) -> int:
        group, element = struct.unpack_from(">HH" if encoding.big_endian else "<HH", self.data, pos)
        return int(group << 16 | element)

    def _u32(self, pos: int, encoding: Encoding) -> int:
        return int(struct.unpack_from(">I" if encoding.big_endian else "<I", self.data, pos)[0])

    def _need(self, pos: int, after: int, bound: _Bound) -> None:
        """The element at ``pos`` reaches to ``after``."""
        if after > bound.end:
            raise _Fault(Code.BAD_LENGTH if bound.defined else Code.TRUNCATED, pos)

    def _tick(self, pos: int) -> None:
        self._count += 1
        if self._count > self.limits.max_elements:
            raise _Fault(Code.LIMIT_ELEMENTS, pos)


def _item_encoding(data: bytes, pos: int, end: int, encoding: Encoding) -> Encoding:
    """The encoding of an item's data set: some writers switch to implicit VR inside explicit sequences, or back in UN."""
    if end - pos < 8 or data[pos : pos + 2] in (b"\xfe\xff", b"\xff\xfe"):
        return encoding
    vr = _vr_at(data, pos)
    if not encoding.implicit:
        return encoding if vr else encoding._replace(implicit=True)
    # Two letters may be a length as well; it cannot be one that reaches past the end.
    as_length = int.from_bytes(data[pos + 4 : pos + 8], "little")
    return encoding._replace(implicit=False) if vr in KNOWN_VRS and as_length > end - pos else encoding


def _layout_vr(head: _Found) -> str:
    """The VR that says whether the value is a sequence, fragments or plain."""
    return head.letters if head.letters not in ("", "UN") else vr_for_tag(head.tag)


# ---- what elements mean to each other: _Found -> Element ----------------------------------------------------------


class _Scope(NamedTuple):
    """What a data set inherits: SpecificCharacterSet (PS3.5 7.5.3), and whether pixels are signed."""

    charset: bytes | None = None
    signed: bool = False


def _resolve(found: list[_Found], outer: _Scope) -> tuple[tuple[Element, ...], frozenset[int]]:
    """Elements of one data set, the last of each tag, and the tags that were repeated.

    Only here charset and private creators are known for sure: tags may stand out of order.
    """
    last = {one.tag: one for one in found}
    times = Counter(one.tag for one in found)
    plain = {tag: one.value for tag, one in last.items() if isinstance(one.value, bytes)}
    scope = _Scope(
        plain.get(_CHARSET, outer.charset),
        plain[_PIXEL_REPRESENTATION].strip(b"\0") == b"\1" if _PIXEL_REPRESENTATION in plain else outer.signed,
    )
    creators = {tag: _creator_name(value, scope) for tag, value in plain.items() if _is_creator(tag)}
    elements = tuple(_resolve_element(one, scope, creators) for one in last.values())
    return elements, frozenset(tag for tag, count in times.items() if count > 1)


def _resolve_element(found: _Found, scope: _Scope, creators: dict[int, str]) -> Element:
    value = found.value
    block = found.tag & 0xFFFF0000 | (found.tag >> 8 & 0xFF)  # (gggg,xxee) belongs to the creator in (gggg,00xx)
    return Element(
        tag=found.tag,
        vr=_resolve_vr(found, scope),
        value=value if isinstance(value, bytes) else tuple(_resolve_item(item, scope) for item in value),
        offset=found.offset,
        length=found.length,
        big_endian=found.big_endian,
        charset=scope.charset,
        private_creator=creators.get(block) if found.tag & 0xFFFF > 0xFF else None,
    )


def _resolve_item(item: _FoundItem, scope: _Scope) -> Item:
    return Item(elements=_resolve(item.elements, scope)[0], offset=item.offset, encoding=item.encoding)


def _resolve_vr(found: _Found, scope: _Scope) -> str:
    """The VR that the value is to be read by; of the dictionary's several VRs the one that the data set means."""
    if isinstance(found.value, tuple):
        return "SQ"
    vr = _layout_vr(found)
    if vr == "SQ":
        return "UN"
    entry = entry_for_tag(found.tag)
    if found.letters not in ("", "UN") or entry is None or len(entry.vrs) == 1:
        return vr
    if "OW" in entry.vrs:
        return "OW"
    return "SS" if "SS" in entry.vrs and scope.signed else vr


def _is_creator(tag: int) -> bool:
    """(gggg,0010-00FF) with gggg odd names the owner of a block (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def _creator_name(value: bytes, scope: _Scope) -> str:
    return decode_text(value, scope.charset, "LO")[0].strip(" \0")
