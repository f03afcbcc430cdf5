"""The first bytes of a member of a ZIP archive, for showing.

In: an open archive, a name.  Out: bytes, more on demand.  Knows no DICOM.
"""

from __future__ import annotations

import os
from functools import partial

from dicomflow.errors import HeaderError
from dicomflow.sources.archive import settle
from dicomflow.sources.directory import BadArchive, Entry, read_at, read_directory
from dicomflow.unpack import FAULTS, Fault, MemberStream, Unreadable

MAX_MEMBERS = 5_000_000
"""As many as ``extract`` may be told to list."""


class MemberBegin:
    """The first bytes of a member; more on demand, never more than the limit of a header.

    Args:
        descriptor: of the archive.
        name: of the member; where several have it, the last one.
        size: bytes of the first read.
        limit: that are held at the most.

    Raises:
        HeaderError: there is no such archive, or no such member, or it cannot be unpacked; without the name of the archive.
        OSError: the archive cannot be read.
    """

    def __init__(self, descriptor: int, name: str, size: int, limit: int) -> None:
        entry = _find(descriptor, name)
        self.data = b""
        self.at_end = False
        self.limit = limit
        self.size = entry.size or 0
        self._stream = MemberStream(entry.place, partial(read_at, descriptor), limit)
        try:
            self._stream.begin(name, size)
        except Unreadable as error:
            raise HeaderError(str(error)) from None
        self.read_to(size)

    @property
    def exhausted(self) -> bool:
        """There is no more, or no more may be read."""
        return self.at_end or len(self.data) >= self.limit

    def read_to(self, size: int) -> None:
        """Hold the first ``size`` bytes; fewer at the end of the member, at that of the archive, or at the limit."""
        wanted = min(size, self.limit, self.size) - len(self.data)
        if wanted > 0 and self._stream.fault is None:
            self.data += self._stream.read(wanted)
        if self._stream.fault in (Fault.DAMAGED, Fault.WRONG):
            raise HeaderError(FAULTS[self._stream.fault].message or "")
        self.at_end = self._stream.fault is not None or (size > self.size and len(self.data) == self.size)


def _find(descriptor: int, name: str) -> Entry:
    try:
        directory = read_directory(descriptor, os.fstat(descriptor).st_size, MAX_MEMBERS)
    except BadArchive as error:
        raise HeaderError(str(error)) from None
    if directory is None:
        raise HeaderError("is no ZIP archive")
    found = None
    for entry in directory:
        if entry.name == name:
            found = entry
    if found is None:
        raise HeaderError("is not in the archive")
    if (outcome := settle(found)) is not None:
        raise HeaderError(outcome.message)
    return found
