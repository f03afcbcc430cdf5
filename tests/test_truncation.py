"""Cut at every byte: a header that breaks off is never ``ok``, and what is delivered of it is what the whole one has.

Each file is cut at every offset of its header, the stop tag's own eight bytes included.  All cuts of a file are read into one
batch: a value that equals the whole file's has the code of the whole file's, so one comparison of numbers tells.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest

from dicomflow.errors import Status
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.schema.column import Column, make_column
from dicomflow.schema.profile import load_profile
from dicomflow.synth import make_series
from tests.scanning import feed, scan_all

pytestmark = pytest.mark.skipif(not COMPILED, reason="pydicom reads them: see tests/header/test_fallback.py")

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
FRAMES = "PerFrameFunctionalGroupsSequence[*].PlanePositionSequence[0].ImagePositionPatient"
COLUMNS: tuple[Column, ...] = (
    *load_profile("standard").columns,
    *(
        make_column(name)
        for name in (
            "ContentSequence",
            "ROIContourSequence",
            "ReferencedImageSequence",
            "ImageComments",
        )
    ),
    make_column("Frames", (FRAMES,)),
    make_column("CSA", ('(0029,"SIEMENS CSA HEADER",08)',), vr="LO"),
)


class Cuts(NamedTuple):
    """What came of all cuts of one file."""

    statuses: dict[int, Status]  # by size
    header: int  # bytes of the file that its header takes, with the eight that show the stop tag
    wrong: list[tuple[int, str]]  # size, column


def cut_everywhere(data: bytes) -> Cuts:
    """Read the file cut at each byte before ``header``."""
    header = header_size(data)
    reader = HeaderReader(COLUMNS, rows=header + 1)
    assert feed(reader, data) is None
    statuses, rows = {}, []
    for size in range(header):
        outcome = feed(reader, data[:size])
        statuses[size] = Status.OK if outcome is None else outcome.status
        if reader.batch.rows > len(rows) + 1:
            rows.append(size)
    codes = reader.batch.take_codes()
    wrong = np.argwhere((codes[1:] != -1) & (codes[1:] != codes[0])).tolist()
    return Cuts(statuses, header, [(rows[row], COLUMNS[column].name) for row, column in wrong])


def header_size(data: bytes) -> int:
    """From the first byte to the end of what shows that the header is whole."""
    reader = HeaderReader(COLUMNS, rows=1)
    scan_all(reader, data)
    seen = reader.header_bytes + (8 if reader.scanner.stopped else 0)
    syntax = reader.scanner.take_transfer_syntax().strip(b"\0")
    return _deflated_size(data, seen) if syntax.endswith(b".1.99") else seen


def _deflated_size(data: bytes, inflated: int) -> int:
    """Compressed bytes that give so many inflated ones; zlib is the judge."""
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    for size in range(start, len(data)):
        if start + len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:size])) >= inflated:
            return size
    return len(data)


def synthetic(kind: str, syntax: str, corrupt: Callable[[bytes], bytes] = bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        (made,) = make_series(kind, instances=1, seed=7, syntax=syntax)
        return corrupt(made.data)

    return make


def without_preamble(data: bytes) -> bytes:
    return data[132:]


def without_approval(data: bytes) -> bytes:
    """Up to ApprovalStatus (300E,0002), which belongs to an optional module."""
    return data[: data.index(b"\x0e\x30\x02\x00")]


def bundled(name: str) -> Callable[[], bytes]:
    return (BUNDLED / name).read_bytes


FILES: dict[str, Callable[[], bytes]] = {
    "CT, explicit": synthetic("ct", "explicit"),
    "MR of 341 elements, implicit": synthetic("mr-long", "implicit"),
    "PET, big endian": synthetic("pet", "big-endian"),
    "ultrasound, deflated": synthetic("us", "deflated"),
    "mammogram, JPEG": synthetic("mg", "jpeg-lossless"),
    "enhanced multi-frame": synthetic("enhanced-mr", "explicit"),
    "segmentation": synthetic("seg", "explicit"),
    "structured report": synthetic("sr", "explicit"),
    "structure set": synthetic("rtstruct", "implicit", without_approval),
    "CT without preamble": synthetic("ct", "explicit", without_preamble),
    "DX, implicit": synthetic("dx", "implicit"),
    "SR of pydicom": bundled("test-SR.dcm"),
    "structure set of pydicom": bundled("rtstruct.dcm"),
    "CT of pydicom, private elements": bundled("CT_small.dcm"),
    "MR of pydicom, big endian": bundled("MR_small_bigendian.dcm"),
    "encapsulated pixels": bundled("JPEG2000.dcm"),
    "undefined-length sequences": bundled("liver_1frame.dcm"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_header_cut_at_any_byte_is_never_whole(name: str) -> None:
    """``partial``, ``failed`` or ``not_dicom`` at every offset; each value delivered is the uncut file's."""
    cuts = cut_everywhere(FILES[name]())
    assert len(cuts.statuses) > 300
    assert not [size for size, status in cuts.statuses.items() if status == Status.OK]
    assert set(cuts.statuses.values()) <= {Status.PARTIAL, Status.FAILED, Status.NOT_DICOM}
    assert not cuts.wrong, cuts.wrong[:5]


def test_nothing_tells_a_cut_after_what_the_sop_class_requires() -> None:
    """The limit of it, in the open: between optional elements at the end of a file without pixels a cut leaves no trace."""
    (made,) = make_series("rtstruct", instances=1, seed=7, syntax="explicit")
    cuts = cut_everywhere(made.data)
    approval = made.data.index(b"\x0e\x30\x02\x00CS")  # ApprovalStatus (300E,0002): of an optional module
    assert [size for size, status in cuts.statuses.items() if status == Status.OK] == [approval]


def test_every_cut_of_the_corpus_between_two_elements(corpus_files: list[Path]) -> None:
    """A sample of real files, cut at every byte: ``ok`` only where the SOP Class requires nothing more; values are never wrong."""
    undetected, read = 0, 0
    for path in corpus_files[::60]:
        data = path.read_bytes()
        reader = HeaderReader(COLUMNS, rows=1)
        if feed(reader, data) is not None or reader.by_pydicom or not 0 < header_size(data) < 20_000:
            continue
        cuts = cut_everywhere(data)
        assert not cuts.wrong, (path.name, cuts.wrong[:5])
        undetected += sum(status == Status.OK for status in cuts.statuses.values())
        read += 1
    assert read > 10
    assert undetected == 0
