"""What stands in for the compiled modules where they are missing: pydicom reads every header, at its own speed.

In and out as ``header.scan`` and ``header.intern``.  The scanner here looks only for whether a file is DICOM at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dicomflow.header.paths import Hits, ScanTables
from dicomflow.model import RawValue

_NEED_MORE, _EMPTY_FILE, _NO_DICOM_HEADER, _UNREADABLE = 1, 8, 9, 12


class UnsupportedScanner:
    """Sniffs like the compiled scanner, then leaves the header to pydicom (verdict UNREADABLE)."""

    def __init__(self, tables: ScanTables, hits: Hits, max_elements: int, max_depth: int) -> None:
        self.offset = self.stop = self.needed = self.elements = 0
        self.syntax_differs = self.repeated = self.remarkable = self.stopped = self.whole = False
        self._known = tables.known_tags
        self._buffer = bytearray()

    def use_buffer(self, buffer: bytearray) -> None:
        """Scan this buffer from now on."""
        self._buffer = buffer

    def forget_guesses(self) -> None:
        """Nothing is guessed here."""

    def scan(self, size: int, at_end: bool, inflated: int = -1) -> int:
        """EMPTY_FILE, NO_DICOM_HEADER, or UNREADABLE once the whole file is in the buffer."""
        if size == 0 and at_end:
            return _EMPTY_FILE
        if size >= 140 or at_end:
            head = bytes(self._buffer[: min(size, 140)])
            if head[128:132] != b"DICM" and not any(self._plausible(head[start : start + 8]) for start in (0, 128)):
                return _NO_DICOM_HEADER
        if not at_end:
            self.needed = 4 * size
            return _NEED_MORE
        self.offset = self.stop = size
        return _UNREADABLE

    def _plausible(self, head: bytes) -> bool:
        group = int.from_bytes(head[:2], "little")
        big = group == 0x0800
        if len(head) < 8 or group not in (2, 8, 0x0800):
            return False
        element = int.from_bytes(head[2:4], "big" if big else "little")
        if not self._known[0 if group == 2 else 1, element]:
            return False
        return (head[4:6].isalpha() and head[4:6].isupper()) or (
            not big and int.from_bytes(head[4:8], "little") <= 1024
        )


class PlainInterner:
    """Distinct values per column in dictionaries; the same contract as the compiled ``Interner``."""

    def __init__(
        self,
        hits: Hits,
        column_leaves: Sequence[Sequence[int]],
        rows: int,
        vr_kinds: npt.NDArray[np.uint8],
        max_value_bytes: int,
    ) -> None:
        self.columns = len(column_leaves)
        self.chosen = np.zeros(self.columns, np.int32)
        self._max_value_bytes = max_value_bytes
        self.reset()

    def use_buffer(self, buffer: bytearray) -> None:
        """Values are handed over one by one: no buffer is needed."""

    def reset(self) -> None:
        """Begin a new batch."""
        self.rows = self.arena_bytes = self.value_bytes = 0
        self.oversized: list[tuple[int, int]] = []
        self.charsets: list[bytes | None] = [None]
        self._rows: list[list[int]] = []
        self._distinct: list[dict[tuple[bytes, int], int]] = [{} for _ in range(self.columns)]

    def add_row(self) -> int:
        """Nothing was scanned here, so there is never a row to add."""
        self._rows.append([-1] * self.columns)
        self.rows += 1
        return 0

    def add_values(self, values: Sequence[RawValue | None]) -> None:
        """Add a row of values, one per column."""
        self._rows.append([self._code(column, value) for column, value in enumerate(values)])
        self.rows += 1

    def _code(self, column: int, value: RawValue | None) -> int:
        if value is None or not value.raw:
            return -1
        if len(value.raw) > self._max_value_bytes:
            self.oversized.append((self.rows, column))
            return -1
        if value.charset not in self.charsets:
            self.charsets.append(value.charset)
        context = ord(value.vr[0]) << 8 | ord(value.vr[1]) | (0x10000 if value.big_endian else 0)
        context |= self.charsets.index(value.charset) << 17
        self.arena_bytes += len(value.raw)
        self.value_bytes += len(value.raw)
        distinct = self._distinct[column]
        return distinct.setdefault((value.raw, context), len(distinct))

    def drop_row(self) -> None:
        """Forget the row added last."""
        self._rows.pop()
        self.rows -= 1
        while self.oversized and self.oversized[-1][0] == self.rows:
            self.oversized.pop()

    def take_codes(self) -> npt.NDArray[np.int32]:
        """Codes of the batch, ``int32[rows, columns]``."""
        return np.array(self._rows, np.int32).reshape(self.rows, self.columns)

    def take_column(self, column: int) -> tuple[npt.NDArray[np.int32], bytearray, npt.NDArray[np.uint64]]:
        """The distinct values of a column: offsets, bytes, contexts."""
        keys = list(self._distinct[column])
        offsets = np.cumsum([0, *(len(raw) for raw, _ in keys)]).astype(np.int32)
        return offsets, bytearray(b"".join(raw for raw, _ in keys)), np.array([c for _, c in keys], np.uint64)
