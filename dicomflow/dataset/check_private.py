"""Checks of the private folder: description, commit, what killed runs left, run records.

In: the layout of a dataset.  Out: findings.  Reads only; knows no Parquet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import Owner, find_owner
from dicomflow.dataset.snapshot import Snapshot, read_json
from dicomflow.dataset.verification import Findings
from dicomflow.errors import DatasetError
from dicomflow.schema.version import FORMAT_VERSION

_RESTORE = "restore it from a backup, or extract into a new folder"
_NEXT_RUN = "the next run removes it"


def read_description(layout: Layout, findings: Findings) -> Snapshot | None:
    """The newest version whose commit was recorded; None where that cannot be read."""
    findings.count("description", 1, "description")
    path = layout.commit_record if layout.commit_record.is_file() else layout.description
    try:
        found = read_json(path)
        if path == layout.commit_record and found is not None:
            found = _as_object(found.get("description"))
        if found is not None and found.get("format") == FORMAT_VERSION:
            return Snapshot.from_json(found, path)
        what = "is not there" if found is None else "is of another format than this version of dicomflow reads"
    except DatasetError as error:
        what = str(error).removeprefix(f"{path}: ").partition(";")[0]
    findings.add("description", _below(layout, path), what, _RESTORE)
    return None


def _as_object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def check_private(layout: Layout, snapshot: Snapshot | None, findings: Findings) -> None:
    """Look through the private folder; while a run is under way, what it works on is no leftover."""
    findings.count("commit", 1, "record")
    under_way = _check_lock(layout, findings)
    if layout.staging.exists() and not under_way:
        findings.remarks.append("an interrupted run can be taken up: the same command goes on from where it stopped")
    if not under_way:
        _check_commit(layout, findings)
        _check_leftovers(layout, findings)
    _check_runs(layout, snapshot, findings)


def _check_lock(layout: Layout, findings: Findings) -> bool:
    """Whether somebody writes, or may be writing, this dataset; a lock whose process is gone is a leftover."""
    findings.count("leftovers", 1, "places")
    try:
        owner = find_owner(layout)
    except DatasetError as error:
        what = str(error).removeprefix(f"{layout.lock}: ")
        findings.add("leftovers", _below(layout, layout.lock), what, "see who holds it")
        return True
    if owner is None:
        return False
    if owner.alive is not False:
        findings.remarks.append(_say_who_writes(layout, owner))
        return True
    findings.remarks.append(f"the process that held {_below(layout, layout.lock)} is gone; the next run takes it over")
    return False


def _say_who_writes(layout: Layout, owner: Owner) -> str:
    who = f"is being written by process {owner.pid} on {owner.host} since {owner.since}"
    return who if owner.alive else f"{who}; if that is gone, remove {layout.lock}"


def _check_commit(layout: Layout, findings: Findings) -> None:
    if layout.commit_record.exists():
        findings.add(
            "commit",
            _below(layout, layout.commit_record),
            "a run was stopped while it published",
            "run `dicomflow extract` again: it completes this version first",
        )


def _check_leftovers(layout: Layout, findings: Findings) -> None:
    for folder, what in (
        (layout.next, "tables that a run was preparing when it was stopped"),
        (layout.spill, "what did not fit into the memory of a run that was stopped"),
    ):
        findings.count("leftovers", 1, "places")
        if folder.exists() and not (folder == layout.next and layout.commit_record.exists()):
            findings.add("leftovers", _below(layout, folder), what, _NEXT_RUN)
    for path in _temporary_files(layout):
        findings.add("leftovers", _below(layout, path), "a temporary file of a run that was stopped", "remove it")


def _temporary_files(layout: Layout) -> Iterator[Path]:
    """Not those in ``staging`` and ``next``, which go with their folder, nor in a table, where each stranger is named."""
    for folder in (layout.private, layout.runs):
        for pattern in (".*.tmp", ".probe.*"):
            yield from sorted(folder.glob(pattern))


def _check_runs(layout: Layout, snapshot: Snapshot | None, findings: Findings) -> None:
    records = sorted(layout.runs.glob("*.json"))
    findings.count("runs", len(records), "records")
    for path in records:
        what = _look_at_run(path, snapshot)
        if what is not None:
            findings.add("runs", _below(layout, path), what, "remove it, or restore it from a backup")
    if (
        snapshot is not None
        and not layout.run_record(snapshot.last_run).is_file()
        and not layout.commit_record.exists()
    ):
        record = layout.run_record(snapshot.last_run)
        findings.add(
            "runs", _below(layout, record), "the record of the run that published this version is gone", _RESTORE
        )


def _look_at_run(path: Path, snapshot: Snapshot | None) -> str | None:
    try:
        record = read_json(path) or {}
    except DatasetError as error:
        return str(error).removeprefix(f"{path}: ")
    if f"{record.get('run_id')}.json" != path.name:
        return "is the record of another run"
    if snapshot is not None and snapshot.last_run == record.get("run_id") and record.get("version") != snapshot.version:
        return "is of the run that published this version, but names another"
    return None


def _below(layout: Layout, path: Path) -> str:
    return str(path.relative_to(layout.root))
