"""List the members of a ZIP archive.

In: a regular file whose name says that it is one.  Out: its row and those of its members.  Knows no DICOM, and unpacks nothing:
a name is a text here, and never a path.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dicomflow.config import SourcesConfig
from dicomflow.errors import Code, Status
from dicomflow.sources.directory import BadArchive, Directory, Entry, read_directory
from dicomflow.sources.member import DEFLATED, STORED, MemberPlace, format_place
from dicomflow.sources.rows import Found, Member, Outcome, Rows, outcome_of_error

SUFFIXES = frozenset(f".{z}{i}{p}" for z in "zZ" for i in "iI" for p in "pP")
"""The last characters of names of files that are opened while they are listed."""

_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # it may have become a FIFO
_STEP = 256  # members between looks at whether a batch is full

_ENCRYPTED_FLAGS = 1 << 0 | 1 << 6 | 1 << 13
_PATCH_FLAG = 1 << 5
_METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "xz", 98: "PPMd"}

_ENCRYPTED = Outcome(Status.FAILED, Code.ENCRYPTED, "is encrypted: unpack it with its password")
_NESTED = Outcome(Status.SKIPPED, Code.ARCHIVE, "an archive inside an archive is not read: unpack it")
_IMPOSSIBLE = Outcome(Status.FAILED, Code.BAD_ARCHIVE, "the archive's directory says a size or a place that cannot be")


def list_archive(archive: Found, rows: Rows, config: SourcesConfig) -> Iterator[pa.RecordBatch]:
    """Add the archive and its members; a file that is no archive is added as a file.

    Args:
        archive: a regular file.
        rows: where to.
        config: how many members there may be.

    Yields:
        Batches that are full.
    """
    try:
        directory = _open(archive.path, config.max_archive_members)
    except OSError as error:
        rows.add_found(archive, outcome_of_error(error))
    except BadArchive as error:
        rows.add_found(archive, Outcome(Status.FAILED, Code.BAD_ARCHIVE, str(error)))
    else:
        if directory is None:
            rows.add_found(archive, None)
        else:
            yield from _add_members(archive, directory, rows)
    yield from rows.take_full_batches()


def _open(path: str, max_entries: int) -> Directory | None:
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        return read_directory(descriptor, os.fstat(descriptor).st_size, max_entries)
    finally:
        os.close(descriptor)


def _add_members(archive: Found, directory: Directory, rows: Rows) -> Iterator[pa.RecordBatch]:
    census = _Census(directory)
    rows.add_found(archive, Outcome(Status.SKIPPED, Code.ARCHIVE, census.describe()))
    for number, entry in enumerate(directory):
        if census.counts(number, entry.name):
            outcome = settle(entry)
            etag = format_place(entry.place) if entry.size is not None else None
            rows.add_member(archive, Member(entry.name, etag), entry.size, outcome)
        if number % _STEP == 0:
            yield from rows.take_full_batches()


class _Census:
    """Which members are listed: of several with one name the last one, as ``zipfile`` has it; none without a name.

    Holds a number for each member, and the names of those that are there more than once.
    """

    def __init__(self, directory: Directory) -> None:
        values, counts = np.unique(np.frombuffer(directory.hashes, np.int64), return_counts=True)
        self._suspects = frozenset(values[(counts > 1) | (values == hash(""))].tolist())
        names: Counter[str] = Counter()
        if self._suspects:
            names.update(entry.name for entry in directory if hash(entry.name) in self._suspects)
        self._nameless = names.pop("", 0)
        self._repeated = sum(count > 1 for count in names.values())
        self._listed = len(directory.hashes) - self._nameless - (names.total() - len(names))
        self._last: dict[str, int] = {}
        if names:
            self._last = {entry.name: number for number, entry in enumerate(directory) if entry.name in names}

    def counts(self, number: int, name: str) -> bool:
        """Whether this member, the n-th, is listed."""
        return bool(name) and (hash(name) not in self._suspects or self._last[name] == number)

    def describe(self) -> str:
        """For the archive's row."""
        parts = [f"{self._listed:,} member{'' if self._listed == 1 else 's'}, listed on their own"]
        if self._repeated:
            names = "1 name stands" if self._repeated == 1 else f"{self._repeated:,} names stand"
            parts.append(f"{names} more than once, the last one counts")
        if self._nameless:
            parts.append(f"{self._nameless:,} without a name cannot be listed")
        return "; ".join(parts)


def settle(entry: Entry) -> Outcome | None:
    """How a member ends that is not to be read; None for one that is."""
    place = entry.place
    if place.flags & _ENCRYPTED_FLAGS:  # twelve bytes longer than it is
        return _ENCRYPTED
    if entry.size is None or (place.method == STORED and place.packed != entry.size):
        return _IMPOSSIBLE
    if entry.name[-4:] in SUFFIXES:
        return _NESTED
    if place.method not in (STORED, DEFLATED) or place.flags & _PATCH_FLAG:
        return _describe_method(place)
    return None


def _describe_method(place: MemberPlace) -> Outcome:
    method = "a patch" if place.flags & _PATCH_FLAG else _METHODS.get(place.method, f"method {place.method}")
    message = f"compressed as {method}, which is not read: unpack it, or pack it anew with deflate"
    return Outcome(Status.FAILED, Code.UNSUPPORTED_COMPRESSION, message)
