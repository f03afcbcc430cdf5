"""The nouns that travel between the stages: the data-flow diagram as types.

    list_files -> SourceFile rows -> group_files -> ScanTask -> scan_task -> ScanResult (with DataFiles) -> publish

In: nothing.  Out: frozen dataclasses.  Knows no I/O, no DICOM parsing, no Dask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from dicomflow.errors import Code, IssueCode, Status

SOURCE_FILE_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime", pa.timestamp("us")),
        pa.field("etag", pa.string()),
        pa.field("status", pa.string()),
        pa.field("code", pa.string()),
        pa.field("message", pa.string()),
    ]
)
"""One row per listed input.  ``status`` is null for a file to be read; what listing could already settle
(a FIFO, an unreadable folder) carries its outcome here, so that the ledger stays complete."""


class Issue(NamedTuple):
    """One value that could not be typed as its column declares.

    ``raw`` is the text as found, at most 64 characters (hex for binary); it stays in the dataset and is never logged.
    """

    path: str
    code: IssueCode
    raw: str


class RawValue(NamedTuple):
    """The bytes of one value, with everything their meaning depends on.

    Attributes:
        raw: the value field as it stands in the file, padding included.
        vr: two letters as in the file; the dictionary's VR where the file has none (implicit VR, UN).
        big_endian: byte order of the value.
        charset: the value field of the SpecificCharacterSet in force, ``None`` where there is none.
    """

    raw: bytes
    vr: str
    big_endian: bool = False
    charset: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How reading one input ended."""

    status: Status
    code: Code | None = None
    message: str | None = None
    offset: int | None = None  # bytes from the start of the file (of the inflated data set, where deflated)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One written Parquet file, relative to the dataset (or its staging folder)."""

    table: str
    path: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTask:
    """The unit of work, one partition of the Dask bag: a slice of a part of the plan.

    Attributes:
        task_id: hash of the files and of what else a result depends on.
        plan: path of a Parquet file with ``SOURCE_FILE_SCHEMA``, in staging.
        start: the first of its rows that is to be read.
        stop: the row behind the last.
        span: the SOURCE that the files are of, or the first of them is: what Dask groups its metrics by.
    """

    task_id: str
    plan: str
    start: int
    stop: int
    span: str = ""

    @property
    def files(self) -> int:
        """Number of files."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a worker sends back: counts and the DataFiles it wrote; never rows."""

    task_id: str
    data_files: tuple[DataFile, ...]
    files: int
    counts: dict[tuple[str, str | None], int] = field(default_factory=dict)  # (status, code) -> files
    header_bytes: int = 0
    file_bytes: int = 0
    fallback_files: int = 0
    issues: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> seconds, which add up to the task's time
    peak_rss: int = 0  # bytes, of the process that ran the task
    retries: int = 0  # reads that were tried again
    latency: tuple[
        int, ...
    ] = ()  # files by the time that reading one took: one count per bucket of ``LATENCY_BUCKETS``, and
    # one for those beyond the last


LATENCY_BUCKETS = (25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds in seconds: from a header in the page cache to a storage that hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDone:
    """What a worker says of a task that is under way, each time that a batch of its files is done; adds up to the ScanResult."""

    task_id: str
    files: int
    failed: int = 0
    header_bytes: int = 0
    file_bytes: int = 0
    retries: int = 0
    worker: str = ""  # the name that the cluster gives it; filled in by ``compute``
