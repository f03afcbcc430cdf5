"""How long a file takes, by a look at some of them.

In: a few of the SourceFiles to come, columns, limits.  Out: seconds that one process needs per file.  Writes nothing, and nothing
is kept of what was read; a storage that hangs is left behind, and no file ends the run before it has begun.

Worker processes are started in two or three seconds.  In these one process reads 100,000 files where storage is fast, and 1,000
where each takes milliseconds, so nothing but a look tells whether they are worth it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from dicomflow.config import HeaderConfig
from dicomflow.schema.column import Column
from dicomflow.worker.ahead import Gear
from dicomflow.worker.files import Stint
from dicomflow.worker.members import make_reader
from dicomflow.worker.watch import WatchedThread

FILES = 64
SECONDS = 0.25
"""No file is begun after so long."""

HANGS_SECONDS = 1.0
"""A file that takes longer is left behind; it counts as much."""

ROW_SECONDS = 15e-6
"""What a row takes behind its header: to be typed, sorted, written."""

AHEAD_SECONDS = 30e-6
"""What it takes to have a file read ahead."""


def probe_files(files: pa.Table, columns: Sequence[Column], config: HeaderConfig) -> float:
    """Read some headers; seconds per file, those of its row included.

    Args:
        files: ``SOURCE_FILE_SCHEMA``, at least one row; some of them are read, from the first to the last.
        columns: what is taken of each header.
        config: limits.
    """
    places = np.unique(np.linspace(0, files.num_rows - 1, FILES).astype(int))
    one_batch = config.model_copy(update={"batch_rows": FILES})
    reader = make_reader(files.take(pa.array(places)), columns, one_batch)
    stint = Stint(range(len(places)), until=time.perf_counter() + SECONDS)
    try:
        with WatchedThread(HANGS_SECONDS) as thread:
            came_back = thread.run(partial(reader.read, stint), reader.uris[0])
    except Exception:  # noqa: BLE001  want of memory, a fault of ours: the task that reads this file says so, in its own way
        came_back = False
    if not came_back:
        return HANGS_SECONDS
    latencies = stint.times.latencies()
    threads = Gear(config.read_ahead if reader.reads_ahead else 0).shift(latencies, 0.0)
    each = float(latencies.mean())
    return ROW_SECONDS + (AHEAD_SECONDS + each / threads if threads else each)
