"""The values of one attribute in all items of a sequence, packed as one value; and back.

In: RawValues, one per item (None where an item has none).  Out: bytes, and the RawValues again.
The scanner packs in the same way (``header.scan``), so that a batch keeps such a list like any other distinct value.

Each item is a record: length of the value (0xFFFFFFFF: none), its VR and byte order, length of the SpecificCharacterSet in
force (0xFFFFFFFF: none), each as little endian u32; then the charset, then the value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from dicomflow.model import RawValue

PACKED = "**"
"""What stands for the VR of a packed list: no VR of DICOM."""

_RECORD = struct.Struct("<3I")
_NONE = 0xFFFFFFFF
_BIG_ENDIAN = 0x10000


def pack_items(values: Iterable[RawValue | None]) -> RawValue:
    """One value of all of these.

    >>> [one and one.raw for one in unpack_items(pack_items([RawValue(b"1", "DS"), None]))]
    [b'1', None]
    """
    return RawValue(b"".join(_pack(value) for value in values), PACKED)


def _pack(value: RawValue | None) -> bytes:
    if value is None:
        return _RECORD.pack(_NONE, 0, _NONE)
    context = ord(value.vr[0]) << 8 | ord(value.vr[1]) | (_BIG_ENDIAN if value.big_endian else 0)
    charset = b"" if value.charset is None else value.charset
    head = _RECORD.pack(len(value.raw), context, _NONE if value.charset is None else len(charset))
    return head + charset + value.raw


def unpack_items(packed: RawValue) -> Iterator[RawValue | None]:
    """The values of the items, in their order; None for an item that has none."""
    data, pos = packed.raw, 0
    while pos < len(data):
        length, context, charset_length = _RECORD.unpack_from(data, pos)
        pos += _RECORD.size
        if length == _NONE:
            yield None
            continue
        charset = None if charset_length == _NONE else data[pos : pos + charset_length]
        pos += len(charset or b"")
        vr = chr(context >> 8 & 0xFF) + chr(context & 0xFF)
        yield RawValue(data[pos : pos + length], vr, bool(context & _BIG_ENDIAN), charset)
        pos += length
