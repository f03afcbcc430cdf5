"""Transfer syntaxes, and how one data element is written in each of them.

In: tag, VR, value.  Out: bytes of the element (PS3.5 7.1), file meta information (PS3.10 7.1).  Knows no images.
"""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import NamedTuple

from dicomflow.errors import ConfigError

PIXEL_DATA = 0x7FE00010
PREAMBLE = bytes(128) + b"DICM"

_IMPLEMENTATION_CLASS_UID = "2.25.190462103846570285493014627715908832"
_IMPLEMENTATION_VERSION = "DICOMFLOW_SYNTH"
_LONG_LENGTH_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_FORMATS = MappingProxyType({"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"})
_UNDEFINED = 0xFFFFFFFF


class Syntax(NamedTuple):
    """One transfer syntax; ``codec`` is the form of the compressed frames, empty where they are native."""

    name: str
    uid: str
    implicit: bool = False
    big_endian: bool = False
    deflated: bool = False
    codec: str = ""


SYNTAXES = MappingProxyType(
    {
        syntax.name: syntax
        for syntax in (
            Syntax("implicit", "1.2.840.10008.1.2", implicit=True),
            Syntax("explicit", "1.2.840.10008.1.2.1"),
            Syntax("big-endian", "1.2.840.10008.1.2.2", big_endian=True),
            Syntax("deflated", "1.2.840.10008.1.2.1.99", deflated=True),
            Syntax("jpeg", "1.2.840.10008.1.2.4.50", codec="jpeg"),
            Syntax("jpeg-lossless", "1.2.840.10008.1.2.4.70", codec="jpeg"),
            Syntax("jpeg-ls", "1.2.840.10008.1.2.4.80", codec="jpeg-ls"),
            Syntax("j2k-lossless", "1.2.840.10008.1.2.4.90", codec="j2k"),
            Syntax("j2k", "1.2.840.10008.1.2.4.91", codec="j2k"),
            Syntax("rle", "1.2.840.10008.1.2.5", codec="rle"),
        )
    }
)
"""Every transfer syntax that is written, by its short name (PS3.5 Annex A)."""


def find_syntax(name: str) -> Syntax:
    """The transfer syntax of that short name.

    Raises:
        ConfigError: nothing has this name.
    """
    if name not in SYNTAXES:
        raise ConfigError(f"unknown transfer syntax {name!r}; one of: {', '.join(SYNTAXES)}")
    return SYNTAXES[name]


def encode_value(vr: str, value: str | float | bytes, *, big_endian: bool = False) -> bytes:
    r"""The value field: ASCII text padded to an even length, one number, or bytes as they are (PS3.5 6.2).

    >>> encode_value("UI", "1.2.3"), encode_value("US", 258)
    (b'1.2.3\x00', b'\x02\x01')
    """
    if isinstance(value, bytes):
        return value
    if vr in _FORMATS:
        return struct.pack((">" if big_endian else "<") + _FORMATS[vr], value)
    raw = str(value).encode("ascii")
    return raw + (b"\0" if vr == "UI" else b" ") if len(raw) % 2 else raw


def encode_element(tag: int, vr: str, raw: bytes, syntax: Syntax) -> bytes:
    r"""One data element with this value field, whatever it holds: odd lengths stay odd.

    Compressed PixelData is written with undefined length and a sequence delimiter (PS3.5 A.4).

    >>> encode_element(0x00080060, "CS", b"MR", SYNTAXES["explicit"])
    b'\x08\x00`\x00CS\x02\x00MR'
    """
    order = ">" if syntax.big_endian else "<"
    start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if tag == PIXEL_DATA and syntax.codec:
        return start + b"OB\0\0" + struct.pack("<I", _UNDEFINED) + raw + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    if syntax.implicit:
        return start + struct.pack("<I", len(raw)) + raw
    if vr in _LONG_LENGTH_VRS:
        return start + vr.encode() + struct.pack(order + "HI", 0, len(raw)) + raw
    return start + vr.encode() + struct.pack(order + "H", len(raw)) + raw


def encode_file_meta(sop_class_uid: str, sop_instance_uid: str | None, transfer_syntax_uid: str) -> bytes:
    """The file meta information with a right group length; always explicit VR little endian (PS3.10 7.1)."""
    values: tuple[tuple[int, str, str | bytes | None], ...] = (
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", sop_class_uid),
        (0x00020003, "UI", sop_instance_uid),
        (0x00020010, "UI", transfer_syntax_uid),
        (0x00020012, "UI", _IMPLEMENTATION_CLASS_UID),
        (0x00020013, "SH", _IMPLEMENTATION_VERSION),
    )
    explicit = SYNTAXES["explicit"]
    group = b"".join(
        encode_element(tag, vr, encode_value(vr, value), explicit) for tag, vr, value in values if value is not None
    )
    return encode_element(0x00020000, "UL", encode_value("UL", len(group)), explicit) + group
