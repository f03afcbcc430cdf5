"""One writer at a time: the lock of a dataset.

In: the layout of a dataset.  Out: a lock that is held, or who holds it.  Knows nothing of tables.

The lock is a file that says who holds it.  For as long as the run lives it also holds the system's lock (``flock``) on that file:
the system lets go of it when the process ends, however it ends, and no clock has a part in it.  Where the file system has no such
locks, a process of this host is known by ``process``.  A process of another host is never taken for dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.process import identify_process, is_alive
from dicomflow.errors import CommitFailed, DatasetError, DatasetLocked, describe

_TRIES = 50
_LOOKS = 10
_PAUSE = 0.1  # seconds, between looks at a lock that may be about to say its owner
_MAX_BYTES = 1 << 16

_held: set[int] = set()
"""Descriptors of the locks of this process; a child that is forked has them, too, and would hold them when the parent is dead."""


class WriteLock:
    """A lock that this process holds."""

    def __init__(self, path: Path, token: str, descriptor: int) -> None:
        self._path = path
        self._token = token
        self._descriptor = descriptor
        self._pid = os.getpid()
        _held.add(descriptor)

    def check(self) -> None:
        """See that nobody took this run for dead and its lock away.

        Raises:
            CommitFailed: the lock is gone, or another's.
        """
        if not self._is_mine():
            raise CommitFailed(f"{self._path}: was taken away from this run; nothing was published; run again")

    def release(self) -> None:
        """Remove the lock, unless it is another's by now, or this is a child of the process that holds it."""
        if os.getpid() != self._pid:
            return
        try:
            if self._is_mine():
                with contextlib.suppress(OSError):
                    self._path.unlink()
        finally:
            _held.discard(self._descriptor)
            os.close(self._descriptor)

    def _is_mine(self) -> bool:
        try:
            with _open_lock(self._path) as descriptor:
                return (_read_owner(descriptor) or {}).get("token") == self._token
        except OSError:
            return False


def _let_go() -> None:
    """In a child: the parent's lock stays the parent's alone."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds the lock, as far as they could say it; ``alive`` is None where that cannot be seen from here."""

    host: str | None
    pid: int | None
    since: str | None
    alive: bool | None


def find_owner(layout: Layout) -> Owner | None:
    """Who holds the lock of a dataset, dead or alive; None if nobody does.

    Raises:
        DatasetError: the lock cannot be read.
    """
    try:
        with _examine(layout.lock) as (_, owner):
            return owner
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatasetError(f"{layout.lock}: cannot be read: {describe(error)}") from None


@contextlib.contextmanager
def write_lock(layout: Layout) -> Iterator[WriteLock]:
    """Hold the dataset for writing; the lock of a process of this host that is gone is taken over.

    Raises:
        DatasetLocked: another run holds it; the message says who.
        DatasetError: the lock cannot be read or written.
    """
    try:
        lock = _take_lock(layout.lock)
    except OSError as error:
        raise DatasetError(f"{layout.lock}: cannot be written: {describe(error)}") from None
    try:
        yield lock
    finally:
        lock.release()


def _take_lock(path: Path) -> WriteLock:
    for _ in range(_TRIES):
        with contextlib.suppress(FileExistsError):
            return _create_lock(path)
        _remove_if_stale(path)
    raise DatasetLocked(_say_unknown(path))


def _create_lock(path: Path) -> WriteLock:
    """Make the file, lock it, and only then say whose it is.

    Raises:
        FileExistsError: there is one, or ours was taken for one that was never finished.
    """
    token = uuid.uuid4().hex
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _lock_file(descriptor, fcntl.LOCK_EX)  # whoever looks at it keeps us waiting for a moment only
        if not _is_at(descriptor, path):
            raise FileExistsError(path)
        os.write(descriptor, json.dumps(_describe_owner(token)).encode())
    except BaseException:
        if _is_at(descriptor, path):
            path.unlink()
        os.close(descriptor)
        raise
    return WriteLock(path, token, descriptor)


def _describe_owner(token: str) -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), **identify_process(), "since": since, "token": token}


def _remove_if_stale(path: Path) -> None:
    """Remove the lock of a process that is gone, and no other that has come into its place since.

    Raises:
        DatasetLocked: its owner lives, or may live.
    """
    with contextlib.suppress(FileNotFoundError), _examine(path) as (descriptor, owner):
        if owner.alive is not False:
            raise DatasetLocked(_say_owner(path, owner))
        if _lock_file(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) and _is_at(descriptor, path):
            path.unlink()
        else:
            time.sleep(_PAUSE / _LOOKS)  # somebody else looks at it, or was faster


def _say_owner(path: Path, owner: Owner) -> str:
    if owner.host is None and owner.pid is None:
        return _say_unknown(path)
    return (
        f"{path.parent.parent}: is being written by process {owner.pid} on {owner.host} since {owner.since}; wait for it, or "
        f"remove {path} if you are sure that it is gone"
    )


def _say_unknown(path: Path) -> str:
    return f"{path.parent.parent}: another run has just taken this dataset"


# ---- looking at a lock -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _examine(path: Path) -> Iterator[tuple[int, Owner]]:
    """The lock file, which is not changed meanwhile, and whose it is; looked at again while that is not clear.

    Raises:
        FileNotFoundError: there is none.
    """
    for left in reversed(range(_LOOKS)):
        with _open_lock(path) as descriptor:
            owner, is_clear = _see_owner(descriptor)
            if is_clear or not left:
                yield descriptor, owner
                return
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _open_lock(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR)  # some network file systems lock only what can be written
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _see_owner(descriptor: int) -> tuple[Owner, bool]:
    """Whose the lock is, and whether that is clear: not while it is being written, or outlives its owner for a moment."""
    is_held = not _lock_file(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    found = _read_owner(descriptor)
    if found is None:
        return Owner(host=None, pid=None, since=None, alive=is_held), False
    host, pid, since = (found.get(name) for name in ("host", "pid", "since"))
    lives = is_alive(found) if host == socket.gethostname() else None
    owner = Owner(
        host=host if isinstance(host, str) else None,
        pid=pid if isinstance(pid, int) else None,
        since=since if isinstance(since, str) else None,
        alive=is_held or lives,
    )
    return owner, not (is_held and lives is False)


def _read_owner(descriptor: int) -> dict[str, Any] | None:
    """What the file says; None if it is not written yet, or its owner was killed before it was."""
    try:
        found = json.loads(os.pread(descriptor, _MAX_BYTES, 0))
    except (ValueError, RecursionError):
        return None
    return (found or None) if isinstance(found, dict) else None


def _lock_file(descriptor: int, how: int) -> bool:
    """Take the system's lock on an open file; False if another has it, True also where there are no such locks."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether this open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
