"""The law that the compiled scanner and the plain tree agree: generated headers, mutations, and the comparison."""

import struct

from hypothesis import strategies as st

from dicomflow.dictionary import entry_for_tag
from dicomflow.errors import Code, Status
from dicomflow.header.element import Element, Encoding, Header
from dicomflow.header.reader import HeaderReader
from dicomflow.header.tree import read_tree
from dicomflow.header.verdict import OK, OUTCOMES
from dicomflow.header.vr import KNOWN_VRS
from dicomflow.model import RawValue
from dicomflow.schema.column import Step
from dicomflow.schema.profile import load_profile
from tests.dicom_bytes import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    SYNTAX,
    deflated,
    element,
    file,
    item,
    sequence_end,
)
from tests.scanning import scan_all, scanned_values

COLUMNS = [column for column in load_profile("standard").columns if not column.each]
"""Columns of every item are compared by the oracle."""
_TAGS = sorted({path[0].tag for column in COLUMNS for path in column.paths if path[0].tag >> 16 > 2})
_NOISE = [0x00080001, 0x00090010, 0x00091001, 0x00101010, 0x00290010, 0x00291010, 0x00400275, 0x60003000, 0x00080000]
_INNER = {
    0x52009229: [0x00289110, 0x00209113, 0x00209116, 0x00289132, 0x00189325],
    0x52009230: [0x00289110, 0x00209113, 0x00209116, 0x00209111, 0x00189325],
}
_LEAVES = [0x00280030, 0x00180050, 0x00200032, 0x00200037, 0x00281050, 0x00080104, 0x00081155, 0x00080005, 0x00189074]
_BINARY = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}


@st.composite
def elements(draw: st.DrawFn, encoding: Encoding, tags: list[int], depth: int = 0) -> bytes:
    """The bytes of one data set: some of these tags, mostly in order, sometimes one twice."""
    chosen = draw(st.lists(st.sampled_from(tags), max_size=8))
    if draw(st.integers(0, 9)) > 0:
        chosen = sorted(set(chosen))
    return b"".join(draw(_element(tag, encoding, depth)) for tag in chosen)


@st.composite
def _element(draw: st.DrawFn, tag: int, encoding: Encoding, depth: int) -> bytes:
    entry = entry_for_tag(tag)
    vr = "UN" if entry is None else entry.vrs[0]
    if vr == "SQ":
        return draw(_sequence(tag, encoding, depth))
    if not encoding.implicit and draw(st.integers(0, 19)) == 0:
        vr = draw(st.sampled_from(["UN", "LO", "OB", "ZZ", "UT", "US"]))
    size = _BINARY.get(vr)
    value = draw(st.binary(min_size=size, max_size=size)) if size else draw(_texts)
    return element(tag, vr, value, encoding)


_texts = st.sampled_from(
    [b"", b" ", b"1.5\\2.5 ", b"MR", b"1.2.3\0", b"20200131", b"ISO_IR 100", b"A^B", b"12", b"\xfcber"]
)


@st.composite
def _sequence(draw: st.DrawFn, tag: int, encoding: Encoding, depth: int) -> bytes:
    vr = "UN" if not encoding.implicit and draw(st.integers(0, 9)) == 0 else "SQ"
    inner = IMPLICIT if vr == "UN" or (encoding == EXPLICIT and draw(st.integers(0, 14)) == 0) else encoding
    tags = _INNER.get(tag, _LEAVES) if depth < 2 else _LEAVES
    delimited = IMPLICIT if vr == "UN" else encoding
    items = [
        item(content, delimited, defined=draw(st.booleans()))
        for content in draw(st.lists(elements(inner, tags, depth + 1), max_size=3))
    ]
    if draw(st.booleans()):
        return element(tag, vr, b"".join(items), encoding)
    return element(tag, vr, b"".join(items) + sequence_end(delimited), encoding, 0xFFFFFFFF)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file in any encoding, with or without pixels, preamble, file meta and truth in it."""
    encoding = draw(st.sampled_from([EXPLICIT, EXPLICIT, IMPLICIT, BIG]))
    key = element(0x00080018, "UI", b"1.2.3.4\0", encoding)
    body = key + draw(elements(encoding, [tag for tag in _TAGS if tag > 0x00080018] + _NOISE[3:-1]))
    body += draw(st.sampled_from([b"", b"", bytes(6), bytes(30), element(0x7FE00010, "OW", bytes(20), encoding)]))
    form = draw(st.integers(0, 11))
    if form == 0:
        return body
    if form == 1:
        return bytes(128) + body
    if form == 2:
        return file(deflated(body), syntax=SYNTAX[EXPLICIT][:-2] + b"1.99") if encoding == EXPLICIT else file(body)
    syntax = draw(st.sampled_from([None, *SYNTAX.values()])) if form == 3 else SYNTAX[encoding]
    stored = element(0x00020003, "UI", b"1.2.3.4\0")
    return file(body, element(0x00020000, "UL", struct.pack("<I", 99)), stored, syntax=syntax)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A file with some bytes changed, taken out, put in, or its end cut off."""
    data = bytearray(draw(files()))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["set", "set", "delete", "insert", "cut"]))
        if change == "set":
            data[place : place + 1] = draw(st.sampled_from([b"\0", b"\xff", b"\xfe", b"Q", b"\x08", b"\x10", b"\xe0"]))
        elif change == "delete":
            del data[place : place + draw(st.sampled_from([1, 2, 8]))]
        elif change == "insert":
            data[place:place] = draw(st.sampled_from([b"\0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"]))
        else:
            del data[place:]
    return bytes(data)


