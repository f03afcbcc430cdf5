"""One writer at a time: the lock of a dataset.

In: the layout of a dataset.  Out: a lock that is held, or who holds it.  Knows nothing of tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from dicomflow.dataset.layout import Layout
from dicomflow.errors import CommitFailed, DatasetError, DatasetLocked, describe

_OWNER_READS = 10
_OWNER_PAUSE = 0.1  # seconds


class WriteLock:
    """A lock that this process holds."""

    def __init__(self, path: Path, token: str) -> None:
        self._path = path
        self._token = token

    def check(self) -> None:
        """See that nobody took this run for dead and its lock away.

        Raises:
            CommitFailed: the lock is gone, or another's.
        """
        owner = read_owner(self._path)
        if owner is None or owner.get("token") != self._token:
            raise CommitFailed(f"{self._path}: was taken away from this run; nothing was published; run again")


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
        owner = read_owner(layout.lock)
    except OSError as error:
        raise DatasetError(f"{layout.lock}: cannot be read: {describe(error)}") from None
    if owner is None:
        return None
    host, pid, since = (owner.get(name) for name in ("host", "pid", "since"))
    return Owner(
        host=host if isinstance(host, str) else None,
        pid=pid if isinstance(pid, int) else None,
        since=since if isinstance(since, str) else None,
        alive=bool(owner) and is_alive(owner) if host == socket.gethostname() or not owner else None,
    )


@contextlib.contextmanager
def write_lock(layout: Layout) -> Iterator[WriteLock]:
    """Hold the dataset for writing; the lock of a process of this host that is gone is taken over.

    Raises:
        DatasetLocked: another run holds it; the message says who.
        DatasetError: the lock cannot be read or written.
    """
    token = uuid.uuid4().hex
    try:
        with _one_at_a_time(layout.private):
            _remove_if_stale(layout.lock)
            _create_lock(layout.lock, token)
    except OSError as error:
        raise DatasetError(f"{layout.lock}: cannot be written: {describe(error)}") from None
    try:
        yield WriteLock(layout.lock, token)
    finally:
        _release_lock(layout.lock, token)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Between looking at a stale lock and replacing it, no other process of this host may do the same."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_if_stale(path: Path) -> None:
    owner = read_owner(path)
    if owner is None:
        return
    if owner and (owner.get("host") != socket.gethostname() or is_alive(owner)):
        raise DatasetLocked(
            f"{path.parent.parent}: is being written by process {owner.get('pid')} on {owner.get('host')} since "
            f"{owner.get('since')}; wait for it, or remove {path} if you are sure that it is gone"
        )
    path.unlink(missing_ok=True)


def read_owner(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None if there is none, empty if its owner was killed before it could say so."""
    for _ in range(_OWNER_READS):
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        time.sleep(_OWNER_PAUSE)  # another host may be writing it at this moment
    return {}


def _create_lock(path: Path, token: str) -> None:
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": token,
    }
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(owner, file)
    except FileExistsError:
        raise DatasetLocked(f"{path.parent.parent}: another run has just taken this dataset") from None
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _release_lock(path: Path, token: str) -> None:
    """Remove the lock, unless somebody took this run for dead and the lock is another's."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text("utf-8")).get("token") == token:
            path.unlink()


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this still runs; a process of the same number that began at another time is another."""
    try:
        process = psutil.Process(int(owner["pid"]))
        began = process.create_time()
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True
    started = owner.get("started")
    return not isinstance(started, float) or abs(began - started) < 2
