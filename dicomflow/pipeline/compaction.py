"""Merge the small parts of a dataset, as a run of its own.

In: DEST.  Out: a new version of the dataset with the same rows.  Lists nothing, reads no header.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from dicomflow import __version__
from dicomflow.config import Config
from dicomflow.dataset.compact import compact_parts
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.snapshot import Snapshot, read_published
from dicomflow.dataset.transaction import Transaction
from dicomflow.log import bind_run
from dicomflow.pipeline.run import make_run_id
from dicomflow.schema.version import FORMAT_VERSION
from dicomflow.summary import Totals
from dicomflow.watch import Progress, as_watcher


def compact(
    dest: str | os.PathLike[str], *, config: Config | None = None, progress: Progress | None = None
) -> Snapshot:
    """Merge the small parts of a dataset into large ones; the snapshot that is published then.

    Raises:
        DatasetError: there is no dataset, it is being written, or cannot be written.
    """
    layout = Layout(Path(os.path.abspath(dest)))
    before, _ = read_published(layout, FORMAT_VERSION)
    began = datetime.now(UTC)
    run = {
        "run_id": make_run_id(began),
        "started": began.isoformat(),
        "sources": before.sources,
        "dicomflow": __version__,
    }
    bind_run(str(run["run_id"]), uuid.uuid4().hex)
    totals = Totals()
    with write_lock(layout) as lock:
        transaction = Transaction.of_dataset(layout, (config or Config()).dataset, lock)
        compact_parts(transaction, run, lambda table, rows: as_watcher(progress)(f"compact {table}", totals))
        assert transaction.before is not None
        return transaction.before