def tree_values(header: Header) -> dict[str, Element | None]:
    """What the tree holds for each column: the first path with a value."""
    found: dict[str, Element | None] = {}
    for column in COLUMNS:
        candidates = (_follow(header, path) for path in column.paths)
        found[column.name] = next((one for one in candidates if one is not None and _has_value(one)), None)
    return found


def _has_value(one: Element) -> bool:
    return bool(one.value) or one.length not in (0, 0xFFFFFFFF)


def _follow(header: Header, path: tuple[Step, ...]) -> Element | None:
    elements: tuple[Element, ...] = header.elements
    if path[0].tag >> 16 == 2:
        elements = (*{one.tag: one for one in (*header.file_meta, *header.elements)}.values(),)
    for step in path[:-1]:
        holder = next((one for one in elements if one.tag == step.tag), None)
        if holder is None or not isinstance(holder.value, tuple) or step.item >= len(holder.value):
            return None
        elements = holder.value[step.item].elements
    return next((one for one in elements if one.tag == path[-1].tag), None)


def differences(reader: HeaderReader, data: bytes) -> list[str]:
    """Where scanner and tree disagree about these bytes, named exceptions left out."""
    tree = read_tree(data)
    verdict = scan_all(reader, data)
    status, code = (Status.OK, None) if verdict == OK else OUTCOMES[verdict][:2]
    code = reader._inflate_code or code
    found = []
    excused = _named_exception(tree, code, data)
    if not excused and (status, code) != (tree.outcome.status, tree.outcome.code):
        found.append(f"outcome: {status} {code} {reader.scanner.offset}, tree {tree.outcome} {tree.stop_offset}")
    if not excused and verdict == OK and not tree.deflated and reader.header_bytes != tree.stop_offset:
        found.append(f"stop: {reader.header_bytes}, tree {tree.stop_offset}")
    if status not in (Status.OK, Status.PARTIAL) or not tree.elements or excused == "sniff":
        return found
    if reader.scanner.syntax_differs != tree.syntax_differs:
        found.append(f"syntax differs: {reader.scanner.syntax_differs}, tree {tree.syntax_differs}")
    theirs, whole = tree_values(tree), tree.outcome.status == Status.OK
    for name, mine in scanned_values(reader).items():
        if not _same(mine, theirs[name]) and (whole or theirs[name] is not None):
            found.append(f"{name}: {mine}, tree {theirs[name]}")
    return found


def _named_exception(tree: Header, code: Code | None, data: bytes) -> str | None:
    """Why the two may end differently; the values of what both read are the same all the same.

    An unfinished header may hold more values in the scanner: it keeps what it read of a sequence before the fault.
    """
    if code == Code.UNREADABLE_HEADER:
        return "sniff"  # the scanner asks pydicom where the first element makes no sense; the tree tries all the same
    if tree.outcome.status == Status.NOT_DICOM and len(data) < 300:
        return "sniff"  # without preamble, the tree wants the first value whole, the scanner a short one
    if not tree.elements and (code in (Code.TRUNCATED, None) or tree.outcome.code == Code.UNREADABLE_HEADER):
        return "nothing"  # a file that ends with its file meta information is cut for the scanner
    if tree.outcome.offset is not None and tree.outcome.offset != tree.stop_offset:
        return "inside"  # a fault inside a sequence or item that no column wants: the scanner skips these
    return None


def _same(mine: RawValue | None, theirs: Element | None) -> bool:
    if mine is None or theirs is None:
        return mine is None and theirs is None
    if isinstance(theirs.value, tuple):
        return mine.vr in ("SQ", "UN")
    same_bytes = mine.raw == theirs.value and (mine.charset or b"") == (theirs.charset or b"")
    if (
        mine.vr == "UN" or mine.vr not in KNOWN_VRS
    ):  # the tree names the dictionary's VR at once, ``decode_value`` the column's
        return same_bytes
    return same_bytes and mine.vr == theirs.vr and mine.big_endian == theirs.big_endian
