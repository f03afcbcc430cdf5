"""Turn a batch of collected headers into one typed, sorted RecordBatch.

In: the codes and distinct raw values of a batch, and what is known of each row (``RowFacts``).  Out: a RecordBatch with the
``instances`` schema, except that repetitive text columns come dictionary-encoded (the writer stores them as plain text).
Knows no files and no Parquet.

Each distinct value is decoded once: the many of a per-instance column by vectors where they are plain, all others by the
careful ``decode_column_value``; then rows take their values by code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.errors import IssueCode, Status
from dicomflow.header.decode import decode_column_value
from dicomflow.header.items import PACKED
from dicomflow.header.reader import HeaderReader, raw_value
from dicomflow.header.values import Decoded
from dicomflow.header.vectors import RawColumn, decode_plain, decode_plain_items
from dicomflow.model import Issue, RawValue
from dicomflow.schema.column import ISSUES_TYPE, SOURCE_FIELDS, Column

SORT_COLUMNS = ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber")
VECTOR_ROWS = 24
"""From so many distinct values on, vectors are tried first."""

Codes = npt.NDArray[np.int32]


@dataclass(slots=True)
class RowFacts:
    """What is known of each row of a batch beside its attributes; lists run in step with the rows."""

    file: list[int] = field(default_factory=list)  # index of the SourceFile in its task
    header_bytes: list[int] = field(default_factory=list)
    digest: list[str] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)  # rows whose header is not whole
    remarks: dict[int, list[Issue]] = field(default_factory=dict)  # row -> issues of the header as a whole


@dataclass(frozen=True, slots=True)
class Batch:
    """A decoded batch: its rows, sorted; and the keys in the order of reading."""

    rows: pa.RecordBatch
    keys: pa.Array  # SOPInstanceUID in the order of reading
    issues: int

    def rows_without_key(self) -> list[int]:
        """Rows, in the order of reading, whose key could not be typed: they are in the ledger only."""
        return [] if self.keys.null_count == 0 else np.flatnonzero(pc.is_null(self.keys).to_numpy(False)).tolist()


@dataclass(slots=True)
class _Decoded:
    """A column's distinct values, typed, and the issues of the codes that have some."""

    values: pa.Array
    issues: dict[int, tuple[tuple[IssueCode, str], ...]]


def build_batch(reader: HeaderReader, facts: RowFacts, files: pa.Table, *, sort: bool = True) -> Batch:
    """Decode, type and (unless told otherwise) sort all rows that ``reader`` collected.

    Args:
        reader: its batch is read, not reset.
        facts: one entry per row.
        files: the SourceFiles that ``facts.file`` points into.
        sort: whether rows are ordered by study, series and instance number; else they stay in the order of reading.
    """
    codes = reader.batch.take_codes()
    decoded = [_decode_column(reader, index, column) for index, column in enumerate(reader.columns)]
    order = _sort_order(reader.columns, decoded, codes) if sort else np.arange(len(codes))
    issues = _collect_issues(reader, decoded, codes, facts)
    sorted_codes = np.ascontiguousarray(codes[order].T)
    arrays = [_take(part.values, sorted_codes[index]) for index, part in enumerate(decoded)]
    arrays += _source_arrays(facts, files, order, issues)
    names = [column.name for column in reader.columns] + [field.name for field in SOURCE_FIELDS]
    rows = pa.RecordBatch.from_arrays(arrays, names=names)
    keys = decoded[0].values.take(pa.array(codes[:, 0]))
    if keys.null_count:
        rows = rows.filter(keys.is_valid().take(pa.array(order)))
    return Batch(rows, keys, sum(len(found) for found in issues.values()))


# ---- distinct values -------------------------------------------------------------------------------------------------


def _decode_column(reader: HeaderReader, index: int, column: Column) -> _Decoded:
    offsets, data, contexts = reader.batch.take_column(index)
    count = len(contexts)
    if count == 0:
        return _Decoded(pa.nulls(0, column.arrow_type), {})
    if count >= VECTOR_ROWS and not column.each and bool((contexts == contexts[0]).all()):
        first = raw_value(b"", int(contexts[0]), reader.batch.charsets)
        if (plain := decode_plain(column, first.vr, RawColumn(offsets, data, first.big_endian))) is not None:
            return _Decoded(plain, {})
    decoded = _decode_each(column, offsets, data, contexts, reader.batch.charsets)
    values = (
        _join_lists(decoded, column) if column.each else pa.array([one.value for one in decoded], column.arrow_type)
    )
    return _Decoded(values, {code: one.issues for code, one in enumerate(decoded) if one.issues})


def _decode_each(
    column: Column,
    offsets: npt.NDArray[np.int32],
    data: bytearray,
    contexts: npt.NDArray[np.uint64],
    charsets: Sequence[bytes | None],
) -> list[Decoded]:
    bounds = offsets.tolist()
    values = (
        raw_value(bytes(data[start:stop]), context, charsets)
        for start, stop, context in zip(bounds, bounds[1:], contexts.tolist(), strict=False)
    )
    return [_decode_list(value, column) if column.each else decode_column_value(value, column) for value in values]


