"""Inflating step by step: what comes out is the stream's, however it is cut into steps."""

import random
import zlib

import pytest

from dicomflow.errors import Code
from dicomflow.header.inflate import Inflater
from tests.dicom_bytes import DEFLATED_UID, STOP, element, meta
from tests.scanning import read_one

TEXT = random.Random(1).randbytes(3000)
KEY = element(0x00080018, "UI", b"1.2.3\0")


def inflate(data, size=1 << 20):
    stream = Inflater(data)
    stream.inflate(size)
    return stream


@pytest.mark.parametrize("window", [-15, 15])
@pytest.mark.parametrize("sizes", [[1 << 20], [1, 2, 1000, 1001, 3000, 1 << 20], list(range(1, 3100, 7))])
def test_whole_streams(window, sizes):
    """Raw, or with a zlib header; at once or bit by bit."""
    packer = zlib.compressobj(wbits=window)
    stream = Inflater(packer.compress(TEXT) + packer.flush())
    for size in sizes:
        stream.inflate(size)
        assert bytes(stream.out) == TEXT[: len(stream.out)] and len(stream.out) == min(size, len(TEXT))
    assert stream.ended and not stream.damaged and not stream.starved


@pytest.mark.parametrize("place", [0, 1, 5, 900, 1020, 1023, 1024, 1025, 2047, 2500])
def test_damage_costs_only_what_comes_after_it(place):
    """All that was packed before the damaged byte is there, and never depends on the bytes behind it."""
    packer = zlib.compressobj(0, wbits=-15)
    good = packer.compress(TEXT[:place]) + packer.flush(zlib.Z_SYNC_FLUSH)
    for tail in (b"\x07", b"\x07" * 50, b"\x07" * 3000):  # a block of a kind that does not exist
        stream = inflate(good + tail)
        assert bytes(stream.out) == TEXT[:place]
        assert stream.damaged and not stream.ended and not stream.starved


def test_damage_behind_the_header_is_nobodys_business():
    """The stop tag was passed: the header is whole."""
    packer = zlib.compressobj(wbits=-15)
    good = packer.compress(KEY + element(STOP, "OW", bytes(16))) + packer.flush(zlib.Z_SYNC_FLUSH)
    read = read_one(meta(syntax=DEFLATED_UID) + good + b"\x07" * 8)
    assert read.outcome is None and read.raw("SOPInstanceUID") == b"1.2.3\0"


def test_damage_inside_the_header_is_said():
    """What came before it is kept, as a partial row."""
    packer = zlib.compressobj(wbits=-15)
    good = packer.compress(KEY + element(0x00080060, "CS", b"MR")) + packer.flush(zlib.Z_SYNC_FLUSH)
    read = read_one(meta(syntax=DEFLATED_UID) + good + b"\x07" * 8, "Modality")
    assert read.code == Code.INFLATE_ERROR and read.raw("Modality") == b"MR"
