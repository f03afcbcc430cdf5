"""Walk local files and trees.

In: absolute paths.  Out: RecordBatches of ``SOURCE_FILE_SCHEMA``: every regular file whatever its name, once; what
cannot be read or must not be opened is a row with its outcome.  Knows no DICOM, and opens no file.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dicomflow.config import SourcesConfig
from dicomflow.errors import Code, SourceError, Status
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.uri import uri_from_path

# What Arrow's timestamp[us], DuckDB and Python's datetime all hold: the years 1 to 9999.
MIN_MTIME = -62_135_596_800_000_000
MAX_MTIME = 253_402_300_799_999_999

BATCH_SECONDS = 1.0
"""After so long, a batch of whatever is there is handed on when a folder is done."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

FolderKey = tuple[int, int] | str
"""Device and inode; the resolved path where a file system numbers no inodes."""

Entries = list[os.DirEntry[str]]


class LocalSource:
    """Files and trees of this machine, listed together so that nothing is listed twice.

    Order: the SOURCEs as given; in a folder its files by name, then its subfolders by name.  A folder is known by
    device and inode, so loops end, and a folder that is reached twice (a link, overlapping SOURCEs) is walked where it
    is met first.  A file that is a SOURCE of its own is listed as such, and not again in its folder.  A SOURCE that is
    itself a symbolic link is always followed.
    """

    def __init__(
        self, paths: Sequence[str], *, config: SourcesConfig, exclude: Path | None = None, batch_rows: int = 65_536
    ) -> None:
        """Check the SOURCEs; nothing is listed yet.

        Raises:
            SourceError: one does not exist, or is ``exclude`` itself.
        """
        self._follow = config.follow_symlinks
        self._batch_rows = batch_rows
        self._excluded_path = None if exclude is None else os.path.abspath(exclude)
        self._excluded_key = None if exclude is None else _key_of_folder(exclude)
        self._roots: dict[tuple[FolderKey, str | None], str] = {}
        for path in paths:
            self._roots.setdefault(self._identify_root(path), path)
        self._named = {key for key, name in self._roots if name is not None}

    def list(self) -> Iterator[pa.RecordBatch]:
        """Every file once; see the class."""
        rows = _Rows(self._batch_rows)
        walked: set[FolderKey | None] = {self._excluded_key}
        for (key, name), path in self._roots.items():
            if name is None:
                yield from self._walk(_Folder(path, key), walked, rows)
            else:
                rows.add_file(path)
                yield from rows.take_full_batches()
        yield from rows.take_rest()

    def _identify_root(self, path: str) -> tuple[FolderKey, str | None]:
        """A folder by its key; anything else by the key of its folder and its name there."""
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise SourceError(f"{uri_from_path(path)}: no such file or folder") from None
        except OSError:
            pass  # it may well exist: its row will say why it cannot be listed
        key = _key_of_folder(path)
        if path == self._excluded_path or (key is not None and key == self._excluded_key):
            raise SourceError(f"{uri_from_path(path)}: is the destination itself; choose another one")
        if key is not None:
            return key, None
        parent, name = os.path.split(path)
        return _key_of_folder(parent) or parent, name

    def _walk(self, root: _Folder, walked: set[FolderKey | None], rows: _Rows) -> Iterator[pa.RecordBatch]:
        """Depth first on a stack of our own: a tree may be deeper than Python's."""
        stack = [root]
        while stack:
            folder = stack.pop()
            if folder.key in walked or folder.path == self._excluded_path:
                continue
            walked.add(folder.key)
            subfolders: deque[_Folder] = deque()
            yield from self._list_folder(folder, subfolders, rows)
            stack.extend(subfolders)

    def _list_folder(self, folder: _Folder, subfolders: deque[_Folder], rows: _Rows) -> Iterator[pa.RecordBatch]:
        """Add what one folder holds; its subfolders come back last first, as a stack wants them.

        The folder stays open meanwhile: a stat relative to it costs a quarter less than one by the whole path.
        """
        try:
            handle = os.open(folder.path, _OPEN_FOLDER)
        except OSError as error:
            rows.add_outcome(folder.path, _outcome_of_error(error))
            return
        try:
            entries = self._read_entries(handle, folder, rows)
            for start in range(0, len(entries), self._batch_rows):
                part = entries[start : start + self._batch_rows]
                subfolders.extendleft(rows.add_entries(folder.path, part, self._follow))
                yield from rows.take_full_batches()
        finally:
            os.close(handle)

    def _read_entries(self, handle: int, folder: _Folder, rows: _Rows) -> Entries:
        """What the folder holds, by name, without what is a SOURCE of its own; a fault becomes the folder's row."""
        entries: Entries = []
        try:
            with os.scandir(handle) as found:
                entries.extend(found)  # what came before a fault stays
        except OSError as error:
            rows.add_outcome(folder.path, _outcome_of_error(error))
        if folder.key in self._named:
            entries = [entry for entry in entries if (folder.key, entry.name) not in self._roots]
        entries.sort(key=attrgetter("name"))
        return entries


