"""Publish the tables of a new version, all of them at once: job commit, and redo after a crash.

In: folders that hold the coming tables, the description of the new version.  Out: what readers see.  Knows no headers, no Dask.

The protocol.  1. Each table that changes is assembled whole in ``next``, from names of parts that stay and parts that are new,
and synced: nothing visible has changed.  2. The commit record, which names all parts of the new version, is written (exclusively,
atomically, synced): from now on the new version is the dataset.  3. Each assembled table takes the place of the visible one in
one step; then the description is written, and the record removed.  Whoever writes next and finds a record does step 3 again:
every part of it can be repeated.  So a reader of a table sees the old version or the new one, never a mixture, whatever was
killed when.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dicomflow.dataset.layout import PRIVATE, TABLES, Layout, list_parts, part_name
from dicomflow.dataset.lock import WriteLock
from dicomflow.dataset.snapshot import Snapshot, check_format, read_json
from dicomflow.dataset.storage import link_or_copy, replace_folder, sync_folder, write_json
from dicomflow.errors import CommitFailed, CommitStateUnknown, DatasetError, describe
from dicomflow.schema.version import FORMAT_VERSION


def prepare_destination(layout: Layout) -> None:
    """Make sure that DEST is a dicomflow dataset or can become one.

    Raises:
        DatasetError: it is a file, holds other things, lies in a table of a dataset, or cannot be written.
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
        _check_outside(root)
        _make_folder(layout.private)
        probe = layout.private / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise DatasetError(f"{root}: cannot be written: {describe(error)}") from None


def _check_outside(root: Path) -> None:
    """What stands in the folders of another dataset would be read as rows of its tables, or be removed with them."""
    for above in root.parents:
        if root.relative_to(above).parts[0] in (*TABLES, PRIVATE) and Layout(above).is_dataset():
            raise DatasetError(
                f"{root}: lies in a table of the dataset {above}, whose folders are its own; choose another folder"
            )


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, whose names outlive a power cut as what is published in them does."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(made):
        with contextlib.suppress(PermissionError):  # one may write into a folder that one may not read
            sync_folder(path.parent)


def assemble(layout: Layout, table: str, parts: Iterable[Path]) -> None:
    """Give parts that stay as they are a name in the coming table; they keep the one they have.

    Raises:
        CommitFailed: the disk does not take it; nothing was changed.
    """
    folder = layout.next / table
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            name = part_name(part)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(part, folder / name)
    except OSError as error:
        raise CommitFailed(f"nothing was published; run again: {folder}: {describe(error)}") from None


def publish(layout: Layout, snapshot: Snapshot, run_record: Mapping[str, Any], lock: WriteLock) -> None:
    """Make a snapshot the dataset; each of its tables lies in ``next``, or is the visible one already.

    Raises:
        CommitFailed: nothing was changed; the same run can be tried again.
        CommitStateUnknown: it stopped half-way; the next run completes it before it does anything else.
    """
    record = {"description": snapshot.to_json(), "run_record": dict(run_record)}
    try:
        for table in TABLES:
            _check_assembled(layout, table, set(snapshot.tables.get(table, {})))
        if layout.next.is_dir():
            sync_folder(layout.next)
        sync_folder(layout.private)
        lock.check()
        write_json(layout.commit_record, record, exclusive=True)
    except OSError as error:
        raise CommitFailed(f"nothing was published; run again: {layout.next}: {describe(error)}") from None
    except DatasetError as error:
        if layout.commit_record.exists():  # it came to be although writing it failed
            raise CommitStateUnknown(_stopped(layout, str(error))) from None
        raise CommitFailed(f"nothing was published; run again: {error}") from None
    redo(layout)


def _check_assembled(layout: Layout, table: str, names: set[str]) -> None:
    """Nothing is recorded that is not there: the folder that is to be visible holds these parts and no others."""
    folder = layout.next / table
    if folder.is_dir():
        for found, _, _ in os.walk(folder, topdown=False):
            sync_folder(Path(found))
    else:
        folder = layout.table(table)
    if _names(folder) != names:
        raise CommitFailed(f"{folder}: does not hold what was to be published; nothing was published; run again")


def redo(layout: Layout) -> bool:
    """Do what the commit record says, if there is one; True if there was.

    Raises:
        CommitStateUnknown: it cannot be done now; the record stays.
    """
    record = read_json(layout.commit_record)
    if record is None:
        return False
    snapshot, run_record = _check_record(layout, record)
    try:
        sync_folder(layout.private)  # the record must outlive what it says
        for table in TABLES:
            _switch_table(layout, table, set(snapshot.tables.get(table, {})))
        sync_folder(layout.root)
        write_json(layout.description, snapshot.to_json())
        write_json(layout.run_record(snapshot.last_run), run_record)
        sync_folder(layout.runs)
        sync_folder(layout.private)
        layout.commit_record.unlink()
        sync_folder(layout.private)
    except OSError as error:
        raise CommitStateUnknown(_stopped(layout, describe(error))) from None
    except DatasetError as error:
        raise CommitStateUnknown(_stopped(layout, str(error))) from None
    discard(layout.next)
    discard(layout.staging)
    return True


def _stopped(layout: Layout, reason: str) -> str:
    return f"{layout.root}: publishing stopped: {reason}; run again to complete it"


def _switch_table(layout: Layout, table: str, names: set[str]) -> None:
    current, coming = layout.table(table), layout.next / table
    if not names or (current.is_dir() and _names(current) == names):
        return  # nothing changed, or it was done before the crash; rollups may not be there yet
    if not coming.is_dir() or _names(coming) != names:
        raise DatasetError(
            f"{coming}: is not what the commit needs; restore it, or remove {layout.commit_record} and extract again"
        )
    replace_folder(coming, current)


def _names(folder: Path) -> set[str]:
    return {part_name(part) for part in list_parts(folder)}


def _check_record(layout: Layout, record: Mapping[str, Any]) -> tuple[Snapshot, Mapping[str, Any]]:
    """A record is only ever written by us, but a path that leaves its folder must not be followed whoever wrote it."""
    description, run_record = record.get("description"), record.get("run_record")
    if not isinstance(description, dict) or not isinstance(run_record, dict):
        raise DatasetError(f"{layout.commit_record}: not a commit record")
    return check_format(description, layout.commit_record, FORMAT_VERSION), run_record


def discard(folder: Path) -> None:
    """Remove a private folder; what cannot be removed now is removed by a later run."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)


def sweep(private: Path) -> None:
    """Remove the temporary files that a dead process left; whoever calls this holds the lock."""
    for pattern in (".*.tmp", "*/.*.tmp", "*/*/.*.tmp", ".probe.*"):
        for path in private.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()
