"""Keep rows by bucket in bounded memory: on the disk, where they become too many.

In: tables of rows, and which bucket each row belongs to.  Out: the same rows, all those of a bucket in one table.  Knows nothing
of what they mean.

What is in memory goes to the disk as one Arrow file with a record batch for each bucket that has rows, so there are few files
however many buckets there are; how many buckets are read at once is decided when all sizes are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from dicomflow.dataset.commit import discard
from dicomflow.errors import DatasetError, describe

BUCKETS = 1024

MAX_BYTES = 1 << 30
"""Of rows in memory, however much there is of it: the text of an Arrow array ends at 2 GiB."""

_PART_BYTES = 1 << 27
"""Of rows in one file: they are copied while they are sorted."""

_TEXTS_AT_ONCE = 1 << 15
"""Texts that are Python's at the same time."""

_hash = xxhash.xxh3_64_intdigest

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Part:
    """A file: which bucket each of its record batches is of."""

    path: Path
    buckets: Integers


class Buckets:
    """Rows of one schema.

    Args:
        assign: gives the bucket of each row, at least 0 and less than ``BUCKETS``.
        folder: for what does not fit.
        max_bytes: of rows in memory.
    """

    def __init__(self, assign: Callable[[pa.Table], Integers], folder: Path, max_bytes: int) -> None:
        self._assign = assign
        self._folder = folder
        self._max_bytes = min(max_bytes, MAX_BYTES)
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._parts: list[_Part] = []
        self.sizes = np.zeros(BUCKETS)
        """Bytes of what is on the disk, as they are in memory, by bucket."""

    @property
    def is_spilled(self) -> bool:
        """Whether there are rows on the disk."""
        return bool(self._parts)

    @property
    def nbytes(self) -> int:
        """Of the rows in memory."""
        return self._bytes

    def add(self, rows: pa.Table) -> None:
        """Take more rows.

        Raises:
            DatasetError: the disk is full.
        """
        if not rows.num_rows:
            return
        self._waiting.append(rows)
        self._bytes += rows.nbytes
        if self._bytes > (min(self._max_bytes, _PART_BYTES) if self._parts else self._max_bytes):
            self.spill()

    def spill(self) -> None:
        """Put all rows that are in memory on the disk.

        Raises:
            DatasetError: the disk is full.
        """
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        try:
            for piece in _pieces(waiting):
                self._write(piece)
        except OSError as error:
            raise DatasetError(f"{self._folder}: cannot be written: {describe(error)}") from None

    def _write(self, rows: pa.Table) -> None:
        buckets = self._assign(rows)
        order = np.argsort(buckets, kind="stable")
        counts = np.bincount(buckets, minlength=BUCKETS)
        held = np.flatnonzero(counts)
        ends = np.cumsum(counts[held])
        ordered = rows.unify_dictionaries().combine_chunks().take(pa.array(order)).combine_chunks()
        path = self._folder / f"{len(self._parts):06}.arrow"
        path.parent.mkdir(parents=True, exist_ok=True)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, ordered.schema, options=options) as writer:
            for end, count in zip(ends.tolist(), counts[held].tolist(), strict=True):
                writer.write_table(ordered.slice(end - count, count))
        self._parts.append(_Part(path, held))
        self.sizes += counts * (ordered.nbytes / ordered.num_rows)

    def held(self) -> pa.Table | None:
        """All rows that are in memory, in the order in which they came; None for none."""
        return pa.concat_tables(self._waiting) if self._waiting else None

    def read(self, first: int, end: int) -> pa.Table | None:
        """Rows on the disk of these buckets; those of one bucket in the order in which they came.  None for none.

        Raises:
            DatasetError: the disk gives back something else.
        """
        batches: list[pa.RecordBatch] = []
        for part in self._parts:
            start, stop = np.searchsorted(part.buckets, (first, end)).tolist()
            if start < stop:
                batches += _read_batches(part.path, range(start, stop))
        return pa.Table.from_batches(batches) if batches else None

    def __iter__(self) -> Iterator[pa.Table]:
        """All rows, some buckets at a time; they are forgotten."""
        if not self._parts:
            held = self.held()
            self.clear()
            yield from [] if held is None else [held]
            return
        self.spill()
        for first, end in cut_ranges(self.sizes, self._max_bytes // 4):
            rows = self.read(first, end)
            if rows is not None:
                yield rows
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._waiting, self._bytes, self._parts = [], 0, []
        self.sizes[:] = 0
        discard(self._folder)


def cut_ranges(sizes: npt.NDArray[np.float64], limit: int) -> Iterator[tuple[int, int]]:
    """Neighbouring buckets together, up to so many bytes; one that is larger by itself.

    >>> list(cut_ranges(np.array([1.0, 2.0, 0.0, 9.0, 1.0]), 4))
    [(0, 3), (3, 4), (4, 5)]
    """
    first, held = 0, 0.0
    for bucket, size in enumerate(sizes.tolist()):
        if held and held + size > limit:
            yield first, bucket
            first, held = bucket, 0.0
        held += size
    yield first, len(sizes)


def hash_texts(texts: pa.Array | pa.ChunkedArray) -> Integers:
    """The bucket of each text; equal texts are in one, and null is as empty text is.

    >>> [int(bucket) < BUCKETS for bucket in hash_texts(pa.array(["a", None]))]
    [True, True]
    """
    buckets = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts.slice(start, _TEXTS_AT_ONCE).cast(pa.binary()).fill_null(b"").to_pylist()
        buckets[start : start + len(some)] = np.fromiter(map(_hash, some), np.uint64, len(some)) % BUCKETS
    return buckets


def _pieces(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of a size that can be sorted."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        rows = -(-table.num_rows // max(1, -(-table.nbytes // _PART_BYTES)))
        for start in range(0, table.num_rows, rows):
            waiting.append(table.slice(start, rows))
            size += waiting[-1].nbytes
            if size >= _PART_BYTES:
                yield pa.concat_tables(waiting)
                waiting, size = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _read_batches(path: Path, places: range) -> list[pa.RecordBatch]:
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as file:
            return [file.get_batch(place) for place in places]
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read: {type(error).__name__}; run again") from None
