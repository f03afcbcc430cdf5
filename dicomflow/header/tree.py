"""Read all elements of one header into a tree, carefully and in plain Python.

In: the bytes of a file (sans-I/O), or the value field of a sequence.  Out: Header, Element, Item; faults are an Outcome.
Knows how a file begins (PS3.10 chapter 7) and what elements mean to each other; does not decode values, knows no columns.

It serves ``show``, sequences as JSON, and as a second opinion on the compiled scanner.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from dicomflow.dictionary import entry_for_tag
from dicomflow.errors import Code, Status
from dicomflow.header.charset import decode_text
from dicomflow.header.element import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    UNDEFINED_LENGTH,
    Element,
    Encoding,
    Header,
    Item,
    Limits,
    Sequence,
)
from dicomflow.header.inflate import Inflater
from dicomflow.header.vr import KNOWN_VRS
from dicomflow.header.walk import Bound, Fault, Found, FoundItem, Walk, layout_vr, vr_at
from dicomflow.model import Outcome

_CHARSET, _DIRECTORY_RECORDS, _PIXEL_REPRESENTATION = 0x00080005, 0x00041220, 0x00280103
_MEDIA_STORAGE_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_DICOMDIR_CLASS = b"1.2.840.10008.1.3.10"
_FIRST_INFLATE = 64 * 1024


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
    meta = Walk(data, limits)
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
    walk = Walk(data, limits or Limits())
    try:
        found, _ = walk.items(0, Bound(len(data), True), encoding or EXPLICIT_LE, 1)
    except Fault as fault:
        return Sequence((), Outcome(status=Status.PARTIAL, code=fault.code, offset=fault.offset))
    items = tuple(_resolve_item(item, _Scope(charset)) for item in found)
    if walk.fault:
        return Sequence(items, Outcome(status=Status.PARTIAL, code=walk.fault.code, offset=walk.fault.offset))
    return Sequence(items, Outcome(status=Status.OK))


def _judge(walk: Walk, file_meta: tuple[Element, ...], elements: tuple[Element, ...]) -> Outcome:
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
    if vr_at(data, start) in KNOWN_VRS:
        return True
    remaining = len(data) - start - 8
    return not big_endian and (length <= remaining or length == UNDEFINED_LENGTH)


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
    return data[pos : pos + 2] == b"\x08\0" and vr_at(data, pos) in KNOWN_VRS


def _read_data_set(data: bytes, pos: int, expected: Encoding | None, limits: Limits) -> tuple[Walk, Encoding]:
    """Walk the data set; its encoding as found."""
    walk = Walk(data, limits)
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
    vr = vr_at(data, pos)
    explicit = vr in KNOWN_VRS or bool(vr and expected and not expected.implicit)
    if not explicit:
        return IMPLICIT_LE
    little, big = struct.unpack_from("<H", data, pos)[0], struct.unpack_from(">H", data, pos)[0]
    if min(little, big) > 0x00FF:
        return Encoding(False, bool(expected and expected.big_endian))
    return Encoding(False, big < little)


def _read_deflated(data: bytes, pos: int, expected: Encoding | None, limits: Limits) -> tuple[Walk, Encoding]:
    """Inflate only as far as the walk needs, in steps that grow fourfold: the work stays linear."""
    size = _FIRST_INFLATE
    while True:
        size = min(size, limits.max_inflated_bytes)
        inflated, code = _inflate(data, pos, size)
        walk, encoding = _read_data_set(inflated, 0, expected, limits)
        if walk.finished or code is None:
            return walk, encoding
        if code != Code.LIMIT_INFLATED_BYTES or size == limits.max_inflated_bytes:
            walk.fault = Fault(code, walk.pos)
            return walk, encoding
        size *= 4


def _inflate(data: bytes, pos: int, size: int) -> tuple[bytes, Code | None]:
    """Up to ``size`` bytes, and why there are no more: None at the true end (PS3.5 A.5)."""
    stream = Inflater(data[pos:])
    stream.inflate(size)
    if stream.ended:
        return bytes(stream.out), None
    if stream.damaged:
        return bytes(stream.out), Code.INFLATE_ERROR
    return bytes(stream.out), Code.LIMIT_INFLATED_BYTES if len(stream.out) >= size else Code.TRUNCATED


# ---- what elements mean to each other: Found -> Element ----------------------------------------------------------


class _Scope(NamedTuple):
    """What a data set inherits: SpecificCharacterSet (PS3.5 7.5.3), and whether pixels are signed."""

    charset: bytes | None = None
    signed: bool = False


def _resolve(found: list[Found], outer: _Scope) -> tuple[tuple[Element, ...], frozenset[int]]:
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


def _resolve_element(found: Found, scope: _Scope, creators: dict[int, str]) -> Element:
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


def _resolve_item(item: FoundItem, scope: _Scope) -> Item:
    return Item(elements=_resolve(item.elements, scope)[0], offset=item.offset, encoding=item.encoding)


def _resolve_vr(found: Found, scope: _Scope) -> str:
    """The VR that the value is to be read by; of the dictionary's several VRs the one that the data set means."""
    if isinstance(found.value, tuple):
        return "SQ"
    vr = layout_vr(found)
    if vr == "SQ":
        return "UN"
    entry = entry_for_tag(found.tag)
    if vr == found.letters or entry is None or len(entry.vrs) == 1:
        return vr
    if "OW" in entry.vrs:
        return "OW"
    return "SS" if "SS" in entry.vrs and scope.signed else vr


def _is_creator(tag: int) -> bool:
    """(gggg,0010-00FF) with gggg odd names the owner of a block (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def _creator_name(value: bytes, scope: _Scope) -> str:
    return decode_text(value, scope.charset, "LO")[0].strip(" \0")
