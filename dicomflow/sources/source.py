"""Turn what the user named into rows of files.

In: SOURCE texts.  Out: RecordBatches of ``SOURCE_FILE_SCHEMA``, streamed.
Knows which kinds of sources there are; how each is walked is in its own module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from dicomflow.config import SourcesConfig
from dicomflow.errors import SourceError
from dicomflow.sources.local import LocalSource
from dicomflow.uri import path_from_source

BATCH_ROWS = 65_536


class Source(Protocol):
    """Something that holds files: a set of local trees, an object store, an archive."""

    def list(self) -> Iterator[pa.RecordBatch]:
        """Every file once, in an order that does not depend on the run; faults are rows (``SOURCE_FILE_SCHEMA``)."""
        ...


def list_files(
    sources: Sequence[str], *, config: SourcesConfig, exclude: Path | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """List every file of the SOURCEs, each exactly once.

    Args:
        sources: paths or ``file:`` URIs of files and folders.
        config: how to list.
        exclude: a folder not to walk, wherever it is met: the dataset that is being written.
        batch_rows: rows of each batch, the last one excepted.

    Returns:
        Batches of at least one row.  Rows with a ``status`` are settled: nothing is to be read there.

    Raises:
        SourceError: a SOURCE does not exist or is no local path, or is ``exclude`` itself; raised by this call, before
            anything is listed.
    """
    if not sources:
        raise SourceError("no SOURCE given: name at least one file or folder")
    paths = [path_from_source(source) for source in sources]
    source: Source = LocalSource(paths, config=config, exclude=exclude, batch_rows=batch_rows)
    return source.list()
