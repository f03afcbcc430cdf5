"""Pixel data: small, random and right in size, native or compressed.

In: a matrix (rows, columns, bits), a transfer syntax.  Out: image pixel attributes; PixelData per instance.
Knows the frame of each codec (RLE is real, JPEG and JPEG 2000 are well formed at their markers only); no patients.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.encaps import encapsulate

from dicomflow.synth.draw import Draw
from dicomflow.synth.study import Attributes, Varying
from dicomflow.synth.syntax import PIXEL_DATA, Syntax

_SHIFTS = 64  # instances look at the pool through a window that moves: different pixels at no cost
_NO_MARKER = bytes(range(255)) + b"\xfe"  # entropy coded data holds no FF
_LOW_NIBBLE = bytes(byte & 0x0F for byte in range(256))
_RLE_RUN = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Size and depth of one image; ``bits`` are stored in one or two bytes per sample."""

    rows: int
    columns: int
    bits: int = 12
    samples: int = 1
    frames: int = 1
    signed: bool = False

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample."""
        return 1 if self.bits <= 8 else 2

    @property
    def frame_size(self) -> int:
        """Bytes of one native frame."""
        return self.rows * self.columns * self.samples * self.bytes_per_sample


def describe_pixels(matrix: Matrix, photometric: str = "MONOCHROME2") -> Attributes:
    """The image pixel module (PS3.3 C.7.6.3)."""
    planar = {"PlanarConfiguration": 0} if matrix.samples > 1 else {}
    return {
        "SamplesPerPixel": matrix.samples,
        "PhotometricInterpretation": photometric,
        **planar,
        "Rows": matrix.rows,
        "Columns": matrix.columns,
        "BitsAllocated": 8 * matrix.bytes_per_sample,
        "BitsStored": matrix.bits,
        "HighBit": matrix.bits - 1,
        "PixelRepresentation": int(matrix.signed),
    }


def vary_pixels(matrix: Matrix, syntax: Syntax, draw: Draw) -> Varying:
    """PixelData, other pixels in each instance."""
    frames = _windows(matrix, draw)
    if not syntax.codec:
        swap = syntax.big_endian and matrix.bytes_per_sample == 2
        vr = "OW" if matrix.bytes_per_sample == 2 or syntax.implicit else "OB"
        return Varying(PIXEL_DATA, vr, lambda index: _native(frames(index), swap=swap))
    encode = _CODECS[syntax.codec]
    fragments = 1 if syntax.codec == "rle" else draw.pick((1, 1, 2))
    has_table = draw.chance(0.5)
    return Varying(
        PIXEL_DATA,
        "OB",
        lambda index: encapsulate([encode(frame, matrix) for frame in frames(index)], fragments, has_table),
    )


def _windows(matrix: Matrix, draw: Draw) -> Callable[[int], list[bytes]]:
    """Instance -> native frames, little endian; cut from one pool of random samples."""
    stride = matrix.samples * matrix.bytes_per_sample
    pool = bytearray(draw.blob(matrix.frame_size + _SHIFTS * stride))
    if matrix.bytes_per_sample == 2:
        pool[1::2] = pool[1::2].translate(_LOW_NIBBLE)
    samples = bytes(pool)

    def frames(index: int) -> list[bytes]:
        starts = [(index * 7 + frame * 3) % _SHIFTS * stride for frame in range(matrix.frames)]
        return [samples[start : start + matrix.frame_size] for start in starts]

    return frames


def _native(frames: list[bytes], *, swap: bool) -> bytes:
    raw = b"".join(frames)
    if swap:
        swapped = bytearray(len(raw))
        swapped[0::2], swapped[1::2] = raw[1::2], raw[0::2]
        return bytes(swapped)
    return raw + b"\0" if len(raw) % 2 else raw


def _jpeg(frame: bytes, matrix: Matrix) -> bytes:
    """SOI, JFIF APP0, SOF0, SOS, entropy coded bytes, EOI (ISO 10918-1 B.2)."""
    app = b"\xff\xe0\x00\x10JFIF\0\1\2\0\0\1\0\1\0\0"
    sof = _frame_header(b"\xff\xc0", matrix)
    components = b"".join(bytes((number + 1, 0)) for number in range(matrix.samples))
    sos = b"\xff\xda" + struct.pack(">HB", 6 + 2 * matrix.samples, matrix.samples) + components + b"\0\x3f\0"
    return b"\xff\xd8" + app + sof + sos + _entropy_coded(frame) + b"\xff\xd9"


def _jpeg_ls(frame: bytes, matrix: Matrix) -> bytes:
    """SOI, SOF55, entropy coded bytes, EOI (ISO 14495-1 C.1)."""
    return b"\xff\xd8" + _frame_header(b"\xff\xf7", matrix) + _entropy_coded(frame) + b"\xff\xd9"


def _frame_header(marker: bytes, matrix: Matrix) -> bytes:
    components = b"".join(bytes((number + 1, 0x11, 0)) for number in range(matrix.samples))
    size = 8 + 3 * matrix.samples
    return marker + struct.pack(">HBHHB", size, matrix.bits, matrix.rows, matrix.columns, matrix.samples) + components


def _j2k(frame: bytes, matrix: Matrix) -> bytes:
    """SOC, SIZ, SOT, SOD, packets, EOC (ISO 15444-1 A.4)."""
    size = struct.pack(">IIIIIIII", matrix.columns, matrix.rows, 0, 0, matrix.columns, matrix.rows, 0, 0)
    components = bytes((matrix.bits - 1, 1, 1)) * matrix.samples
    siz = b"\xff\x51" + struct.pack(">HH", 38 + 3 * matrix.samples, 0) + size + struct.pack(">H", matrix.samples)
    packets = _entropy_coded(frame)
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, len(packets) + 14, 0, 1)
    return b"\xff\x4f" + siz + components + sot + b"\xff\x93" + packets + b"\xff\xd9"


def _entropy_coded(frame: bytes) -> bytes:
    """A third of the frame, as lossless compression leaves it; no markers, even in length."""
    return frame[: len(frame) // 6 * 2].translate(_NO_MARKER)


def _rle(frame: bytes, matrix: Matrix) -> bytes:
    """A real RLE frame of literal runs: one segment per byte plane, most significant first (PS3.5 G.3)."""
    width = matrix.bytes_per_sample
    planes = [sample * width + byte for sample in range(matrix.samples) for byte in reversed(range(width))]
    segments = [_literal_runs(frame[plane :: matrix.samples * width]) for plane in planes]
    offsets = [64]
    for segment in segments:
        offsets.append(offsets[-1] + len(segment))
    table = [len(segments), *offsets[:-1]]
    return struct.pack("<16I", *table, *([0] * (16 - len(table)))) + b"".join(segments)


def _literal_runs(plane: bytes) -> bytes:
    runs = (plane[start : start + _RLE_RUN] for start in range(0, len(plane), _RLE_RUN))
    segment = b"".join(bytes((len(run) - 1,)) + run for run in runs)
    return segment + b"\0" if len(segment) % 2 else segment


_CODECS: dict[str, Callable[[bytes, Matrix], bytes]] = {"jpeg": _jpeg, "jpeg-ls": _jpeg_ls, "j2k": _j2k, "rle": _rle}
