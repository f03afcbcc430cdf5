"""How far a task is: files, failures, bytes and retries so far.

In: which files have their outcome.  Out: the sums, and what was added since somebody last asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub

import numpy as np
import pyarrow as pa

from dicomflow.model import BatchDone


class Books:
    """Sums over the files of one task that have their outcome; what is still to be tried again is in none but ``retries``.

    Args:
        task_id: of the task.
        sizes: bytes by file, null where unknown.
    """

    def __init__(self, task_id: str, sizes: pa.ChunkedArray) -> None:
        self.files = self.failed = self.header_bytes = self.file_bytes = self.retries = 0
        self._task_id = task_id
        self._sizes = sizes.fill_null(0).to_numpy()
        self._told = (0, 0, 0, 0, 0)

    def settle(self, indexes: Sequence[int]) -> None:
        """These files have their outcome."""
        self.files += len(indexes)
        where = slice(indexes.start, indexes.stop) if isinstance(indexes, range) else np.array(indexes, np.int64)
        self.file_bytes += int(self._sizes[where].sum())

    def take(self) -> BatchDone | None:
        """What was added since the last call; None where nothing was."""
        sums = (self.files, self.failed, self.header_bytes, self.file_bytes, self.retries)
        if sums == self._told:
            return None
        files, failed, header_bytes, file_bytes, retries = map(sub, sums, self._told)
        self._told = sums
        return BatchDone(
            task_id=self._task_id,
            files=files,
            failed=failed,
            header_bytes=header_bytes,
            file_bytes=file_bytes,
            retries=retries,
        )
