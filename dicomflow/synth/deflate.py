"""Deflate (RFC 1951) with the fixed Huffman code and no back references.

In: bytes.  Out: a raw deflate stream.  Knows no DICOM.  The stream of zlib differs between its builds (zlib, zlib-ng),
which would make the same seed give other files on another machine; this one never differs.
"""

from __future__ import annotations

_BLOCK_HEADER = "110"  # BFINAL = 1, BTYPE = 01, least significant bit first
_END_OF_BLOCK = "0000000"


def deflate(data: bytes) -> bytes:
    """``data`` as one final block of literals (RFC 1951 3.2.6), even in length as PS3.5 A.5 asks.

    >>> import zlib
    >>> zlib.decompress(deflate(b"DICOM"), -15)
    b'DICOM'
    """
    bits = _BLOCK_HEADER + "".join(map(_CODES.__getitem__, data)) + _END_OF_BLOCK
    stream = int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")
    return stream + b"\0" if len(stream) % 2 else stream


def _literal_code(byte: int) -> str:
    return f"{0x30 + byte:08b}" if byte < 144 else f"{0x190 + byte - 144:09b}"


_CODES = tuple(_literal_code(byte) for byte in range(256))
