"""What must hold for any bytes whatever: one function, ``check``, for the fuzzer and for the tests.

The bytes are read whole from a buffer of exactly their size, in growing prefixes as a caller would, and with limits so
small that they are hit.  Work is counted in elements, not in seconds.  What is slow (typing a batch, the tree, pydicom)
is done for a share of the inputs that a checksum picks, so that the fuzzer keeps its pace and a failure its repeatability.
"""

import json
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dicomflow.errors import Code, Status
from dicomflow.header.dicom_json import to_dicom_json
from dicomflow.header.element import Limits
from dicomflow.header.items import PACKED, pack_items, unpack_items
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.header.tree import read_tree
from dicomflow.header.verdict import NEED_MORE, OUTCOMES
from dicomflow.model import RawValue
from dicomflow.schema.column import Column, make_column
from dicomflow.schema.profile import load_profile
from tests.scanning import build, distinct_values

PATHS = {
    "SharedFunctionalGroupsSequence": None,
    "PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient": None,
    "ReferencedSeriesSequence[0].ReferencedInstanceSequence[2].ReferencedSOPInstanceUID": None,
    "RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeMeaning": None,
    "ReferencedImageSequence[0].SmallestImagePixelValue": "US",
    'ReferencedImageSequence[1].(0011,"A",01)': "LO",
    '(0029,"SIEMENS CSA HEADER",08)': "LO",
    '(0009,"GEMS_IDEN_01",01)[0].PixelSpacing': "DS",
    "TransferSyntaxUID": None,
    "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence[0].ImagePositionPatient": None,
    "PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[*].ImagePositionPatient": None,
    "ReferencedImageSequence[*].SmallestImagePixelValue": "US",
    'ReferencedImageSequence[*].(0011,"A",01)': "LO",
}
"""What the ``standard`` profile does not ask for: nested, private, a sequence whole, US or SS, file meta, all items; and
their VR."""

COLUMNS: tuple[Column, ...] = (
    *load_profile("standard").columns,
    *(make_column(f"Extra{number}", (path,), vr) for number, (path, vr) in enumerate(PATHS.items())),
)
SMALL = Limits(max_elements=24, max_depth=2, max_inflated_bytes=2000)
LIMITS = Limits(max_inflated_bytes=1 << 20)
MAX_LIST = 1 << 20
SOME, FEW = 16, 512
"""One input in so many is looked at value by value; typed, read into a tree, given to pydicom."""

_READER = HeaderReader(COLUMNS, rows=2, limits=LIMITS)
_PREFIXES = HeaderReader(COLUMNS, rows=1, limits=LIMITS)
_LIMITED = HeaderReader(COLUMNS, rows=1, limits=SMALL)


class Found(NamedTuple):
    """How reading ended, and what the scanner noted, to be compared."""

    verdict: int
    inflate_code: Code | None
    offset: int
    stop: int
    elements: int
    lengths: bytes
    offsets: bytes
    vrs: bytes
    lists: tuple[bytes, ...]


def check(data: bytes, *, thorough: bool = False) -> None:
    """Read these bytes in every way; AssertionError, or whatever else comes out, is a defect.

    Args:
        data: any bytes.
        thorough: do all that is otherwise done for a share of the inputs, and begin with prefixes of many sizes.
    """
    assert COMPILED, "there is nothing to fuzz without the compiled modules"
    draw = zlib.crc32(data)
    _read_whole(data, _READER)
    _check_hits(_READER)
    whole = _found(_READER)
    _accept(_READER, ask_pydicom=thorough or draw % FEW == 0)
    if thorough or draw % SOME == 0:
        _check_values(_READER)
        _accept_again(_READER)
    if (thorough or draw % FEW == 1) and _READER.batch.rows:
        build(_READER, _READER.batch.rows)
    _READER.batch.reset()
    for size in _prefix_sizes(len(data), draw, thorough):
        _check_prefixes(data, whole, size)
    if thorough or not draw & 1:
        _read_limited(data)
    if thorough or draw % FEW == 2:
        _check_tree(data)


