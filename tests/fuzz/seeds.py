"""Headers to begin from: our own synthetic ones and their faults, pydicom's bundled files, a folder of real ones where there is one.

All are cut to their header and some bytes, small ones first; nothing of them is kept in the project.
"""

from collections.abc import Iterator
from pathlib import Path

from pydicom.data import get_testdata_files

from dicomflow.header.tree import read_tree
from dicomflow.synth import KINDS, iter_files, make_series
from tests.dicom_bytes import BIG, EXPLICIT, IMPLICIT, SYNTAX, deflated, element, file, item, sequence

MAX_SIZE = 4096
_TAIL = 64  # bytes kept after the header
_LARGE = 1 << 24  # files beyond this are not opened


def make_seeds() -> list[bytes]:
    """Small, and the same on every machine; for the tests."""
    found = {*_literals(), *(_cut(one.data) for kind in KINDS for one in make_series(kind, seed=3))}
    return sorted((one for one in found if len(one) <= MAX_SIZE), key=lambda one: (len(one), one))


def find_seeds(folder: Path) -> list[bytes]:
    """All that can be had here, smallest first; for the fuzzer."""
    found = {*make_seeds(), *(_cut(one) for one in _bytes_at_hand(folder))}
    return sorted((one for one in found if len(one) <= MAX_SIZE), key=len)


def _bytes_at_hand(folder: Path) -> Iterator[bytes]:
    yield from (one.data for one in iter_files(files=400, seed=5, corrupt=0.5))
    paths = [Path(name) for name in get_testdata_files()]
    paths += sorted(folder.rglob("*")) if folder.is_dir() else []
    for path in paths:
        if path.is_file() and path.stat().st_size <= _LARGE:
            yield path.read_bytes()


def _cut(data: bytes) -> bytes:
    """The header and a little more (a deflated one whole)."""
    tree = read_tree(data)
    return data if tree.deflated else data[: tree.stop_offset + _TAIL]


def _literals() -> Iterator[bytes]:
    """A header of each encoding with the structures that a walk can stumble over."""
    for encoding in (EXPLICIT, IMPLICIT, BIG):
        body = _body(encoding)
        yield file(body, syntax=SYNTAX[encoding])
        yield file(body + element(0x7FE00010, "OW", bytes(16), encoding), syntax=SYNTAX[encoding])
        yield body
        yield bytes(128) + body
    yield file(deflated(_body(EXPLICIT) + element(0x7FE00010, "OW", bytes(16))), syntax=b"1.2.840.10008.1.2.1.99")
    yield b""


def _body(encoding) -> bytes:
    spacing = element(0x00280030, "DS", b"0.5\\0.5 ", encoding)
    position = element(0x00200032, "DS", b"1\\2\\3 ", encoding)

    def nest(tag: int, content: bytes, *, defined: bool, times: int = 1) -> bytes:
        return sequence(tag, [item(content, encoding, defined=defined)] * times, encoding, defined=defined)

    frames = nest(0x00209113, position, defined=False)
    private = element(0x00110010, "LO", b"A ", encoding) + element(0x00111001, "LO", b"mine", encoding)
    implicit = element(0x00280030, "DS", b"1\\1 ", IMPLICIT)
    return b"".join(
        (
            element(0x00080005, "CS", b"ISO_IR 192", encoding),
            element(0x00080018, "UI", b"1.2.3\0", encoding),
            element(0x00080060, "CS", b"MR", encoding),
            nest(0x00081140, private, defined=True, times=2),
            element(0x00090010, "LO", b"GEMS_IDEN_01", encoding),
            element(0x00091001, "UN", item(implicit, IMPLICIT), encoding),
            element(0x00100010, "PN", "Müller^A".encode(), encoding),
            element(0x00280103, "US", b"\1\0", encoding),
            element(0x00280106, "US", b"\1\0", encoding),
            element(0x00290010, "LO", b"SIEMENS CSA HEADER", encoding),
            element(0x00291008, "LO", b"IMAGE NUM 4", encoding),
            nest(0x52009229, nest(0x00289110, spacing, defined=True), defined=True),
            nest(0x52009230, frames, defined=False, times=3),
        )
    )
