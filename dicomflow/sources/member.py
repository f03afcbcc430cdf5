"""Where a member lies in its ZIP archive, as a text: what listing finds, and what reading needs in place of the directory.

In: a place, or such a text.  Out: the other.  Knows no files.

The text stands in the column ``etag`` of the ledger: it changes when the member does.  It is opaque: only this module makes and
reads it, and it may look otherwise in another version.
"""

from __future__ import annotations

from typing import NamedTuple

STORED, DEFLATED = 0, 8

_KIND = "zip1"
_UTF8_NAME = 0x800


class MemberPlace(NamedTuple):
    """What the directory of an archive says of a member (APPNOTE 4.4).

    Attributes:
        method: how it is packed: ``STORED`` or ``DEFLATED``.
        flags: general purpose bit flags.
        crc: CRC-32 of the member.
        offset: of its local header, from the first byte of the file.
        packed: bytes of its data in the archive.
    """

    method: int
    flags: int
    crc: int
    offset: int
    packed: int


def format_place(place: MemberPlace) -> str:
    """The text that ``parse_place`` reads.

    >>> format_place(MemberPlace(DEFLATED, 0, 0xCAFE, 1234, 56))
    'zip1:8.0.cafe.4d2.38'
    """
    return f"{_KIND}:{place.method:x}.{place.flags:x}.{place.crc:x}.{place.offset:x}.{place.packed:x}"


def parse_place(text: str) -> MemberPlace:
    """The place that ``format_place`` wrote.

    Raises:
        ValueError: it is no such text.

    >>> parse_place("zip1:8.0.cafe.4d2.38").offset
    1234
    """
    kind, _, rest = text.partition(":")
    parts = rest.split(".")
    if kind != _KIND or len(parts) != len(MemberPlace._fields):
        raise ValueError("not a place in an archive")
    return MemberPlace(*(int(part, 16) for part in parts))


def decode_name(raw: bytes, flags: int) -> str:
    """The name of a member: UTF-8 where it says so, else code page 437 (APPNOTE appendix D); a NUL ends it.

    Bytes that are not the UTF-8 that was promised are escaped: the file has a name all the same.

    >>> decode_name(b"a/\\x81.dcm", 0), decode_name(b"\\xff\\0x", 0x800)
    ('a/ü.dcm', '\\\\xff')
    """
    if b"\0" in raw:
        raw = raw.partition(b"\0")[0]
    if raw.isascii():
        return raw.decode("ascii")
    return raw.decode("utf-8", "backslashreplace") if flags & _UTF8_NAME else raw.decode("cp437")
