"""Make what a run's tasks wrote visible, all of it or nothing: lock, job commit, redo after a crash.

In: staged parts, the description of the dataset.  Out: the tables that readers see.  Knows no headers, no Dask.

The protocol: a publish record that names each part to add and to remove is written (atomically, synced) before anything
changes; then parts are renamed into their tables, old ones removed, the description written, and the record removed.  Whoever
opens the dataset next for writing and finds a record does the rest again: every step can be repeated.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.storage import sync_folder, write_json
from dicomflow.errors import CommitFailed, DatasetError, DatasetLocked, describe

Description = Mapping[str, Any]

_OWNER_READS = 10
_OWNER_PAUSE = 0.1  # seconds


def prepare_destination(layout: Layout) -> None:
    """Make sure that DEST is a dicomflow dataset or can become one.

    Raises:
        DatasetError: it is a file, holds other things, or cannot be written.
    """
    root = layout.root
    try:
        str(root).encode()
    except UnicodeEncodeError:
        shown = str(root).encode(errors="backslashreplace").decode()
        raise DatasetError(f"{shown}: the name of DEST is not UTF-8, which Parquet readers do not take") from None
    try:
        if root.exists() and not root.is_dir():
            raise DatasetError(f"{root}: is a file; DEST is a folder")
        if root.is_dir() and not layout.private.is_dir() and any(root.iterdir()):
            raise DatasetError(f"{root}: is not empty and not a dicomflow dataset; name an empty or a new folder")
        layout.private.mkdir(parents=True, exist_ok=True)
        probe = layout.private / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise DatasetError(f"{root}: cannot be written: {describe(error)}") from None


def read_description(layout: Layout) -> dict[str, Any] | None:
    """What the dataset is; None if nothing was published yet.

    Raises:
        DatasetError: the description cannot be read.
    """
    return _read_json(layout.description)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = describe(error) if isinstance(error, OSError) else "not valid JSON"
        raise DatasetError(f"{path}: cannot be read: {reason}") from None
    if not isinstance(loaded, dict):
        raise DatasetError(f"{path}: not a JSON object")
    return loaded


# ---- one writer at a time --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def write_lock(layout: Layout) -> Iterator[None]:
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
        yield
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
    owner = _read_owner(path)
    if owner is None:
        return
    if owner and (owner.get("host") != socket.gethostname() or _is_alive(owner)):
        raise DatasetLocked(
            f"{path.parent.parent}: is being written by process {owner.get('pid')} on {owner.get('host')} since "
            f"{owner.get('since')}; wait for it, or remove {path} if you are sure that it is gone"
        )
    path.unlink(missing_ok=True)


def _read_owner(path: Path) -> dict[str, Any] | None:
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


def _is_alive(owner: Mapping[str, Any]) -> bool:
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


# ---- job commit ------------------------------------------------------------------------------------------------------


def publish(layout: Layout, run_id: str, description: Description, run_record: Mapping[str, Any]) -> None:
    """Replace the visible parts by the staged parts of a run.

    Raises:
        CommitFailed: nothing was changed; the same run can be tried again.
        DatasetError: it stopped half-way; the next run completes it before it does anything else.
    """
    staging = layout.staging(run_id)
    staged = {table: sorted(path.name for path in (staging / table).glob("*.parquet")) for table in TABLES}
    remove = {
        table: [part.name for part in layout.parts(table) if part.name not in set(staged[table])] for table in TABLES
    }
    record = {
        "run_id": run_id,
        "add": staged,
        "remove": remove,
        "description": dict(description),
        "run_record": dict(run_record),
    }
    try:
        for folder in (staging, *(staging / table for table in TABLES if staged[table])):
            sync_folder(folder)
        write_json(layout.publish_record, record)
    except OSError as error:
        raise CommitFailed(f"nothing was published; run again: {staging}: {describe(error)}") from None
    except DatasetError as error:
        raise CommitFailed(f"nothing was published; run again: {error}") from None
    redo(layout)


def redo(layout: Layout) -> bool:
    """Do what the publish record says, if there is one; True if there was.

    Raises:
        DatasetError: it cannot be done now; the record stays.
    """
    record = _read_json(layout.publish_record)
    if record is None:
        return False
    _check_record(layout, record)
    try:
        sync_folder(layout.private)  # the record must outlive what it says
        for table in TABLES:
            _publish_table(layout, record, table)
        write_json(layout.description, record["description"])
        write_json(layout.run_record(record["run_id"]), record["run_record"])
        sync_folder(layout.private)
        layout.publish_record.unlink()
        shutil.rmtree(layout.staging(record["run_id"]), ignore_errors=True)
    except OSError as error:
        raise DatasetError(f"{layout.root}: publishing stopped: {describe(error)}; run again to complete it") from None
    return True


def _check_record(layout: Layout, record: Mapping[str, Any]) -> None:
    """A record is only ever written by us, but a path that leaves its folder must not be followed whoever wrote it."""
    try:
        names = [
            record["run_id"],
            *(name for key in ("add", "remove") for table in TABLES for name in record[key][table]),
        ]
        wrong = [name for name in names if not _is_file_name(name)]
        complete = isinstance(record["description"], dict) and isinstance(record["run_record"], dict)
    except (KeyError, TypeError):
        complete, wrong = False, []
    if wrong:
        raise DatasetError(f"{layout.publish_record}: names {wrong[0]!r}, which is no file name")
    if not complete:
        raise DatasetError(f"{layout.publish_record}: not a publish record")


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _publish_table(layout: Layout, record: Mapping[str, Any], table: str) -> None:
    folder, staging = layout.table(table), layout.staging(record["run_id"]) / table
    folder.mkdir(exist_ok=True)
    if lost := [
        name for name in record["add"][table] if not (staging / name).exists() and not (folder / name).exists()
    ]:
        raise DatasetError(
            f"{staging / lost[0]}: is gone, so the publish under way cannot be completed; remove "
            f"{layout.publish_record} and extract again"
        )
    for name in record["remove"][table]:
        (folder / name).unlink(missing_ok=True)
    for name in record["add"][table]:
        if (staging / name).exists():  # else it was renamed before the crash
            os.replace(staging / name, folder / name)
    sync_folder(folder)


def discard_staging(layout: Layout) -> None:
    """Remove what runs that never published have left in staging; what a publish under way needs stays."""
    if layout.publish_record.exists():
        return
    for folder in (layout.private / "staging").glob("*"):
        shutil.rmtree(folder, ignore_errors=True)
