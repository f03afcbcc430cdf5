"""Read parts: whole, some columns, only the footer; what cannot be read is one clear error.

In: paths of Parquet files that belong to a dataset or lie in staging.  Out: tables, counts, digests.  Knows no layout.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from dicomflow.dataset.snapshot import PartInfo
from dicomflow.errors import DatasetError, describe

_CHUNK = 1 << 20
_ROWS_AT_ONCE = 1 << 16


def read_part(path: Path, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
    """The rows of one part, as its own schema says.

    Args:
        path: of the part.
        columns: names; all by default.
        options: of ``pyarrow.parquet.ParquetFile``.

    Raises:
        DatasetError: it cannot be read, or is damaged.
    """
    with explained(path), pq.ParquetFile(path, **options) as file:
        return file.read(columns=None if columns is None else list(columns))


def iter_part(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of one part, some after the other, as its own schema says.

    Args:
        path: of the part.
        columns: names; all by default.

    Raises:
        DatasetError: it cannot be read, or is damaged.
    """
    with explained(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=None if columns is None else list(columns)):
            yield pa.Table.from_batches([batch])


def read_schema(path: Path) -> pa.Schema:
    """The Arrow schema of a part.

    Raises:
        DatasetError: it cannot be read, or is damaged.
    """
    with explained(path):
        return pq.read_schema(path)


def count_rows(parts: Sequence[Path]) -> int:
    """Rows of all these parts, by their footers.

    Raises:
        DatasetError: one cannot be read, or is damaged.
    """
    rows = 0
    for part in parts:
        with explained(part):
            rows += pq.read_metadata(part).num_rows
    return rows


def describe_part(path: Path) -> PartInfo:
    """Rows, bytes and digest of a part.

    Raises:
        DatasetError: it cannot be read, or is damaged.
    """
    digest = xxhash.xxh3_64()
    with explained(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return PartInfo(pq.read_metadata(path).num_rows, path.stat().st_size, digest.hexdigest())


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system or Arrow say of a part into one line; Arrow's text may quote a value, so only its kind is said."""
    try:
        yield
    except pa.ArrowMemoryError:  # a damaged length asks for much, too
        raise DatasetError(
            f"{path}: cannot be read: this process gets too little memory, or the part is damaged; run again, and if that does "
            "not help restore it"
        ) from None
    except pa.ArrowException as error:
        raise DatasetError(
            f"{path}: is damaged ({type(error).__name__}); restore it, or read everything again with `extract --full`"
        ) from None
    except OSError as error:
        reason = describe(error) if error.errno else "is damaged or cannot be read"
        raise DatasetError(f"{path}: {reason}; run again, and if that does not help restore it") from None
