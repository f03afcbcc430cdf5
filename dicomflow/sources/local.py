"""Walk local files and trees.

In: absolute paths.  Out: RecordBatches of ``SOURCE_FILE_SCHEMA``: every regular file whatever its name, once; what
cannot be read or must not be opened is a row with its outcome.  Knows no DICOM, and opens no file but archives.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dicomflow.config import SourcesConfig
from dicomflow.errors import SourceError
from dicomflow.sources.archive import SUFFIXES, list_archive
from dicomflow.sources.rows import Entries, Found, Rows, outcome_of_error, outcome_of_mode
from dicomflow.uri import uri_from_path

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

FolderKey = tuple[int, int] | str
"""Device and inode; the resolved path where a file system numbers no inodes."""


class LocalSource:
    """Files and trees of this machine, listed together so that nothing is listed twice.

    Order: the SOURCEs as given, those by way of symbolic links last; in a folder its files by name, then its archives
    by name, each followed by its members, then its subfolders by name; what links to folders lead to comes last.

    A folder is known by device and inode, so loops end, and a folder that is reached twice (a link, overlapping SOURCEs)
    is walked where it is met first: by its own name, if it has one below a SOURCE.  A file that is a SOURCE of its own is
    listed as such, and not again in its folder.  A SOURCE that is itself a symbolic link is always followed.
    """

    def __init__(
        self, paths: Sequence[str], *, config: SourcesConfig, exclude: Path | None = None, batch_rows: int = 65_536
    ) -> None:
        """Check the SOURCEs; nothing is listed yet.

        Raises:
            SourceError: one does not exist, or is ``exclude`` itself.
        """
        self._config = config
        self._apart = SUFFIXES if config.archives else frozenset[str]()
        self._batch_rows = batch_rows
        self._excluded_path = None if exclude is None else os.path.abspath(exclude)
        self._excluded_key = None if exclude is None else _key_of_folder(exclude)
        self._roots: dict[tuple[FolderKey, str | None], str] = {}
        for path in sorted(paths, key=_is_linked):
            self._roots.setdefault(self._identify_root(path), path)
        self._named = {key for key, name in self._roots if name is not None}

    def list(self) -> Iterator[pa.RecordBatch]:
        """Every file once; see the class."""
        rows = Rows(self._batch_rows)
        walk = _Walk({self._excluded_key}, deque())
        for (key, name), path in self._roots.items():
            if name is None:
                yield from self._walk(_Folder(path, key), walk, rows)
            else:
                yield from self._list_file(path, rows)
        while walk.linked:
            yield from self._walk(walk.linked.popleft(), walk, rows)
        yield from rows.take_rest()

    def _list_file(self, path: str, rows: Rows) -> Iterator[pa.RecordBatch]:
        """A SOURCE that is no folder; links are followed."""
        try:
            found = Found(path, os.stat(path))
        except OSError as error:
            rows.add_outcome(path, outcome_of_error(error))
        else:
            is_file = stat.S_ISREG(found.status.st_mode)
            if is_file and path[-4:] in self._apart:
                yield from list_archive(found, rows, self._config)
            else:
                rows.add_found(found, None if is_file else outcome_of_mode(found.status.st_mode))
        yield from rows.take_full_batches()

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

    def _walk(self, root: _Folder, walk: _Walk, rows: Rows) -> Iterator[pa.RecordBatch]:
        """Depth first on a stack of our own: a tree may be deeper than Python's."""
        stack = [root]
        while stack:
            folder = stack.pop()
            if folder.key in walk.seen or folder.path == self._excluded_path:
                continue
            walk.seen.add(folder.key)
            subfolders: deque[_Folder] = deque()
            yield from self._list_folder(folder, subfolders, walk.linked, rows)
            stack.extend(subfolders)

    def _list_folder(
        self, folder: _Folder, subfolders: deque[_Folder], linked: deque[_Folder], rows: Rows
    ) -> Iterator[pa.RecordBatch]:
        """Add what one folder holds; its subfolders come back last first, as a stack wants them, links to folders in order.

        The folder stays open meanwhile: a stat relative to it costs a quarter less than one by the whole path.
        """
        try:
            handle = os.open(folder.path, _OPEN_FOLDER)
        except OSError as error:
            rows.add_outcome(folder.path, outcome_of_error(error))
            return
        archives: list[Found] = []
        try:
            entries = self._read_entries(handle, folder, rows)
            for start in range(0, len(entries), self._batch_rows):
                part = entries[start : start + self._batch_rows]
                for found in rows.add_entries(folder.path, part, self._config.follow_symlinks, self._apart):
                    if stat.S_ISDIR(found.status.st_mode):
                        subfolder = _Folder(found.path, _key_of(found.path, found.status))
                        linked.append(subfolder) if found.is_linked else subfolders.appendleft(subfolder)
                    else:
                        archives.append(found)
                yield from rows.take_full_batches()
        finally:
            os.close(handle)
        for archive in archives:
            yield from list_archive(archive, rows, self._config)

    def _read_entries(self, handle: int, folder: _Folder, rows: Rows) -> Entries:
        """What the folder holds, by name, without what is a SOURCE of its own; a fault becomes the folder's row."""
        entries: Entries = []
        try:
            with os.scandir(handle) as found:
                entries.extend(found)  # what came before a fault stays
        except OSError as error:
            rows.add_outcome(folder.path, outcome_of_error(error))
        if folder.key in self._named:
            entries = [entry for entry in entries if (folder.key, entry.name) not in self._roots]
        entries.sort(key=attrgetter("name"))
        return entries


class _Folder(NamedTuple):
    path: str
    key: FolderKey


class _Walk(NamedTuple):
    """How far the listing is: folders that were walked, and those that a link leads to, which come last.

    So a folder bears its own name wherever it has one below a SOURCE: a link that comes or goes renames nothing.
    """

    seen: set[FolderKey | None]
    linked: deque[_Folder]


def _is_linked(path: str) -> bool:
    """Whether this is another name of something."""
    return os.path.realpath(path) != path


def _key_of_folder(path: str | Path) -> FolderKey | None:
    """The key of a folder, None for what is no folder or cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _key_of(os.fspath(path), found) if stat.S_ISDIR(found.st_mode) else None


def _key_of(path: str, found: os.stat_result) -> FolderKey:
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)
