"""Bring rows into an order that says nothing.

In: RecordBatches, for each row the UIDs that it is ordered by.  Out: the same rows, ordered by what a key makes of these UIDs.
Rows that were de-identified go through it: those of the dataset are sorted by the original UIDs, which for many devices count
upwards, so that their order would tell which study came first and which pseudonym stands for it.

The rows of a study stay together only where they bear its pseudonym anyway.  More than some ten thousand rows are ordered on the
disk: a first pass takes a sample of the keys and so finds ranges of about as many rows each; then each sorted run is written
divided at these; then range after range is read from all runs and sorted.  Memory holds one run or one range, whatever the
sizes of studies are; beyond 16 million rows ranges grow with them.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dicomflow.dataset.order import sort_rows
from dicomflow.deidentify import Pseudonyms
from dicomflow.deidentify.values import encode
from dicomflow.errors import DatasetError, describe

RANGE_ROWS = 65_536
"""Rows of a run, and about those of a range; so many are ordered in memory."""

RUN_BYTES = 1 << 28
"""A run ends with the batch that makes it as large: sequences as JSON text may be long."""

MOST_RANGES = 256
SHARE = 1 / 16
SAMPLES = 131_072
"""Of rows in a sample, and most keys of it."""

_KEY = "order"
_KEY_BYTES = 8

Keys = npt.NDArray[np.bytes_]


class Order:
    """Makes the keys that rows are ordered by.

    Args:
        names: of columns with UIDs; the first counts most, the last tells all rows apart.
        pseudonyms: make the keys.
    """

    def __init__(self, names: Sequence[str], pseudonyms: Pseudonyms) -> None:
        self.names = list(names)
        self._pseudonyms = pseudonyms

    def keys(self, rows: pa.RecordBatch) -> Keys:
        """A key for each row."""
        parts = [self._parts(rows.column(name)) for name in self.names]
        joined = np.ascontiguousarray(np.concatenate(parts, axis=1))
        return joined.view(f"S{_KEY_BYTES * len(parts)}").reshape(-1)

    def _parts(self, column: pa.Array) -> npt.NDArray[np.uint8]:
        encoded = encode(column)
        made = [self._pseudonyms.make_order_key(text or "") for text in encoded.dictionary.to_pylist()]
        nothing = bytes(_KEY_BYTES)
        table = np.frombuffer(b"".join([*made, nothing]), np.uint8).reshape(-1, _KEY_BYTES)
        found: npt.NDArray[np.uint8] = table[encoded.indices.fill_null(len(made)).to_numpy(zero_copy_only=False)]
        return found


def find_ranges(order: Order, rows: Iterable[pa.RecordBatch]) -> Keys:
    """Keys at which ranges of about as many rows begin, but for the first; none where the rows are few.

    Args:
        order: makes the keys.
        rows: all rows; only the columns that the order needs.
    """
    draw = np.random.default_rng(0)  # not every n-th row: some datasets have a rhythm
    sample, share, count = np.empty(0, f"S{_KEY_BYTES * len(order.names)}"), SHARE, 0
    for batch in rows:
        taken = batch.take(pa.array(np.flatnonzero(draw.random(batch.num_rows) < share)))
        sample = np.concatenate((sample, order.keys(taken)))
        count += batch.num_rows
        while len(sample) > SAMPLES:
            sample, share = sample[draw.random(len(sample)) < 0.5], share / 2
    ranges = min(MOST_RANGES, -(-count // RANGE_ROWS))
    sample = np.sort(sample)
    return sample[[len(sample) * number // ranges for number in range(1, ranges)]]


def sort_batches(batches: Iterable[tuple[pa.RecordBatch, Keys]], ranges: Keys) -> Iterator[pa.RecordBatch]:
    """The rows in the order of their keys, about a range at a time.

    Args:
        batches: rows and their keys; text may be dictionary-encoded.
        ranges: see ``find_ranges``.

    Raises:
        DatasetError: there is no room for temporary files.
    """
    runs = _iter_runs(batches)
    if not len(ranges):
        pieces = [*runs]  # one, where the rows are short
        if pieces:
            yield from _plain(pieces[0] if len(pieces) == 1 else sort_rows(pieces, [_KEY]))
        return
    with _make_folder() as folder:
        written = [_write_run(folder / f"{number:06}.arrow", run, ranges) for number, run in enumerate(runs)]
        for place in range(len(ranges) + 1):
            pieces = [pa.Table.from_batches([_read_piece(path, place)]) for path in written]
            if pieces:
                yield from _plain(sort_rows(pieces, [_KEY]))


def _iter_runs(batches: Iterable[tuple[pa.RecordBatch, Keys]]) -> Iterator[pa.Table]:
    """Sorted, with their keys."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for batch, keys in batches:
        if waiting and (rows + batch.num_rows > RANGE_ROWS or size + batch.nbytes > RUN_BYTES):
            yield sort_rows(waiting, [_KEY])
            rows = size = 0
        stored = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(keys.itemsize), len(keys), [None, pa.py_buffer(keys.tobytes())]
        )
        waiting.append(pa.Table.from_batches([batch]).append_column(_KEY, stored))
        rows += batch.num_rows
        size += batch.nbytes
    if waiting:
        yield sort_rows(waiting, [_KEY])


def _plain(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    kept = rows.drop_columns([_KEY])
    yield from kept.combine_chunks().to_batches()


@contextlib.contextmanager
def _make_folder() -> Iterator[Path]:
    """Readable by us alone, and gone at the end."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="dicomflow-export-"))
    except OSError as error:
        raise DatasetError(f"no folder for temporary files: {describe(error)}; set TMPDIR") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_run(path: Path, run: pa.Table, ranges: Keys) -> Path:
    """A batch for each range, empty ones, too."""
    column = run[_KEY].combine_chunks()
    keys = np.frombuffer(column.buffers()[1], f"S{column.type.byte_width}")[column.offset : column.offset + len(column)]
    cuts = [0, *np.searchsorted(keys, ranges).tolist(), len(keys)]
    (whole,) = run.combine_chunks().to_batches()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, whole.schema, options=options) as writer:
            for start, end in itertools.pairwise(cuts):
                writer.write_batch(whole.slice(start, end - start))
    except OSError as error:
        raise DatasetError(
            f"{path.parent}: cannot be written: {describe(error)}; set TMPDIR to a larger place"
        ) from None
    return path


def _read_piece(path: Path, place: int) -> pa.RecordBatch:
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_file(source) as file:
            return file.get_batch(place)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read: {type(error).__name__}; export again") from None