def code_for_os_error(error: OSError) -> Code:
    """The outcome code of an operating system's error.

    >>> code_for_os_error(PermissionError(errno.EACCES, "")).value
    'permission_denied'
    """
    return _CODES.get(error.errno or 0, Code.IO_ERROR)


class _Folder(NamedTuple):
    path: str
    key: FolderKey


class _Outcome(NamedTuple):
    status: Status
    code: Code
    message: str


class _Rows:
    """Rows on their way into RecordBatches: one list for each column that listing fills."""

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._paths: list[str] = []
        self._sizes: list[int | None] = []
        self._mtimes: list[int | None] = []  # nanoseconds
        self._outcomes: list[_Outcome | None] = []
        self._taken = time.monotonic()

    def add_entries(self, folder: str, entries: Entries, follow: bool) -> Iterator[_Folder]:
        """Add what is no folder, yield the folders.  This loop is what listing costs: one stat, three appends."""
        prefix = folder if folder.endswith("/") else f"{folder}/"
        add_path, add_size, add_mtime = self._paths.append, self._sizes.append, self._mtimes.append
        is_file, is_folder = stat.S_ISREG, stat.S_ISDIR
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=follow)
            except OSError as error:
                self.add_outcome(prefix + entry.name, _outcome_of_error(error))
                continue
            if is_file(found.st_mode):
                add_path(prefix + entry.name)
                add_size(found.st_size)
                add_mtime(found.st_mtime_ns)
            elif is_folder(found.st_mode):
                path = prefix + entry.name
                yield _Folder(path, _key_of(path, found))
            else:
                self.add_outcome(prefix + entry.name, _outcome_of_mode(found.st_mode))

    def add_file(self, path: str) -> None:
        """Add a SOURCE that is no folder; links are followed."""
        try:
            found = os.stat(path)
        except OSError as error:
            self.add_outcome(path, _outcome_of_error(error))
            return
        outcome = None if stat.S_ISREG(found.st_mode) else _outcome_of_mode(found.st_mode)
        self._add(path, found.st_size, found.st_mtime_ns, outcome)

    def add_outcome(self, path: str, outcome: _Outcome) -> None:
        """Add something that listing alone settles."""
        self._add(path, None, None, outcome)

    def take_full_batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of the size asked for, as long as there is one; a smaller one where the last was long ago.

        On a storage that lists slowly nobody is to wait for many files, where there are some.
        """
        while len(self._paths) >= self._batch_rows:
            yield self._take(self._batch_rows)
        if self._paths and time.monotonic() - self._taken > BATCH_SECONDS:
            yield self._take(len(self._paths))

    def take_rest(self) -> Iterator[pa.RecordBatch]:
        """The last, smaller batch, if there is one."""
        if self._paths:
            yield self._take(len(self._paths))

    def _add(self, path: str, size: int | None, mtime: int | None, outcome: _Outcome | None) -> None:
        self._fill_outcomes()
        self._paths.append(path)
        self._sizes.append(size)
        self._mtimes.append(mtime)
        self._outcomes.append(outcome)

    def _fill_outcomes(self) -> None:
        """None for the files that were added since."""
        self._outcomes.extend([None] * (len(self._paths) - len(self._outcomes)))

    def _take(self, count: int) -> pa.RecordBatch:
        self._fill_outcomes()
        self._taken = time.monotonic()
        paths, sizes = self._paths[:count], self._sizes[:count]
        mtimes, outcomes = self._mtimes[:count], self._outcomes[:count]
        del (self._paths[:count], self._sizes[:count], self._mtimes[:count], self._outcomes[:count])
        nothing = pa.nulls(count, pa.string())
        return pa.RecordBatch.from_arrays(
            [
                _uri_array(paths),
                nothing,
                pa.array(sizes, pa.int64()),
                _mtime_array(mtimes),
                nothing,
                *_outcome_arrays(outcomes),
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


def _outcome_arrays(outcomes: list[_Outcome | None]) -> list[pa.Array]:
    if outcomes.count(None) == len(outcomes):
        return [pa.nulls(len(outcomes), pa.string())] * 3
    columns = zip(*((None, None, None) if outcome is None else outcome for outcome in outcomes), strict=True)
    return [pa.array(column, pa.string()) for column in columns]


def _outcome_of_error(error: OSError) -> _Outcome:
    return _Outcome(Status.FAILED, code_for_os_error(error), os.strerror(error.errno or 0))


def _outcome_of_mode(mode: int) -> _Outcome:
    if stat.S_ISLNK(mode):
        return _Outcome(Status.SKIPPED, Code.SYMLINK, "symbolic link, not followed")
    return _Outcome(Status.SKIPPED, Code.SPECIAL_FILE, _SPECIAL_FILES.get(stat.S_IFMT(mode), "special file"))


def _key_of_folder(path: str | Path) -> FolderKey | None:
    """The key of a folder, None for what is no folder or cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _key_of(os.fspath(path), found) if stat.S_ISDIR(found.st_mode) else None


def _key_of(path: str, found: os.stat_result) -> FolderKey:
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


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
