"""Atomic changes on a local file system: a name appears whole or not at all, a folder takes another's place at once.

In: bytes or a function that writes them, paths.  Out: files and folders, durable.  Knows no Parquet and no layout.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from dicomflow.errors import DatasetError, describe

_AT_FDCWD = -100
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_NO_SWAP = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM})
_NO_LINK = frozenset({errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EACCES})


def write_atomically(path: Path, write: Callable[[Path], None], *, exclusive: bool = False) -> None:
    """Let ``write`` fill a temporary file beside ``path``, sync it, and give it its name.

    Args:
        path: the name; folders above it are made.
        write: fills the file that it is given.
        exclusive: only if nobody has the name; of several at once, one gets it.

    Raises:
        DatasetError: the disk is full, the folder cannot be written, with ``exclusive`` the file is there already ...;
            nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")  # two hosts may write it, with equal pids
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        sync_file(temporary)
        if exclusive:
            _link_exclusively(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {describe(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _link_exclusively(temporary: Path, path: Path) -> None:
    """Give a file a name that nobody has: a link, unlike a rename, takes no name away."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if temporary.stat().st_nlink < 2:  # over NFS the answer may have been lost, and the call repeated: link(2)
            raise
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _rename_exclusively(temporary, path)


def _rename_exclusively(temporary: Path, path: Path) -> None:
    """The same without hard links: only who could make the claim looks, and renames; ``sweep`` removes that of a dead one."""
    claim = path.with_name(f".{path.name}.claim.tmp")
    os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            claim.unlink()


def write_json(path: Path, value: object, *, exclusive: bool = False) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda temporary: _write_text(temporary, text), exclusive=exclusive)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system has no hard links, copy it, and sync the copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        sync_file(target)


def replace_folder(coming: Path, current: Path) -> None:
    """Put the folder ``coming`` in the place of ``current``, which is then found under the name ``coming``.

    In one step where the system can swap two names; else in two renames, between which there is no ``current``.
    """
    if not current.exists():
        os.rename(coming, current)
    elif not _swap(coming, current):
        aside = coming.with_name(f"{coming.name}.old")
        os.rename(current, aside)
        os.rename(coming, current)
        os.rename(aside, coming)


def _swap(one: Path, other: Path) -> bool:
    """Swap two names atomically; False where that cannot be done here."""
    swap = _find_swap()
    if swap is None or swap(os.fsencode(one), os.fsencode(other)) == 0:
        return swap is not None
    number = ctypes.get_errno()
    if number in _NO_SWAP:
        return False
    raise OSError(number, os.strerror(number), str(one))


@functools.cache
def _find_swap() -> Callable[[bytes, bytes], int] | None:
    """The system's own call; Python's ``os`` has none."""
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return lambda one, other: int(library.renamex_np(one, other, ctypes.c_uint(_SWAP)))
    if hasattr(library, "renameat2"):
        return lambda one, other: int(library.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, ctypes.c_uint(_SWAP)))
    return None


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk; some file systems keep them safe by themselves and refuse."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_file(path: Path) -> None:
    """Have the file's bytes on the disk before its name means anything."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
