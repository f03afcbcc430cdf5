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
``decode``: type and sort the rows of a batch.  ``write``: Parquet, and what the rollups need of a batch.  ``wait``: before files
are tried again.  ``other``: begin, hand over to the reading thread, tell how far it is."""


SAMPLE = 16
"""How long a header takes to be scanned is measured of every so many files: a look at the clock costs a 500th of a file.  It is
the processor's time, and much the same from one file to the next; how long the storage takes is not."""


@dataclass(slots=True)
class FileTimes:
    """Clock readings (``perf_counter``) and seconds of files read one after the other."""

    begun: list[float] = field(default_factory=list)  # by file
    end: float = 0.0  # when the last one was closed
    inflating: float = 0.0  # of all files
    sampled: int = 0  # files whose headers were ...
    scanning: float = 0.0  # ... scanned in so many seconds
    scanning_on: float = 0.0  # of all headers, behind the first read

    def sample(self, seconds: float) -> None:
        """One more header was scanned, in so many seconds."""
        self.sampled += 1
        self.scanning += seconds

    def latencies(self) -> npt.NDArray[np.float64]:
        """Seconds by file."""
        return np.diff(np.array([*self.begun, self.end]))


class Meter:
    """Books the time of a task; begins when it is made."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._sampled, self._scanning = 0, 0.0
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
        """Book the time since the last lap on the stages of reading; what was not scanning or inflating was reading."""
        elapsed = self._elapse()
        files = len(times.begun)
        total = times.end - times.begun[0] if files else 0.0
        self._sampled += times.sampled
        self._scanning += times.scanning
        scan = files * self._scanning / max(self._sampled, 1) + times.scanning_on
        inflate = min(times.inflating, total)
        scan = min(scan, total - inflate)
        spent = {"read": total - inflate - scan, "inflate": inflate, "scan": scan, "other": elapsed - total}
        for stage, seconds in spent.items():
            self.seconds[stage] += seconds

    def count(self, latencies: npt.NDArray[np.float64]) -> None:
        """Count files by how long they took."""
        self._latency += np.bincount(np.searchsorted(LATENCY_BUCKETS, latencies), minlength=len(self._latency))

    def _elapse(self) -> float:
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        return elapsed
