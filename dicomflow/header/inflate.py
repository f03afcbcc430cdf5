"""Inflate a deflated data set step by step (PS3.5 A.5): only as far as the header needs, and never beyond a limit.

In: compressed bytes.  Out: what they inflate to so far, and whether the stream ended, starved or is damaged.
Knows no elements.
"""

from __future__ import annotations

import time
import zlib
from contextlib import suppress

_INFLATE_STEP = 1024  # bytes of input; so much is inflated once more where a stream is damaged


class Inflater:
    """Inflate step by step; tolerates a zlib header, which some writers put before the raw stream."""

    def __init__(self, data: bytes) -> None:
        self.out = bytearray()
        self.damaged = False
        self.seconds = 0.0  # spent here so far
        self._data = data
        self._begin(-zlib.MAX_WBITS)

    def _begin(self, window: int) -> None:
        self._window = window
        self._zlib = zlib.decompressobj(window)
        self._place = 0  # of the data not yet handed over
        self._rest = b""  # handed over and not yet used up

    @property
    def ended(self) -> bool:
        """The stream came to its end."""
        return self._zlib.eof

    @property
    def starved(self) -> bool:
        """All compressed bytes at hand were used up before the stream's end."""
        return self._exhausted and not self._zlib.eof and not self.damaged

    @property
    def _exhausted(self) -> bool:
        return not self._rest and self._place >= len(self._data)

    def inflate(self, size: int) -> None:
        """Inflate until ``size`` bytes are out, or as far as it goes: up to the very byte where a stream is damaged."""
        start = time.perf_counter()
        while len(self.out) < size and not (self._exhausted or self.damaged or self._zlib.eof):
            if not self._rest:
                self._rest = self._data[self._place : self._place + _INFLATE_STEP]
                self._place += len(self._rest)
            before = self._zlib.copy()
            try:
                self.out += self._zlib.decompress(self._rest, size - len(self.out))
            except zlib.error:
                self._salvage(before)
            else:
                self._rest = self._zlib.unconsumed_tail
        self.seconds += time.perf_counter() - start

    def _salvage(self, before: zlib._Decompress) -> None:
        """Repeat the step that failed byte by byte: what comes out must not depend on how the stream was cut into steps."""
        with suppress(zlib.error):
            for byte in self._rest:
                self.out += before.decompress(bytes((byte,)))
        if self.out or self._window > 0:
            self.damaged = True
        else:
            self._begin(zlib.MAX_WBITS)
