"""Read headers straight into an Arrow table, with no dataset and no Dask.

In: paths, or the bytes of files.  Out: a table with the ``instances`` schema.  For notebooks, services and tests; for more
than some ten thousand files there is ``extract``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from io import BytesIO
from typing import BinaryIO

import pyarrow as pa
import xxhash

from dicomflow.batch import RowFacts, build_batch
from dicomflow.errors import HeaderError, describe
from dicomflow.header.reader import HeaderReader
from dicomflow.header.verdict import NEED_MORE
from dicomflow.model import SOURCE_FILE_SCHEMA, Outcome
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import Profile, load_profile
from dicomflow.uri import uri_from_path

Readable = str | os.PathLike[str] | bytes | bytearray | memoryview

_BYTES = (bytes, bytearray, memoryview)
_BATCH_ROWS = 4096
_BATCH_BYTES = 1 << 26
_PREFIX_BYTES = 1 << 15
_MAX_HEADER_BYTES = 1 << 28


def read_headers(
    items: Readable | Iterable[Readable],
    *,
    columns: str = "standard",
    errors: str = "raise",
    headers_only: bool = False,
) -> pa.Table:
    """Read the headers of these files or bytes.

    Args:
        items: paths or bytes objects, or one of them.
        columns: ``minimal``, ``standard``, or the path of a column profile.
        errors: ``raise``, or ``skip`` for items that give no row.
        headers_only: the items were stripped of their pixels on purpose: an image without pixels is ``ok``, not ``partial``.

    Returns:
        One row per item that has a SOP Instance UID, in the order of the items; ``source_uri`` is the absolute path,
        or ``bytes:N`` for the N-th item.  Rows are not made unique.

    Raises:
        HeaderError: an item cannot be read, is not DICOM, or has no SOP Instance UID (``errors="raise"``).

    >>> import dicomflow
    >>> dicomflow.read_headers(b"not DICOM", errors="skip").num_rows
    0
    """
    if errors not in ("raise", "skip"):
        raise ValueError("errors is 'raise' or 'skip'")
    profile = load_profile(columns)
    collector = _Collector(profile, errors, headers_only)
    for number, item in enumerate([items] if isinstance(items, (str, os.PathLike, *_BYTES)) else items):
        collector.add(item, number)
    return collector.finish()


def _open(item: Readable) -> BinaryIO:
    """The bytes, or the file; what is no regular file is refused, not waited for."""
    if isinstance(item, _BYTES):
        return BytesIO(item)
    descriptor = os.open(item, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return open(descriptor, "rb", buffering=0)


class _Collector:
    """Collects rows and types them batch by batch."""

    def __init__(self, profile: Profile, errors: str, headers_only: bool) -> None:
        self.schema = instances_schema(profile)
        self.errors = errors
        self.reader = HeaderReader(profile.columns, rows=_BATCH_ROWS, headers_only=headers_only)
        self.facts = RowFacts()
        self.sources: list[tuple[str, int]] = []
        self.tables: list[pa.Table] = []

    def add(self, item: Readable, number: int) -> None:
        """Read one item."""
        name = f"bytes:{number}" if isinstance(item, _BYTES) else uri_from_path(os.fspath(item))
        try:
            with _open(item) as stream:
                outcome = self._read(stream)
                size = stream.seek(0, os.SEEK_END)
        except OSError as error:
            self.reader.abandon()
            return self._refuse(name, describe(error))
        if self.reader.batch.rows == len(self.facts.file):
            return self._refuse(name, outcome.message or str(outcome.code) if outcome else "no row")
        self._note(name, size, outcome)
        if self.reader.batch.rows == _BATCH_ROWS or self.reader.batch.value_bytes > _BATCH_BYTES:
            self._flush()
        return None

    def finish(self) -> pa.Table:
        """All rows, with the ``instances`` schema."""
        self._flush()
        return pa.concat_tables([self.schema.empty_table(), *self.tables])

    def _read(self, stream: BinaryIO) -> Outcome | None:
        """Read as far as the header goes, no further."""
        reader, size, wanted = self.reader, 0, _PREFIX_BYTES
        while True:
            if wanted > len(reader.buffer):
                reader.grow(wanted)
            while size < wanted and (count := stream.readinto(reader.view[size:wanted])):  # type: ignore[attr-defined]
                size += count
            if reader.scan(size, at_end=size < wanted) != NEED_MORE:
                return reader.accept()
            if wanted >= _MAX_HEADER_BYTES:
                reader.give_up(size)
                return reader.accept()
            wanted = min(max(reader.needed, 2 * wanted), _MAX_HEADER_BYTES)

    def _note(self, name: str, size: int, outcome: Outcome | None) -> None:
        row = len(self.facts.file)
        self.facts.file.append(row)
        self.facts.header_bytes.append(self.reader.header_bytes)
        self.facts.digest.append(xxhash.xxh3_64_hexdigest(self.reader.header))
        self.sources.append((name, size))
        if outcome is not None:
            self.facts.partial.append(row)
        if self.reader.has_remarks:
            self.facts.remarks[row] = self.reader.remarks()

    def _refuse(self, name: str, reason: str) -> None:
        if self.errors == "raise":
            raise HeaderError(f"{name}: {reason}")

    def _flush(self) -> None:
        if not self.facts.file:
            return
        rows = len(self.sources)
        nothing = pa.nulls(rows, pa.string())
        names, sizes = zip(*self.sources, strict=True)
        columns = [pa.array(names), nothing, pa.array(sizes, pa.int64()), pa.nulls(rows, pa.timestamp("us"))]
        files = pa.Table.from_arrays([*columns, nothing, nothing, nothing, nothing], schema=SOURCE_FILE_SCHEMA)
        batch = build_batch(self.reader, self.facts, files, sort=False)
        for row in batch.rows_without_key():
            self._refuse(names[row], "its SOPInstanceUID cannot be read as a UID")
        self.tables.append(pa.Table.from_batches([batch.rows]).cast(self.schema))
        self.reader.batch.reset()
        self.facts, self.sources = RowFacts(), []
