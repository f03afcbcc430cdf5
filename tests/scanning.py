"""Read literal bytes with the fast reader, and look at what it found."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from dicomflow.batch import Batch, RowFacts, build_batch
from dicomflow.header.element import Limits
from dicomflow.header.reader import HeaderReader, raw_value
from dicomflow.header.verdict import NEED_MORE
from dicomflow.model import SOURCE_FILE_SCHEMA, Issue, Outcome, RawValue
from dicomflow.schema.column import Column, make_column

UID = 0x00080018
KEY = make_column("SOPInstanceUID", ("SOPInstanceUID", "MediaStorageSOPInstanceUID"))


class Read(NamedTuple):
    """One header as read: ``outcome`` is None where all is well; no values where it gave no row."""

    outcome: Outcome | None
    values: dict[str, RawValue | None]
    issues: list[Issue]
    header_bytes: int
    by_pydicom: bool

    @property
    def code(self) -> str | None:
        """The outcome's code."""
        return None if self.outcome is None else str(self.outcome.code)

    def raw(self, name: str) -> bytes | None:
        """The bytes found for a column."""
        value = self.values[name]
        return None if value is None else value.raw


@lru_cache(maxsize=64)
def columns_of(*names: str) -> tuple[Column, ...]:
    """The key and these columns; a name with a dot or a parenthesis is a path."""
    return (KEY, *(_column(name) for name in names))


def _column(name: str) -> Column:
    return make_column(name, (name,), "LO" if name.endswith(")") else None)


def read_one(data: bytes, *names: str, columns: Sequence[Column] | None = None, **limits: int) -> Read:
    """Read one header from its whole file."""
    reader = HeaderReader(columns or columns_of(*names), rows=4, limits=Limits(**limits))
    outcome = feed(reader, data)
    row = take_row(reader) if reader.batch.rows else {}
    remarks = reader.remarks() if reader.has_remarks and reader.batch.rows else []
    return Read(outcome, row, remarks, reader.header_bytes, reader.by_pydicom)


def feed(reader: HeaderReader, data: bytes) -> Outcome | None:
    """Scan and accept a whole file."""
    scan_all(reader, data)
    return reader.accept()


def scan_all(reader: HeaderReader, data: bytes) -> int:
    """Scan a whole file; the verdict."""
    if len(data) > len(reader.buffer):
        reader.grow(len(data))
    reader.view[: len(data)] = data
    verdict = reader.scan(len(data), True)
    assert verdict != NEED_MORE
    return verdict


def take_row(reader: HeaderReader, row: int = 0) -> dict[str, RawValue | None]:
    """The values of a row, by column."""
    codes = reader.batch.take_codes()[row].tolist()
    return {
        column.name: None if code < 0 else distinct_values(reader, index)[code]
        for index, (column, code) in enumerate(zip(reader.columns, codes, strict=True))
    }


def distinct_values(reader: HeaderReader, column: int) -> list[RawValue]:
    """The distinct values of a column, in the order of their codes."""
    offsets, data, contexts = reader.batch.take_column(column)
    bounds = offsets.tolist()
    return [
        raw_value(bytes(data[start:stop]), context, reader.batch.charsets)
        for start, stop, context in zip(bounds, bounds[1:], contexts.tolist(), strict=False)
    ]


def scanned_values(reader: HeaderReader) -> dict[str, RawValue | None]:
    """What the scanner found for each column, before any batch."""
    return {
        column.name: next((_hit(reader, leaf) for leaf in leaves if reader.hits.length[leaf] > 0), None)
        for column, leaves in zip(reader.columns, reader.tables.column_leaves, strict=True)
    }


def _hit(reader: HeaderReader, leaf: int) -> RawValue:
    hits, scope = reader.hits, int(reader.hits.scope[leaf])
    while scope >= 0 and hits.scope_length[scope] < 0:
        scope = int(hits.scope_parent[scope])
    charset = None if scope < 0 else _bytes(reader, hits.scope_offset[scope], hits.scope_length[scope])
    context = int(hits.vr[leaf])
    return raw_value(_bytes(reader, hits.offset[leaf], hits.length[leaf]), context, [None])._replace(charset=charset)


def _bytes(reader: HeaderReader, offset: int, length: int) -> bytes:
    return bytes(reader._bytes[offset : offset + length])


def build(reader: HeaderReader, rows: int, *, sort: bool = True, **facts: object) -> Batch:
    """The batch of a reader that collected so many rows, from files named file:0, file:1 ..."""
    known = RowFacts(file=list(range(rows)), header_bytes=[0] * rows, digest=[""] * rows, **facts)  # type: ignore[arg-type]
    files = pa.table({"uri": [f"file:{row}" for row in range(rows)]})
    for field in list(SOURCE_FILE_SCHEMA)[1:]:
        files = files.append_column(field, pa.nulls(rows, field.type))
    return build_batch(reader, known, files, sort=sort)
