"""Rows of what is listed, on their way into batches.

In: entries of folders, files, members of archives, outcomes.  Out: RecordBatches of ``SOURCE_FILE_SCHEMA``.
Knows neither how a tree is walked nor what an archive is.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dicomflow.errors import Code, Status
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.uri import uri_from_path

# What Arrow's timestamp[us], DuckDB and Python's datetime all hold: the years 1 to 9999.
MIN_MTIME = -62_135_596_800_000_000
MAX_MTIME = 253_402_300_799_999_999

BATCH_SECONDS = 1.0
"""After so long, a batch of whatever is there is handed on when a folder is done."""

BATCH_CHARACTERS = 1 << 24
"""With names of members that are so long in all, a batch is full: a path has 4,096 bytes at the most, such a name has 65,535."""

Entries = list[os.DirEntry[str]]


class Outcome(NamedTuple):
    """How something ended that is not to be read."""

    status: Status
    code: Code
    message: str


class Member(NamedTuple):
    """What tells a file in an archive from the archive."""

    name: str
    etag: str | None


class Found(NamedTuple):
    """Something in a folder that is not simply a file to be read: a folder, or what may be an archive."""

    path: str
    status: os.stat_result
    is_linked: bool = False
    """Whether a symbolic link led to it."""


class Rows:
    """Rows on their way into RecordBatches: one list for each column that listing fills."""

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._paths: list[str] = []
        self._sizes: list[int | None] = []
        self._mtimes: list[int | None] = []  # nanoseconds
        self._outcomes: list[Outcome | None] = []  # may be behind: files that are simply to be read have none
        self._members: list[Member | None] = []  # likewise
        self._taken = time.monotonic()
        self._characters = 0  # of names of members

    def add_entries(self, folder: str, entries: Entries, follow: bool, apart: AbstractSet[str]) -> Iterator[Found]:
        """Add files, yield folders.  This loop is what listing costs: one stat, a look at the name, three appends.

        Args:
            folder: its path.
            entries: what it holds.
            follow: whether links are followed.
            apart: the last four characters of names whose files are yielded, too.
        """
        prefix = folder if folder.endswith("/") else f"{folder}/"
        add_path, add_size, add_mtime = self._paths.append, self._sizes.append, self._mtimes.append
        is_file, is_folder = stat.S_ISREG, stat.S_ISDIR
        ends = frozenset(text[-1] for text in apart)  # told from others at half the cost
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=follow)
            except OSError as error:
                self.add_outcome(prefix + entry.name, outcome_of_error(error))
                continue
            mode, name = found.st_mode, entry.name
            if is_file(mode) and (name[-1] not in ends or name[-4:] not in apart):
                add_path(prefix + name)
                add_size(found.st_size)
                add_mtime(found.st_mtime_ns)
            elif is_file(mode) or is_folder(mode):
                yield Found(prefix + name, found, entry.is_symlink())
            else:
                self.add_outcome(prefix + name, outcome_of_mode(mode))

    def add_found(self, found: Found, outcome: Outcome | None) -> None:
        """Add a file; with an outcome where there is nothing to be read."""
        self._add(found.path, found.status.st_size, found.status.st_mtime_ns, outcome, None)

    def add_member(self, archive: Found, member: Member, size: int | None, outcome: Outcome | None) -> None:
        """Add a file in an archive: it is as old as the archive."""
        self._characters += len(member.name)
        self._add(archive.path, size, archive.status.st_mtime_ns, outcome, member)

    def add_outcome(self, path: str, outcome: Outcome) -> None:
        """Add something that listing alone settles, and of which nothing else is known."""
        self._add(path, None, None, outcome, None)

    def take_full_batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of the size asked for, as long as there is one; a smaller one where the last was long ago, or names are long.

        On a storage that lists slowly nobody is to wait for many files, where there are some.
        """
        while len(self._paths) >= self._batch_rows:
            yield self._take(self._batch_rows)
        is_heavy = self._characters > BATCH_CHARACTERS
        if self._paths and (is_heavy or time.monotonic() - self._taken > BATCH_SECONDS):
            yield self._take(len(self._paths))

    def take_rest(self) -> Iterator[pa.RecordBatch]:
        """The last, smaller batch, if there is one."""
        if self._paths:
            yield self._take(len(self._paths))

    def _add(
        self, path: str, size: int | None, mtime: int | None, outcome: Outcome | None, member: Member | None
    ) -> None:
        self._fill_up()
        self._paths.append(path)
        self._sizes.append(size)
        self._mtimes.append(mtime)
        self._outcomes.append(outcome)
        self._members.append(member)

    def _fill_up(self) -> None:
        """None for the files that were added since."""
        if missing := len(self._paths) - len(self._outcomes):
            self._outcomes.extend([None] * missing)
            self._members.extend([None] * missing)

    def _take(self, count: int) -> pa.RecordBatch:
        self._fill_up()
        self._taken, self._characters = time.monotonic(), 0
        paths, sizes, mtimes = self._paths[:count], self._sizes[:count], self._mtimes[:count]
        outcomes, (names, etags) = self._outcomes[:count], _text_arrays(self._members[:count], 2)
        for column in (self._paths, self._sizes, self._mtimes, self._outcomes, self._members):
            del column[:count]
        return pa.RecordBatch.from_arrays(
            [
                _uri_array(paths),
                names,
                pa.array(sizes, pa.int64()),
                _mtime_array(mtimes),
                etags,
                *_text_arrays(outcomes, 3),
            ],
            schema=SOURCE_FILE_SCHEMA,
        )


