"""Group files into scan tasks.

In: rows of SourceFiles, settings, the number of workers.  Out: ScanTasks that partition what is to be read, in order.
Pure and deterministic: no I/O, no DICOM, no Dask.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dicomflow.config import PlanConfig
from dicomflow.model import ScanTask

_IDENTITY = ("uri", "member", "size", "mtime")
"""What makes a file the same file as in an earlier run."""


def plan_tasks(files: pa.Table, *, config: PlanConfig, workers: int, fingerprint: str) -> list[ScanTask]:
    """Group the files that are to be read, neighbours together.

    Args:
        files: ``SOURCE_FILE_SCHEMA``; each (uri, member) once.  Rows that listing settled are left out.
        config: how large tasks are.
        workers: how many tasks run at the same time.
        fingerprint: what else a result depends on: columns, versions.  A task with another fingerprint has another id.

    Returns:
        Tasks whose files, one after the other, are the rows to be read, in their order.  Their sizes differ by one at
        most.  The same input gives the same ids on every machine.
    """
    to_read, _ = split_settled(files)
    bounds = _group_bounds(to_read.num_rows, _count_groups(to_read.num_rows, config, max(workers, 1)))
    groups = (_own_buffers(to_read.slice(start, stop - start)) for start, stop in bounds)
    return [ScanTask(task_id=_task_id(group, fingerprint), files=group) for group in groups]


def split_settled(files: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows to be read, and the rows that listing settled (their ``status`` is set); both in their order."""
    settled = pc.is_valid(files["status"])
    return files.filter(pc.invert(settled)), files.filter(settled)


def _count_groups(files: int, config: PlanConfig, workers: int) -> int:
    """As few groups as the settings allow, and as many for one worker as for another."""
    if config.files_per_task is not None:
        return _divide_up(files, config.files_per_task)
    if workers == 1:  # nothing to balance, and each task has its fixed cost
        return _divide_up(files, config.max_files_per_task)
    share = _divide_up(files, workers * config.tasks_per_worker)
    groups = _divide_up(files, min(max(share, config.min_files_per_task), config.max_files_per_task))
    return groups if groups <= 1 else _divide_up(groups, workers) * workers


def _group_bounds(files: int, groups: int) -> Iterator[tuple[int, int]]:
    """Groups of equal size but for one file, so that no task is tiny."""
    groups = min(groups, files)
    for group in range(groups):
        yield files * group // groups, files * (group + 1) // groups


def _divide_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _own_buffers(table: pa.Table) -> pa.Table:
    """A copy that holds only its own rows: a pickled slice would carry the whole table to the worker."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _task_id(files: pa.Table, fingerprint: str) -> str:
    """xxh3-128 of the fingerprint and of the rows, whatever chunks and offsets Arrow keeps them in."""
    text = fingerprint.encode()
    digest = xxhash.xxh3_128(len(text).to_bytes(8, "little") + text + files.num_rows.to_bytes(8, "little"))
    for name in _IDENTITY:
        chunks = files[name].chunks
        for chunk in chunks:
            digest.update(_bytes_of(pc.is_valid(chunk), "u1"))
        if pa.types.is_string(files.schema.field(name).type):
            _update_with_texts(digest, chunks)
        else:
            for chunk in chunks:
                digest.update(_bytes_of(chunk, "<i8"))
    return digest.hexdigest()


def _update_with_texts(digest: xxhash.xxh3_128, chunks: list[pa.Array]) -> None:
    """First all lengths, then all bytes: so ("ab", "c") is not ("a", "bc")."""
    for chunk in chunks:
        digest.update(_bytes_of(pc.binary_length(chunk), "<i8"))
    for chunk in chunks:
        held = chunk.drop_null()  # what lies under a null is undefined
        _, offsets, data = held.buffers()
        if len(held) and data is not None:
            ends = np.frombuffer(offsets, dtype=np.int32)[held.offset : held.offset + len(held) + 1]
            digest.update(memoryview(data)[ends[0] : ends[-1]])


def _bytes_of(values: pa.Array, dtype: str) -> bytes:
    """Fixed-size values as bytes, little endian on every machine; null is 0, told apart by the validity before it."""
    integers = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    raw: bytes = integers.astype(dtype, copy=False).tobytes()
    return raw