def _decode_list(value: RawValue, column: Column) -> Decoded:
    """The values of all items: an Arrow array where they are plain, else a list."""
    plain = decode_plain_items(column, value) if value.vr == PACKED and column.vr != "SQ" else None
    return decode_column_value(value, column) if plain is None else Decoded(plain)


def _join_lists(decoded: Sequence[Decoded], column: Column) -> pa.Array:
    """One list array of these lists, some of which are Arrow arrays already."""
    items = column.arrow_type.value_type
    parts = [one.value if isinstance(one.value, pa.Array) else pa.array(one.value or [], items) for one in decoded]
    ends = np.cumsum([0, *map(len, parts)])
    absent = np.array([one.value is None for one in decoded])
    values = pa.concat_arrays([pa.array([], items), *(part.cast(items) for part in parts)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=pa.array(absent))


# ---- rows ------------------------------------------------------------------------------------------------------------


def _sort_order(columns: Sequence[Column], decoded: Sequence[_Decoded], codes: Codes) -> npt.NDArray[np.int64]:
    """Rows by study, series and instance number; the order of reading decides between equals."""
    places = {column.name: index for index, column in enumerate(columns)}
    keys = [
        _ranks(decoded[places[name]].values)[codes[:, places[name]]]
        for name in reversed(SORT_COLUMNS)
        if name in places and not pa.types.is_list(columns[places[name]].arrow_type)
    ]
    return np.lexsort(keys) if keys else np.arange(len(codes))


def _ranks(values: pa.Array) -> npt.NDArray[np.int64]:
    """Rank of each distinct value, the same for equal ones; one more place at the end, for code -1: nulls sort last."""
    ranks = np.full(len(values) + 1, len(values) + 1, np.int64)
    if len(values):
        ranks[:-1] = np.where(
            values.is_valid().to_numpy(zero_copy_only=False),
            pc.rank(values, sort_keys="ascending", tiebreaker="dense"),
            len(values) + 1,
        )
    return ranks


def _take(values: pa.Array, codes: Codes) -> pa.Array:
    """The column of a batch: the value of each row's code, null for -1."""
    if len(values) == 0:
        return pa.nulls(len(codes), values.type)
    absent = codes < 0
    if values.null_count:  # null belongs into the rows: Parquet takes no dictionary with a null in it
        absent = absent | values.is_null().to_numpy(zero_copy_only=False)[codes]
    indices = pa.array(codes, mask=absent) if bool(absent.any()) else pa.array(codes)
    if pa.types.is_string(values.type) and 2 * len(values) < len(codes):
        return pa.DictionaryArray.from_arrays(indices, values.fill_null("") if values.null_count else values)
    return values.take(indices)


def _collect_issues(
    reader: HeaderReader, decoded: Sequence[_Decoded], codes: Codes, facts: RowFacts
) -> dict[int, list[Issue]]:
    """Issues by row: those of the header as a whole, of values too long to keep, and of each value taken."""
    issues = {row: list(found) for row, found in facts.remarks.items() if found}
    for row, column in reader.batch.oversized:
        issues.setdefault(row, []).append(Issue(reader.columns[column].name, IssueCode.OUT_OF_RANGE, ""))
    for index, part in enumerate(decoded):
        if part.issues:
            _add_column_issues(issues, reader.columns[index].name, part.issues, codes[:, index])
    return issues


def _add_column_issues(
    issues: dict[int, list[Issue]], name: str, by_code: dict[int, tuple[tuple[IssueCode, str], ...]], codes: Codes
) -> None:
    found = {code: [Issue(name, kind, raw) for kind, raw in each] for code, each in by_code.items()}
    for row in np.flatnonzero(np.isin(codes, list(found))).tolist():
        issues.setdefault(row, []).extend(found[int(codes[row])])


# ---- the columns that say where a row came from ----------------------------------------------------------------------


def _source_arrays(
    facts: RowFacts, files: pa.Table, order: npt.NDArray[np.int64], issues: dict[int, list[Issue]]
) -> list[pa.Array]:
    places = pa.array(np.asarray(facts.file, np.int64)[order])
    return [
        *(files[name].combine_chunks().take(places) for name in ("uri", "member", "size", "mtime")),
        pa.array(np.asarray(facts.header_bytes, np.int64)[order]),
        pa.array(facts.digest, pa.string()).take(pa.array(order)),
        _status_array(facts.partial, order),
        _issues_array(issues, order),
    ]


def _status_array(partial: list[int], order: npt.NDArray[np.int64]) -> pa.Array:
    codes = np.zeros(len(order), np.int32)
    codes[partial] = 1
    return pa.DictionaryArray.from_arrays(pa.array(codes[order]), pa.array([str(Status.OK), str(Status.PARTIAL)]))


def _issues_array(issues: dict[int, list[Issue]], order: npt.NDArray[np.int64]) -> pa.Array:
    """``list<struct<path, code, raw>>`` in sort order; null for a row without issues."""
    if not issues:
        return pa.nulls(len(order), ISSUES_TYPE)
    return pa.array(
        [
            None if (found := issues.get(row)) is None else [(path, str(code), raw) for path, code, raw in found]
            for row in order.tolist()
        ],
        ISSUES_TYPE,
    )
