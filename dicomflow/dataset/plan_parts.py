"""The plan as data: which files each task reads, as Parquet in staging.

In: groups of SourceFiles; a ScanTask.  Out: ScanTasks that name a slice; the rows of one.  Knows no headers, no Dask.

A task that travels is a few hundred bytes however many files it reads; no row of the plan stays with the driver or the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from dicomflow.dataset.parts import explained
from dicomflow.errors import DatasetError, describe
from dicomflow.model import ScanTask

VISIBLE_SECONDS = 10.0
"""So long a worker waits for a part of the plan: a network file system may show it later than it was written."""

_LOOK_SECONDS = 0.25


def write_plan(folder: Path, files: pa.Table, task_id: str, span: str = "") -> ScanTask:
    """Write the files of one task.

    Args:
        folder: of the plan.
        files: ``SOURCE_FILE_SCHEMA``, and ``first_seen`` where it is known.
        task_id: names the part.
        span: see ``ScanTask``.

    Raises:
        DatasetError: it cannot be written.
    """
    path = folder / f"{task_id}.parquet"
    try:  # neither atomic nor synced: no task names it before it is whole, and each run makes its plan anew
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(files, path, compression="zstd", use_dictionary=False, write_statistics=False)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {describe(error)}") from error
    return ScanTask(task_id=task_id, plan=str(path), start=0, stop=files.num_rows, span=span)


def read_plan(task: ScanTask) -> pa.Table:
    """The files that a task reads, in their order.

    Raises:
        DatasetError: its part of the plan cannot be read.
    """
    path = Path(task.plan)
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    if not path.exists():
        raise DatasetError(
            f"{path}: is not here, but the run wrote it; workers and the run's own process must see DEST under the same name"
        )
    with explained(path), pq.ParquetFile(path) as part:
        return part.read().slice(task.start, task.files)


def cut_task(task: ScanTask, slices: Sequence[tuple[int, int]]) -> list[ScanTask]:
    """Tasks for these slices of a task's rows, with ids of their own; the task itself where there is one slice.

    >>> task = ScanTask(task_id="t", plan="p.parquet", start=0, stop=3)
    >>> [(piece.start, piece.stop) for piece in cut_task(task, [(0, 2), (2, 3)])]
    [(0, 2), (2, 3)]
    """
    if len(slices) == 1:
        return [task]
    return [replace(task, task_id=_piece_id(task, *bounds), start=bounds[0], stop=bounds[1]) for bounds in slices]


def _piece_id(task: ScanTask, start: int, stop: int) -> str:
    return xxhash.xxh3_128_hexdigest(f"{task.task_id} {start} {stop}".encode())
