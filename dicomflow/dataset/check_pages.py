"""Checks of what is in a part: every page is read, rows are in order, keys are found through the Bloom filter.

In: a part with the right schema.  Out: findings.  One batch of a row group is in memory at a time.  Knows no headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomflow.dataset.compact import SORT_COLUMNS
from dicomflow.dataset.keyfilter import KeyFilter
from dicomflow.dataset.layout import ROLLUPS
from dicomflow.dataset.lookup import find_row
from dicomflow.dataset.verification import Findings
from dicomflow.dataset.writer import DISTINCT_COLUMNS
from dicomflow.errors import DatasetError, describe

DAMAGE = (DatasetError, OSError, pa.ArrowException, ValueError, LookupError, MemoryError, OverflowError)
"""What reading a damaged file can raise; the text may quote a value."""

_KEY = "SOPInstanceUID"
_BATCH_ROWS = 16_384
_READ_AHEAD = 1 << 18  # bytes of each column
_SAMPLE = 1000
_LOOK_UP_EACH = 10
_RESTORE = "restore this file from a backup, or read everything again with `extract --full`"
_SORTED_TABLES = frozenset({"instances", "conflicts", *ROLLUPS})
"""Those whose parts are always sorted; those of the ledger are after compacting."""


class _Sampled(NamedTuple):
    path: Path
    group: int
    key: str


class PageChecker:
    """Reads parts whole.

    Args:
        root: the dataset.
        parts: of ``instances``: so many share the keys that are looked up.
        findings: where faults go.
    """

    def __init__(self, root: Path, parts: int, findings: Findings) -> None:
        self._root = root
        self._per_part = -(-_SAMPLE // max(1, parts))
        self._findings = findings
        self._sample: list[_Sampled] = []
        self._schema: pa.Schema | None = None

    def check(self, path: Path, table: str, schema: pa.Schema) -> bool:
        """Read a part; whether that could be done to its end."""
        order = _Order(_find_sort_keys(table, schema))
        sample: list[_Sampled] = []
        group = -1
        try:
            file = _open(path, schema)
            for group in range(file.num_row_groups):
                self._read_group(file, group, order)
                if table == "instances":
                    sample += self._take_sample(file, path, group)
        except DAMAGE as error:
            place = f"row group {group}: " if group >= 0 else ""
            self._add("pages", path, f"{place}{say_damage(error)}")
            return False
        self._check_order(path, table, order)
        self._sample += sample
        self._schema = schema if table == "instances" else self._schema
        return True

    def _read_group(self, file: pq.ParquetFile, group: int, order: _Order) -> None:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], use_threads=False):
            batch.validate(full=True)
            order.add(batch)
            self._findings.count("pages", batch.num_rows, "rows")

    def _check_order(self, path: Path, table: str, order: _Order) -> None:
        if table in _SORTED_TABLES:
            self._findings.count("order", order.rows, "rows")
        if order.broken_at is not None:
            self._add("order", path, f"row {order.broken_at:,} should stand before the one above it")

    def _take_sample(self, file: pq.ParquetFile, path: Path, group: int) -> Iterator[_Sampled]:
        """Some keys of a row group, from all over its first rows."""
        wanted = -(-self._per_part // file.num_row_groups)
        batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[_KEY], use_threads=False)
        for batch in islice(batches, 1):
            rows = np.unique(np.linspace(0, batch.num_rows - 1, wanted, dtype=np.int64))
            yield from (_Sampled(path, group, key) for key in batch[_KEY].take(pa.array(rows)).to_pylist())

    def look_up_sample(self) -> None:
        """Ask the Bloom filters for the keys that were sampled, and read the rows of some."""
        self._findings.count("lookup", len(self._sample), "keys")
        for number, sampled in enumerate(self._sample):
            try:
                groups = KeyFilter(_KEY, sampled.key.encode()).ask(sampled.path)
            except OSError as error:
                self._add("lookup", sampled.path, say_damage(error))
                continue
            if groups is not None and sampled.group not in groups:
                self._add("lookup", sampled.path, f"a key of row group {sampled.group} is not in its Bloom filter")
            elif number % _LOOK_UP_EACH == 0:
                self._look_up(sampled)

    def _look_up(self, sampled: _Sampled) -> None:
        try:
            found = find_row([sampled.path], self._schema, sampled.key)
        except DatasetError:
            found = None
        if found is None:
            self._add("lookup", sampled.path, f"a row of row group {sampled.group} is not found by its key")

    def _add(self, check: str, path: Path, what: str) -> None:
        self._findings.add(check, str(path.relative_to(self._root)), what, _RESTORE)


class _Order:
    """Whether rows ascend by these columns, nulls last; told batch by batch."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys
        self._last: pa.Table | None = None
        self.rows = 0
        self.broken_at: int | None = None  # the first row, counted from 1, that is not after the one above it

    def add(self, batch: pa.RecordBatch) -> None:
        """The next rows."""
        if self._keys and self.broken_at is None and batch.num_rows:
            own = pa.Table.from_batches([batch.select(self._keys)])
            rows = own if self._last is None else pa.concat_tables([self._last, own])
            found = np.flatnonzero(_find_descents(rows, self._keys))
            if len(found):
                self.broken_at = self.rows + batch.num_rows - rows.num_rows + int(found[0]) + 2
            self._last = own.slice(own.num_rows - 1)
        self.rows += batch.num_rows


def _find_descents(rows: pa.Table, keys: list[str]) -> npt.NDArray[np.bool_]:
    """For each row but the last, whether the next one belongs before it."""
    count = max(0, rows.num_rows - 1)
    descends, equal = np.zeros(count, bool), np.ones(count, bool)
    for name in keys:
        column = rows[name].combine_chunks()
        above, below = column.slice(0, count), column.slice(1, count)
        came_null = pc.and_(above.is_null(), below.is_valid())
        both_null = pc.and_(above.is_null(), below.is_null())
        descends |= equal & _true(pc.or_(pc.fill_null(pc.less(below, above), False), came_null))
        equal &= _true(pc.or_(pc.fill_null(pc.equal(below, above), False), both_null))
    return descends


def _true(values: pa.Array) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return mask


def _find_sort_keys(table: str, schema: pa.Schema) -> list[str]:
    if table not in _SORTED_TABLES:
        return []
    names = [name for name in SORT_COLUMNS[table] if name in schema.names]
    return [name for name in names if not pa.types.is_list(schema.field(name).type)]


def _open(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    """Text that repeats stays in its dictionary, which keeps it small."""
    plain = {*DISTINCT_COLUMNS, *SORT_COLUMNS["instances"]}
    coded = [field.name for field in schema if pa.types.is_string(field.type) and field.name not in plain]
    return pq.ParquetFile(
        path, read_dictionary=coded, pre_buffer=False, buffer_size=_READ_AHEAD, page_checksum_verification=True
    )


def say_damage(error: BaseException) -> str:
    """What a reader's error means, without the reader's text."""
    if "CRC" in str(error):
        return "a page does not match its checksum"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {describe(error)}"
    return "is damaged" if isinstance(error, DatasetError) else f"is damaged: {type(error).__name__}"