def _uri_array(paths: list[str]) -> pa.Array:
    """Nearly all paths are UTF-8 and are their own uri: only a batch that is refused is looked at one by one."""
    try:
        return pa.array(paths, pa.string())
    except UnicodeEncodeError:
        return pa.array([path if path.isascii() else uri_from_path(path) for path in paths], pa.string())


def _mtime_array(mtimes: list[int | None]) -> pa.Array:
    """Nanoseconds as microseconds, rounded down.  What 64 bits hold (the years 1677 to 2262) needs no clamping."""
    try:
        return pa.array(np.array(mtimes, np.int64) // 1000, pa.timestamp("us"))
    except (OverflowError, TypeError):  # a time from the far future; a row without one
        held = [None if time is None else _clamp_mtime(time // 1000) for time in mtimes]
        return pa.array(held, pa.timestamp("us"))


def _clamp_mtime(time: int) -> int:
    return min(max(time, MIN_MTIME), MAX_MTIME)


def _text_arrays(rows: Sequence[Sequence[str | None] | None], width: int) -> list[pa.Array]:
    """So many columns, null where a row has nothing."""
    if rows.count(None) == len(rows):
        return [pa.nulls(len(rows), pa.string())] * width
    nothing = (None,) * width
    columns = zip(*(nothing if row is None else row for row in rows), strict=True)
    return [pa.array(column, pa.string()) for column in columns]


def outcome_of_error(error: OSError) -> Outcome:
    """What the operating system says."""
    return Outcome(Status.FAILED, code_for_os_error(error), os.strerror(error.errno or 0))


def outcome_of_mode(mode: int) -> Outcome:
    """Of what is neither a file nor a folder."""
    if stat.S_ISLNK(mode):
        return Outcome(Status.SKIPPED, Code.SYMLINK, "symbolic link, not followed")
    return Outcome(Status.SKIPPED, Code.SPECIAL_FILE, _SPECIAL_FILES.get(stat.S_IFMT(mode), "special file"))


def code_for_os_error(error: OSError) -> Code:
    """The outcome code of an operating system's error.

    >>> code_for_os_error(PermissionError(errno.EACCES, "")).value
    'permission_denied'
    """
    return _CODES.get(error.errno or 0, Code.IO_ERROR)


_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENOTDIR: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.ENAMETOOLONG: Code.NAME_TOO_LONG,
}

_SPECIAL_FILES = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
