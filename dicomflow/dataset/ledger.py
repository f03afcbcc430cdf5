"""The ledger: one row per input with how it ended.

In: the SourceFiles of a task, outcomes by index, keys and digests by batch.  Out: rows with the ``files`` schema.
Knows no headers and no Parquet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.errors import Status
from dicomflow.model import Outcome


class LedgerRows:
    """Outcomes of the files of one task.  Nearly all are ``ok``: only the others are kept one by one."""

    def __init__(self, files: int) -> None:
        self.files = files
        self.by_pydicom: list[int] = []
        self._attempts = np.ones(files, np.int32)
        self._others: dict[int, Outcome] = {}
        self._failed = 0
        self._index: list[int] = []
        self._keys: list[pa.Array] = []
        self._digests: list[str] = []

    def set(self, index: int, outcome: Outcome) -> None:
        """Say how the file at this index ended, where that is not plain ``ok``."""
        before = self._others.get(index)
        self._failed += (outcome.status == Status.FAILED) - (before is not None and before.status == Status.FAILED)
        self._others[index] = outcome

    def try_again(self, indexes: Sequence[int]) -> None:
        """Count one more attempt at reading each of these."""
        self._attempts[indexes] += 1

    @property
    def failed(self) -> int:
        """Files that ended as ``failed`` so far."""
        return self._failed

    def add_batch(self, index: Sequence[int], keys: pa.Array, digests: Sequence[str]) -> None:
        """Keys and digests of rows that were read."""
        self._index.extend(index)
        self._keys.append(keys)
        self._digests.extend(digests)

    def counts(self) -> dict[tuple[str, str | None], int]:
        """Number of files by (status, code)."""
        others: Counter[tuple[str, str | None]] = Counter(
            (str(outcome.status), str(outcome.code) if outcome.code else None) for outcome in self._others.values()
        )
        others[str(Status.OK), None] += self.files - len(self._others)
        return {key: count for key, count in others.items() if count}

    def to_table(self, files: pa.Table, run_id: str, seen: int) -> pa.Table:
        """The rows, in the order of ``files``, with the ``files`` schema.

        Args:
            files: the SourceFiles of the task, with ``first_seen`` where an earlier run knew them.
            run_id: of the run that read them.
            seen: microseconds since the epoch, UTC.
        """
        count = self.files
        rows = np.full(count, -1, np.int64)
        rows[self._index] = np.arange(len(self._index))
        places = pa.array(rows, mask=rows < 0)
        keys = pa.concat_arrays(self._keys) if self._keys else pa.array([], pa.string())
        columns = {
            **{name: files[name] for name in ("uri", "member", "size", "mtime", "etag")},
            **self._outcome_columns(),
            "SOPInstanceUID": keys.take(places),
            "header_digest": pa.array(self._digests, pa.string()).take(places),
            "reader": self._reader_column(places),
            "attempts": pa.array(self._attempts),
            **_run_columns(files, run_id, seen),
        }
        return pa.table(columns)

    def _outcome_columns(self) -> dict[str, pa.Array]:
        status = np.full(self.files, str(Status.OK), dtype=object)
        code, message, offset = (np.full(self.files, None, dtype=object) for _ in range(3))
        for index, outcome in self._others.items():
            status[index] = str(outcome.status)
            code[index] = str(outcome.code) if outcome.code else None
            message[index], offset[index] = outcome.message, outcome.offset
        return {
            "status": pa.array(status, pa.string()),
            "code": pa.array(code, pa.string()),
            "message": pa.array(message, pa.string()),
            "offset": pa.array(offset, pa.int64()),
        }

    def _reader_column(self, places: pa.Array) -> pa.Array:
        reader = pc.if_else(pc.is_valid(places), "fast", None)
        if not self.by_pydicom:
            return reader
        mask = np.zeros(self.files, bool)
        mask[self.by_pydicom] = True
        return pc.if_else(pa.array(mask), "pydicom", reader)


def settled_rows(files: pa.Table, run_id: str, seen: int) -> pa.Table:
    """Ledger rows of what listing already settled: special files, folders that cannot be read."""
    count = files.num_rows
    nothing = pa.nulls(count, pa.string())
    columns = {
        **{name: files[name] for name in ("uri", "member", "size", "mtime", "etag", "status", "code", "message")},
        "offset": pa.nulls(count, pa.int64()),
        "SOPInstanceUID": nothing,
        "header_digest": nothing,
        "reader": nothing,
        "attempts": pa.array(np.zeros(count, np.int32)),
        **_run_columns(files, run_id, seen),
    }
    return pa.table(columns)


def _run_columns(files: pa.Table, run_id: str, seen: int) -> dict[str, pa.Array | pa.ChunkedArray]:
    """``first_seen`` is kept of a file that an earlier run knew."""
    count = files.num_rows
    now = pa.array(np.full(count, seen, np.int64)).cast(pa.timestamp("us"))
    first = pc.coalesce(files["first_seen"], now) if "first_seen" in files.column_names else now
    return {"run_id": pa.array([run_id] * count, pa.string()), "first_seen": first, "last_seen": now}