def _prefix_sizes(size: int, draw: int, thorough: bool) -> Sequence[int]:
    """How many bytes to begin with: one number for every second input, or some two hundred."""
    if thorough:
        return range(0, size, 1 + size // 200)
    return (draw % (size + 1),) if draw & 1 else ()


# ---- the scanner -----------------------------------------------------------------------------------------------------


def _read_whole(data: bytes, reader: HeaderReader) -> None:
    """From a buffer without a byte to spare: what reads beyond it is caught."""
    reader.grow(len(data))
    reader.view[:] = data
    verdict = reader.scan(len(data), True)
    assert verdict != NEED_MORE, "asks for more than there is"
    assert verdict == 0 or verdict in OUTCOMES, "a verdict without an outcome"


def _found(reader: HeaderReader) -> Found:
    hits, scanner = reader.hits, reader.scanner
    absent = hits.length < 0
    return Found(
        reader.verdict,
        reader._inflate_code,
        scanner.offset,
        scanner.stop,
        scanner.elements,
        hits.length.tobytes(),
        np.where(absent, 0, hits.offset).tobytes(),
        np.where(absent, 0, hits.vr).tobytes(),
        tuple(_packed(reader, number) for number in range(reader.tables.lists)),
    )


def _packed(reader: HeaderReader, number: int) -> bytes:
    """The values of all items; what was packed can be unpacked to its end."""
    packed, _ = reader.scanner.take_list(number, MAX_LIST)
    if not packed:
        return b""
    assert pack_items(unpack_items(RawValue(packed, PACKED))).raw == packed, "a list that does not unpack"
    return packed


def _check_hits(reader: HeaderReader) -> None:
    """Each value lies inside the bytes, and no byte was walked twice."""
    size, hits, scanner = len(reader._bytes), reader.hits, reader.scanner
    present = hits.length >= 0
    ends = (hits.offset + hits.length)[present]
    assert not ends.size or (hits.offset[present].min() >= 0 and ends.max() <= size), "a value outside the bytes"
    assert 0 <= scanner.offset <= size and 0 <= reader.header_bytes <= size, "ends outside the bytes"
    assert 8 * scanner.elements <= size + 8, "more elements than the bytes can hold"
    assert size <= len(reader.buffer) + reader.limits.max_inflated_bytes, "inflated beyond the limit"


def _check_values(reader: HeaderReader) -> None:
    """Each value has the length that stands before it; a charset in force lies inside the bytes."""
    data, hits = bytes(reader._bytes), reader.hits
    for leaf in np.flatnonzero(hits.length >= 0).tolist():
        offset, length = int(hits.offset[leaf]), int(hits.length[leaf])
        long, short = data[offset - 4 : offset], data[offset - 2 : offset]
        stated = {int.from_bytes(one, order) for one in (long, short) for order in ("little", "big")}
        assert length in stated or 0xFFFFFFFF in stated, "a value of another length than stated"
        scope = int(hits.scope[leaf])
        while scope >= 0:
            if hits.scope_length[scope] >= 0:
                assert 0 <= hits.scope_offset[scope] <= len(data) - hits.scope_length[scope], "a charset outside"
            assert hits.scope_parent[scope] < scope, "scopes in a circle"
            scope = int(hits.scope_parent[scope])


def _check_prefixes(data: bytes, whole: Found, size: int) -> None:
    """Fed bit by bit, the end is the same; what lies in the buffer behind the bytes read so far changes nothing."""
    reader = _PREFIXES
    reader.grow(len(data) + 64)
    reader.view[:] = b"\xa5" * len(reader.view)
    place, steps = 0, 0
    while True:
        size = min(size, len(data))
        reader.view[place:size] = data[place:size]
        place, at_end = size, size == len(data)
        if reader.scan(size, at_end) != NEED_MORE:
            break
        assert not at_end, "asks for more than there is"
        assert reader.needed > size, "asks for what it has"
        steps += 1
        size = reader.needed if steps < 2 else max(reader.needed, 2 * size)
    assert _found(reader) == whole, "a prefix ends otherwise than the whole"


def _read_limited(data: bytes) -> None:
    reader = _LIMITED
    _read_whole(data, reader)
    _check_hits(reader)
    assert reader.scanner.elements <= SMALL.max_elements + 1, "more elements than allowed"


# ---- rows ------------------------------------------------------------------------------------------------------------


def _accept(reader: HeaderReader, *, ask_pydicom: bool) -> None:
    """The outcome says whether there is a row."""
    if reader._asks_pydicom() and not ask_pydicom:
        return
    rows = reader.batch.rows
    outcome = reader.accept()
    has_row = outcome is None or outcome.status is Status.PARTIAL
    assert reader.batch.rows == rows + has_row, "a row without its outcome, or the reverse"
    assert outcome is None or (outcome.code is not None and outcome.message), "an outcome that says nothing"
    if has_row:
        reader.remarks()


def _accept_again(reader: HeaderReader) -> None:
    """The same header again has the same codes, and they stand for the bytes that the scanner found."""
    if not reader.batch.rows or reader.by_pydicom:
        return
    _accept(reader, ask_pydicom=True)
    first, second = reader.batch.take_codes()
    assert (first == second).all(), "equal values with two codes"
    _check_interned(reader, first.tolist())


def _check_interned(reader: HeaderReader, codes: list[int]) -> None:
    for column, code in enumerate(codes):
        if code < 0:
            continue
        if column in reader.tables.column_lists:
            continue
        leaf = reader.tables.column_leaves[column][reader.batch.chosen[column]]
        start, length = int(reader.hits.offset[leaf]), int(reader.hits.length[leaf])
        interned = distinct_values(reader, column)[code].raw
        assert interned == bytes(reader._bytes[start : start + length]), "another value than the scanner's"


# ---- the tree --------------------------------------------------------------------------------------------------------


def _check_tree(data: bytes) -> None:
    tree = read_tree(data, limits=LIMITS)
    json.dumps(to_dicom_json((*tree.file_meta, *tree.elements)), allow_nan=False)
    assert tree.outcome.status in (Status.OK, Status.PARTIAL, Status.FAILED, Status.NOT_DICOM, Status.SKIPPED)
    assert tree.outcome.status is Status.OK or tree.outcome.code is not None
