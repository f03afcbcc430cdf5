"""What the rollups need of a part, measured while its rows are still in memory: else all of them would be read once more.

In: the rows of a staged part of ``instances``.  Out: their records, in staging beside it; the records of a part, if they are
there and whole.  A part without records is read: they spare work, and nothing depends on them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from dicomflow.dataset.parts import count_rows
from dicomflow.errors import DatasetError, describe
from dicomflow.rollup.measure import measure, usable_columns

FOLDER = "records"

_CODEC = "zstd"
_DIGEST_BYTES = 8


def write_records(rows: pa.Table, staging: Path, name: str) -> None:
    """Measure the rows of a staged part, and keep their records.

    Neither atomic nor synced: what is not whole is not taken (see ``read_records``), and so has a digest.

    Args:
        rows: of ``instances``, as they are written.
        staging: the folder.
        name: of the part.

    Raises:
        DatasetError: it cannot be written.
    """
    path = _path_of(name, staging)
    sink = pa.BufferOutputStream()
    records = measure(rows.select(usable_columns(_plain(rows.schema))))
    # as a whole: Arrow compresses each buffer of each column by itself, at five times the cost
    with pa.CompressedOutputStream(sink, _CODEC) as packed, pa.ipc.new_stream(packed, records.schema) as writer:
        writer.write_table(records)
    content = sink.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(xxhash.xxh3_64_digest(content))
            file.write(content)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {describe(error)}") from error


def read_records(part: Path, staging: Path) -> pa.Table | None:
    """The records of a part of ``instances`` that bears the name under which it was staged.

    None where there are none, where they are damaged (a power cut leaves half of what was not synced), or are not of
    all its rows.
    """
    try:
        content = memoryview(_path_of(part.name, staging).read_bytes())
    except OSError:
        return None
    if xxhash.xxh3_64_digest(content[_DIGEST_BYTES:]) != content[:_DIGEST_BYTES]:
        return None
    try:
        packed = pa.CompressedInputStream(pa.BufferReader(content[_DIGEST_BYTES:]), _CODEC)
        with packed, pa.ipc.open_stream(packed) as reader:
            records: pa.Table = reader.read_all()
        records.validate(full=True)
    except (OSError, pa.ArrowException):
        return None
    if records.schema != _record_schema() or pc.sum(records["instanceCount"]).as_py() != count_rows([part]):
        return None
    return records


def _path_of(name: str, staging: Path) -> Path:
    return (staging / FOLDER / name).with_suffix(".arrow")


@cache
def _record_schema() -> pa.Schema:
    return measure(pa.table({})).schema


def _plain(schema: pa.Schema) -> pa.Schema:
    """Types without the dictionaries that text is in."""
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema]
    )
