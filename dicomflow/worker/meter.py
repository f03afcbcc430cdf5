"""Where a task's time goes.

In: clock readings.  Out: seconds by stage that add up to the task's time, and how many files took how long.
Knows no files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dicomflow.model import LATENCY_BUCKETS

STAGES = ("read", "inflate", "scan", "decode", "write", "wait", "other")
"""``read``: open, read and close.  ``inflate``: deflated data sets.  ``scan``: find, collect and digest the values of a header.
``decode``: type and sort the rows of a batch.  ``write``: Parquet.  ``wait``: before files are tried again.  ``other``: begin,
hand over to the reading thread, tell how far it is."""


@dataclass(slots=True)
class FileTimes:
    """Clock readings (``perf_counter``) of files read one after the other.

    The first three run in step: when each file was begun, its first bytes were there, and its header was scanned; behind that it
    is closed.
    """

    begun: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    scanned: list[float] = field(default_factory=list)
    reading_on: float = 0.0  # seconds that longer headers took to be read, after their first bytes
    inflating: float = 0.0
    end: float = 0.0  # when the last one was closed

    def latencies(self) -> npt.NDArray[np.float64]:
        """Seconds by file."""
        return np.diff(np.array([*self.begun, self.end]))


class Meter:
    """Books the time of a task; begins when it is made."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._latency = np.zeros(len(LATENCY_BUCKETS) + 1, np.int64)
        self._since = time.perf_counter()

    @property
    def latency(self) -> tuple[int, ...]:
        """Files by bucket of ``LATENCY_BUCKETS``, and beyond the last."""
        return tuple(self._latency.tolist())

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on this stage."""
        self.seconds[stage] += self._elapse()

    def lap_files(self, times: FileTimes) -> None:
        """Book the time since the last lap on the stages of reading; a file that hangs is still being read."""
        elapsed = self._elapse()
        if not times.begun:
            self.seconds["other"] += elapsed
            return
        scanned = sum(times.scanned) - sum(times.came[: len(times.scanned)])
        spent = {"inflate": times.inflating, "scan": max(scanned - times.reading_on - times.inflating, 0.0)}
        spent["read"] = times.end - times.begun[0] - sum(spent.values())
        spent["other"] = elapsed - sum(spent.values())
        for stage, seconds in spent.items():
            self.seconds[stage] += seconds

    def count(self, latencies: npt.NDArray[np.float64]) -> None:
        """Count files by how long they took."""
        self._latency += np.bincount(np.searchsorted(LATENCY_BUCKETS, latencies), minlength=len(self._latency))

    def _elapse(self) -> float:
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        return elapsed
