"""Look at every promise of a dataset again: from the private folder over each page of each part to each row of the ledger.

In: DEST.  Out: a ``Verification``.  Reads only; what is damaged is said, not raised.  Memory does not grow with the rows.
Knows the order of the checks; what they are is in ``check_private``, ``check_parts`` and ``check_rows``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from dicomflow.dataset.check_parts import check_tables
from dicomflow.dataset.check_private import check_private, read_description
from dicomflow.dataset.check_rows import check_rows
from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.dataset.verification import CHECKS, Findings, Verification
from dicomflow.errors import DatasetError

_TRIES = 3
_GIB = 1 << 30


class _Found(NamedTuple):
    snapshot: Snapshot | None
    verification: Verification


def verify_dataset(dest: str | os.PathLike[str], *, memory: int = _GIB) -> Verification:
    """Re-check every promise of the dataset at ``dest``; nothing in it is changed.

    Where a run publishes meanwhile and faults are found, the new version is looked at instead.

    Args:
        dest: folder of the dataset.
        memory: bytes for comparing rows with the ledger; what does not fit is spilled to the folder for temporary files.

    Raises:
        DatasetError: there is no dataset at all.

    >>> import dicomflow
    >>> dicomflow.verify_dataset("headers/").whole    # doctest: +SKIP
    True
    """
    layout = Layout(Path(os.path.abspath(dest)))
    _check_there(layout)
    for _ in range(_TRIES - 1):
        found = _verify(layout, memory)
        if found.verification.whole or read_description(layout, Findings()) == found.snapshot:
            return found.verification
    return _verify(layout, memory).verification


def _check_there(layout: Layout) -> None:
    is_there = layout.is_dataset() or layout.commit_record.is_file()
    if not is_there and not (layout.private.is_dir() and any(layout.parts(table) for table in TABLES)):
        raise DatasetError(
            f"{layout.root}: no dicomflow dataset here; make one with `dicomflow extract SOURCE -o DEST`"
        )


def _verify(layout: Layout, memory: int) -> _Found:
    findings = Findings()
    snapshot = read_description(layout, findings)
    check_private(layout, snapshot, findings)
    if snapshot is None:
        _skip_all(findings)
    else:
        check_rows(check_tables(layout, snapshot, findings), memory, findings)
    verification = Verification(
        dest=str(layout.root),
        version=snapshot.version if snapshot else None,
        checks=findings.checks(),
        remarks=tuple(findings.remarks),
    )
    return _Found(snapshot, verification)


def _skip_all(findings: Findings) -> None:
    """Nobody knows which parts there should be."""
    for name in list(CHECKS)[list(CHECKS).index("parts") :]:
        findings.skip(name, "the description of the dataset cannot be read")
