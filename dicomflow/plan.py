"""Group files into scan tasks.

In: SourceFiles as they are listed, settings, the number of workers.  Out: groups that partition what is to be read, in order, and
the ids of their tasks.  Pure and deterministic: no I/O, no DICOM, no Dask.  Holds a bounded number of rows, however many come.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dicomflow.config import PlanConfig

_IDENTITY = ("uri", "member", "size", "mtime")
"""What makes a file the same file as in an earlier run."""

MAX_RESERVE = 1_000_000
"""Rows held back, at most, to be divided among the workers when listing ends."""

_BYTES_PER_FILE = 4 << 20
_MAX_WEIGHT = 64
"""A file counts as one, and as one more for each 4 MiB: where pixels are many, frames are, and their headers are long."""


def group_files(batches: Iterable[pa.Table], *, config: PlanConfig, workers: int) -> Iterator[pa.Table]:
    """Group the files that are to be read, neighbours together, while they are still being listed.

    Groups are as large as the settings allow as long as more files come; what is held back until the end is divided evenly by
    number and bytes, into enough groups for all workers to end at the same time.

    Args:
        batches: ``SOURCE_FILE_SCHEMA``; each (uri, member) once, none settled.
        config: how large groups are.
        workers: how many tasks run at the same time.

    Yields:
        Tables which, one after the other, are the rows of ``batches`` in their order.  Drawn no further than is needed for the
        next group.

    >>> sizes = [1] * 10
    >>> files = pa.table({"uri": [f"/{i}" for i in range(10)], "size": sizes})
    >>> [group.num_rows for group in group_files([files], config=PlanConfig(files_per_task=4), workers=2)]
    [4, 3, 3]
    """
    largest = config.files_per_task or config.max_files_per_task
    reserve = _count_reserve(config, max(workers, 1))
    held: pa.Table | None = None
    for batch in batches:
        held = batch if held is None else pa.concat_tables([held, batch])
        while held.num_rows > reserve + largest:
            group, held = held.slice(0, largest), held.slice(largest)
            yield from _cut(group, _count_heavy(group, largest))
    if held is not None and held.num_rows:
        yield from _cut(held, max(_count_groups(held.num_rows, config, max(workers, 1)), _count_heavy(held, largest)))


def cut_slice(start: int, stop: int, pieces: int) -> list[tuple[int, int]]:
    """Divide the rows of a task whose workers died.

    >>> cut_slice(10, 15, 2), cut_slice(7, 8, 2)
    ([(10, 12), (12, 15)], [(7, 8)])
    """
    count = min(pieces, stop - start)
    edges = [start + (stop - start) * piece // count for piece in range(count + 1)]
    return list(itertools.pairwise(edges))


def _count_reserve(config: PlanConfig, workers: int) -> int:
    """Rows that make a fair end: enough tasks for each worker, none of them tiny."""
    largest = config.files_per_task or config.max_files_per_task
    fair = workers * config.tasks_per_worker * config.min_files_per_task if workers > 1 else 0
    return max(largest, min(fair, MAX_RESERVE))


def _count_groups(files: int, config: PlanConfig, workers: int) -> int:
    """As few groups as the settings allow, and as many for one worker as for another."""
    if config.files_per_task is not None:
        return _divide_up(files, config.files_per_task)
    if workers == 1:  # nothing to balance, and each task has its fixed cost
        return _divide_up(files, config.max_files_per_task)
    share = _divide_up(files, workers * config.tasks_per_worker)
    groups = _divide_up(files, min(max(share, config.min_files_per_task), config.max_files_per_task))
    return groups if groups <= 1 else _divide_up(groups, workers) * workers


def _count_heavy(files: pa.Table, largest: int) -> int:
    """Into how many groups these many files go, if their bytes are far more than those of slices."""
    heavy = int(_weigh(files)[-1] // (2 * largest))
    return max(1, min(int(files.num_rows), heavy))


def _cut(files: pa.Table, groups: int) -> Iterator[pa.Table]:
    """Groups of nearly equal weight, none empty."""
    rows, count = files.num_rows, min(groups, files.num_rows)
    weights, inner = _weigh(files), np.arange(1, count)
    edges = np.searchsorted(weights, weights[-1] * inner / count) + 1
    edges = np.maximum.accumulate(edges - inner) + inner  # one heavy file may reach over several edges
    bounds = [0, *np.minimum(edges, rows - inner[::-1]).tolist(), rows]
    for start, stop in itertools.pairwise(bounds):
        yield files.slice(start, stop - start)


def _weigh(files: pa.Table) -> npt.NDArray[np.int64]:
    """Running sum of what the files are expected to cost."""
    sizes = files["size"].fill_null(0).to_numpy()
    running: npt.NDArray[np.int64] = np.cumsum(1 + np.clip(sizes // _BYTES_PER_FILE, 0, _MAX_WEIGHT))
    return running


def _divide_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def make_task_id(files: pa.Table, fingerprint: str) -> str:
    """Hash of the files and of what else a result depends on, whatever chunks and offsets Arrow keeps them in.

    Args:
        files: a group.
        fingerprint: columns, versions.

    Returns:
        xxh3-128 in hexadecimal digits; the same on every machine.
    """
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
