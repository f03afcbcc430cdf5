"""Make DICOM bytes on the fly: elements, items, sequences, files, exactly as laid out and as wrong as wanted."""

import struct
import zlib

from dicomflow.header.element import EXPLICIT_LE, IMPLICIT_LE, UNDEFINED_LENGTH, Encoding
from dicomflow.header.vr import LONG_VRS

EXPLICIT, IMPLICIT = EXPLICIT_LE, IMPLICIT_LE
BIG = Encoding(implicit=False, big_endian=True)

EXPLICIT_UID, IMPLICIT_UID = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0"
BIG_UID, DEFLATED_UID = b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1.99"
DICOMDIR_UID = b"1.2.840.10008.1.3.10"
SYNTAX = {EXPLICIT: EXPLICIT_UID, IMPLICIT: IMPLICIT_UID, BIG: BIG_UID}

STOP = 0x7FE00010


def element(tag: int, vr: str, value: bytes = b"", encoding: Encoding = EXPLICIT, length: int | None = None) -> bytes:
    """One element; ``length`` overrides the true one."""
    order = ">" if encoding.big_endian else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if encoding.implicit:
        return head + struct.pack(order + "I", size) + value
    if vr in LONG_VRS:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


def item(content: bytes = b"", encoding: Encoding = EXPLICIT, *, defined: bool = True) -> bytes:
    """One item, of defined or undefined length."""
    size = len(content) if defined else UNDEFINED_LENGTH
    return _delimiter(0xE000, size, encoding) + content + (b"" if defined else item_end(encoding))


def item_end(encoding: Encoding = EXPLICIT) -> bytes:
    """An item delimiter."""
    return _delimiter(0xE00D, 0, encoding)


def sequence_end(encoding: Encoding = EXPLICIT) -> bytes:
    """A sequence delimiter."""
    return _delimiter(0xE0DD, 0, encoding)


def sequence(
    tag: int, items: list[bytes], encoding: Encoding = EXPLICIT, *, defined: bool = True, vr: str = "SQ"
) -> bytes:
    """A sequence of items made with ``item``."""
    content = b"".join(items)
    if defined:
        return element(tag, vr, content, encoding)
    return element(tag, vr, content + sequence_end(encoding), encoding, UNDEFINED_LENGTH)


def _delimiter(number: int, size: int, encoding: Encoding) -> bytes:
    return struct.pack((">" if encoding.big_endian else "<") + "HHI", 0xFFFE, number, size)


def meta(*elements: bytes, syntax: bytes | None = EXPLICIT_UID) -> bytes:
    """Preamble, ``DICM`` and file meta information with this transfer syntax (None: without)."""
    declared = b"" if syntax is None else element(0x00020010, "UI", syntax)
    return bytes(128) + b"DICM" + b"".join(elements) + declared


def file(data_set: bytes, *elements: bytes, syntax: bytes | None = EXPLICIT_UID) -> bytes:
    """A file: ``meta`` and a data set."""
    return meta(*elements, syntax=syntax) + data_set


def deflated(data_set: bytes) -> bytes:
    """A data set as a raw deflate stream (PS3.5 A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data_set) + packer.flush()
