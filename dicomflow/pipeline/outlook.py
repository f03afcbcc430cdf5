"""How long a job will take, as far as it can be seen from its beginning.

In: SourceFiles as they are found.  Out: the same, and the seconds that one process would need for them.  Knows no clusters.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pyarrow as pa

from dicomflow.worker import ScanJob
from dicomflow.worker.probe import probe_files

FEW_FILES = 2_000
"""So many are read sooner, on nearly any storage, than one has looked at them and started workers."""

LISTING_SECONDS = 2.0
"""Whoever has so many files that listing them takes longer need not wait for the last one."""

LOOKING = "looking"
"""A file in staging while headers are looked at: where it is left, one of them killed the process, and is left to workers."""


def foresee(files: Iterator[pa.Table], job: ScanJob, enough: float) -> tuple[Iterator[pa.Table], float]:
    """The same files, and about how many seconds one process needs for them.

    Args:
        files: tables of at least one row each.
        job: how they will be read.
        enough: seconds that it need not look beyond.

    Returns:
        Seconds: 0 for few files; infinity where it is more than ``enough``, or where listing takes long.
    """
    ahead = _Ahead(files)
    until = time.monotonic() + LISTING_SECONDS
    if not ahead.look(FEW_FILES, until):
        return ahead.all(), 0.0
    looking = Path(job.staging) / LOOKING
    if looking.exists():
        return ahead.all(), inf
    with contextlib.suppress(OSError):  # whoever writes the first part says so
        looking.parent.mkdir(parents=True, exist_ok=True)
        looking.touch()
    each = probe_files(ahead.seen, job.profile.columns, job.config.header)
    with contextlib.suppress(OSError):
        looking.unlink(missing_ok=True)
    is_more = ahead.look(int(enough / each), until)
    return ahead.all(), inf if is_more else ahead.count * each


class _Ahead:
    """Files that were looked at, and are still to come."""

    def __init__(self, files: Iterator[pa.Table]) -> None:
        self._files = files
        self._seen: list[pa.Table] = []
        self.count = 0

    @property
    def seen(self) -> pa.Table:
        """What was looked at."""
        return pa.concat_tables(self._seen)

    def look(self, enough: int, until: float) -> bool:
        """Whether there are more than so many, or may be: after a time it is not waited for."""
        while self.count <= enough:
            if self._seen and time.monotonic() > until:
                return True
            batch = next(self._files, None)
            if batch is None:
                return False
            self._seen.append(batch)
            self.count += batch.num_rows
        return True

    def all(self) -> Iterator[pa.Table]:
        """Those that were looked at, and the others."""
        return itertools.chain(self._seen, self._files)
