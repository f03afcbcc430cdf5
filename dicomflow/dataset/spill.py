"""Keep records by key in bounded memory: in buckets on the disk, where they become too many.

In: tables of records.  Out: the same records, all those of one key in one table.  Knows nothing of what they mean.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from dicomflow.errors import DatasetError, describe

BUCKETS = 128


class Buckets:
    """Records of one table.

    Args:
        key: the column whose equal values stay together.
        folder: for what does not fit.
        max_bytes: of records in memory.
    """

    def __init__(self, key: str, folder: Path, max_bytes: int) -> None:
        self._key = key
        self._folder = folder
        self._max_bytes = max_bytes
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._is_spilling = False
        self._parts = 0

    def add(self, records: pa.Table) -> None:
        """Take more records.

        Raises:
            DatasetError: the disk is full.
        """
        self._waiting.append(records)
        self._bytes += records.nbytes
        if self._bytes > self._max_bytes:
            self._spill()

    def _spill(self) -> None:
        """Write what waits, each bucket to its own file."""
        records = pa.concat_tables(self._waiting)
        self._waiting, self._bytes, self._is_spilling = [], 0, True
        try:
            for bucket, rows in _split(records, self._key):
                self._write(bucket, rows)
        except OSError as error:
            raise DatasetError(f"{self._folder}: cannot be written: {describe(error)}") from None
        self._parts += 1

    def _write(self, bucket: int, rows: pa.Table) -> None:
        path = self._folder / f"{bucket:03}" / f"{self._parts:06}.arrow"
        path.parent.mkdir(parents=True, exist_ok=True)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
            writer.write_table(rows)

    def __iter__(self) -> Iterator[pa.Table]:
        """All records, a bucket at a time; what was spilled is removed as it is read."""
        if not self._is_spilling:
            yield from [pa.concat_tables(self._waiting)] if self._waiting else []
            return
        if self._waiting:
            self._spill()
        for folder in sorted(self._folder.iterdir()):
            yield pa.concat_tables([_read(path) for path in sorted(folder.iterdir())])


def _read(path: Path) -> pa.Table:
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as file:
            rows: pa.Table = file.read_all()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read: {type(error).__name__}; run again") from None
    with contextlib.suppress(OSError):
        path.unlink()
    return rows


def _split(records: pa.Table, key: str) -> Iterator[tuple[int, pa.Table]]:
    coded = records[key].combine_chunks().dictionary_encode()
    numbers = [
        xxhash.xxh3_64_intdigest((text or "").encode()) % BUCKETS for text in [*coded.dictionary.to_pylist(), None]
    ]
    at = coded.indices.fill_null(len(numbers) - 1).to_numpy()
    buckets = np.array(numbers, np.int64)[at]
    order = np.argsort(buckets, kind="stable")
    for piece in np.split(order, np.flatnonzero(np.diff(buckets[order])) + 1) if len(order) else []:
        yield int(buckets[piece[0]]), records.take(pa.array(piece))
