"""Make what a run's tasks wrote visible, all of it or nothing: lock, job commit, redo after a crash.

In: staged parts, the description of the dataset.  Out: the tables that readers see.  Knows no headers, no Dask.

The protocol: a publish record that names each part to add and to remove is written (atomically, synced) before anything
changes; then parts are renamed into their tables, old ones removed, the description written, and the record removed.  Whoever
opens the dataset next for writing and finds a record does the rest again: every step can be repeated.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.storage import describe, sync_file, write_json
from dicomflow.errors import CommitFailed, DatasetError, DatasetLocked

Description = Mapping[str, Any]


def prepare_destination(layout: Layout) -> None:
    """Make sure that DEST is a dicomflow dataset or can become one.

    Raises:
        DatasetError: it is a file, holds other things, or cannot be written.
    """
    root = layout.root
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
    """
    _take_lock(layout.lock)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            layout.lock.unlink()


def _take_lock(path: Path) -> None:
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    for _ in range(2):
        try:
            with open(path, "x", encoding="utf-8") as file:
                json.dump(owner, file)
            return
        except FileExistsError:
            _remove_if_stale(path)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be written: {describe(error)}") from None
    raise DatasetLocked(f"{path}: another run has just taken this dataset")


def _remove_if_stale(path: Path) -> None:
    with contextlib.suppress(DatasetError):
        owner = _read_json(path)
        if owner is None:
            return
        if owner.get("host") != socket.gethostname() or _is_alive(owner.get("pid")):
            raise DatasetLocked(
                f"{path.parent.parent}: is being written by process {owner.get('pid')} on {owner.get('host')} since "
                f"{owner.get('since')}; wait for it, or remove {path} if you are sure that it is gone"
            )
    path.unlink(missing_ok=True)


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
        write_json(layout.publish_record, record)
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
    try:
        for table in TABLES:
            _publish_table(layout, record, table)
        write_json(layout.description, record["description"])
        write_json(layout.run_record(record["run_id"]), record["run_record"])
        layout.publish_record.unlink()
        shutil.rmtree(layout.staging(record["run_id"]), ignore_errors=True)
    except OSError as error:
        raise DatasetError(f"{layout.root}: publishing stopped: {describe(error)}; run again to complete it") from None
    return True


def _publish_table(layout: Layout, record: Mapping[str, Any], table: str) -> None:
    folder = layout.table(table)
    folder.mkdir(exist_ok=True)
    for name in record["remove"][table]:
        (folder / _plain(name)).unlink(missing_ok=True)
    for name in record["add"][table]:
        staged = layout.staging(record["run_id"]) / table / _plain(name)
        if staged.exists():  # else it was renamed before the crash
            os.replace(staged, folder / name)
    sync_file(folder)


def _plain(name: str) -> str:
    """A record is only ever written by us, but a path that leaves the folder must not be followed whoever wrote it."""
    if Path(name).name != name:
        raise DatasetError(f"publish record names {name!r}, which is no file name")
    return name


def discard_staging(layout: Layout, keep: Sequence[str] = ()) -> None:
    """Remove what runs that never published have left in staging."""
    for folder in (layout.private / "staging").glob("*"):
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)
