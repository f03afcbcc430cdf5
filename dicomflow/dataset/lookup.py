"""Find the row of one SOP Instance UID without scanning.

In: the parts of a table, its schema, a UID.  Out: the row by column, or None.  Knows no layout of datasets and no DICOM.

    Bloom filters -> row groups that may hold the key -> the key column of those -> page index -> the row's pages

Arrow has no way to ask for filters, nor to begin inside a column, so both are done here (``keyfilter``, ``onerow``).  What they
do not know, or find damaged, Arrow reads from the start of the row group, with the page checksums verified: it has the last word.
Parts are mapped into memory: they are replaced, never written to.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomflow.dataset.keyfilter import KeyFilter, KeyPlaces
from dicomflow.dataset.onerow import RowReader
from dicomflow.dataset.writer import DISTINCT_COLUMNS
from dicomflow.errors import DatasetError, describe

_KEY = "SOPInstanceUID"
_ROWS_AT_ONCE = 16_384

Row = dict[str, Any]


def find_row(parts: Sequence[Path], schema: pa.Schema, uid: str) -> Row | None:
    """Find one row; see ``RowFinder``, which is quicker for many."""
    return RowFinder(parts, schema).find(uid)


class RowFinder:
    """Finds rows by their SOP Instance UID, and remembers where the filters of the parts are.

    Args:
        parts: Parquet files, looked through in this order until the row is found.
        schema: what every part holds.
    """

    def __init__(self, parts: Sequence[Path], schema: pa.Schema) -> None:
        self._parts = parts
        self._schema = schema
        self._places = KeyPlaces(_KEY)

    @cached_property
    def _reader(self) -> RowReader | None:
        """Only where a filter says that there may be a row."""
        try:
            return RowReader(self._schema, _KEY)
        except ValueError:
            return None

    def find(self, uid: str) -> Row | None:
        """The row with this UID; in a table that has several, the first; None if there is none.

        Args:
            uid: compared exactly.

        Returns:
            All columns of the schema, as Arrow's ``to_pylist`` gives them.

        Raises:
            DatasetError: a part cannot be read, or is damaged where it had to be read.
        """
        key = _encode(uid)
        if key is None:
            return None
        ask = KeyFilter(_KEY, key, self._places).ask
        for part in self._parts:
            try:
                groups = ask(part)
                found = None if groups == [] else self._look_into(part, groups, uid)
            except OSError as error:
                raise DatasetError(f"{part}: cannot be read: {describe(error)}") from None
            except (pa.ArrowException, LookupError, ValueError, StopIteration) as error:  # their text may quote a value
                raise DatasetError(f"{part}: damaged, or not of this schema: {type(error).__name__}") from None
            if found is not None:
                return found
        return None

    def _look_into(self, part: Path, groups: list[int] | None, uid: str) -> Row | None:
        with open(part, "rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            places = [] if groups is None else [self._places.of(part, stream.fileno())[group] for group in groups]
        if self._reader is not None and places:
            try:
                rows = (self._reader.find(data, place.pages, uid.encode()) for place in places)
                return next((row for row in rows if row is not None), None)
            except _UNKNOWN:
                pass
        return _ask_arrow(data, groups, self._schema, uid)


_UNKNOWN = (ValueError, IndexError, OverflowError, OSError)
"""Of another writer, or damaged: Arrow will tell."""


def _encode(uid: str) -> bytes | None:
    """Text as Parquet stores it; there is none for a lone surrogate."""
    try:
        return uid.encode()
    except UnicodeEncodeError:
        return None


# ---- with Arrow ------------------------------------------------------------------------------------------------------


def _ask_arrow(data: mmap.mmap, groups: list[int] | None, schema: pa.Schema, uid: str) -> Row | None:
    file = _open(data, schema)
    for group in range(file.num_row_groups) if groups is None else groups:
        row = _find_key(file, group, uid)
        if row is not None:
            return _read_row(file, group, row, schema)
    return None


def _open(data: mmap.mmap, schema: pa.Schema) -> pq.ParquetFile:
    """Text stays in its dictionary until there is only one row of it.

    What the footer says of a column is not asked for in Python: of a damaged footer, Arrow answers by ending the process.
    """
    repeated = [field.name for field in schema if field.type == pa.string() and field.name not in DISTINCT_COLUMNS]
    source = pa.BufferReader(pa.py_buffer(data))
    return pq.ParquetFile(source, read_dictionary=repeated, pre_buffer=False, page_checksum_verification=True)


def _find_key(file: pq.ParquetFile, group: int, uid: str) -> int | None:
    wanted, start = pa.scalar(uid, pa.string()), 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[_KEY], use_threads=False):
        row = pc.index(batch[_KEY], wanted).as_py()
        if row >= 0:
            return start + int(row)
        start += batch.num_rows
    return None


def _read_row(file: pq.ParquetFile, group: int, row: int, schema: pa.Schema) -> Row:
    """Decode the columns no further than to the row."""
    size = min(row + 1, _ROWS_AT_ONCE)
    batches = file.iter_batches(size, row_groups=[group], columns=schema.names, use_threads=False)
    batch = next(islice(batches, row // size, None)).slice(row % size, 1)
    columns = [batch[field.name].cast(field.type) for field in schema]
    found: list[Row] = pa.Table.from_arrays(columns, schema=schema).to_pylist()
    return found[0]
