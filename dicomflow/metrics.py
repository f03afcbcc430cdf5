"""The numbers of a run for those who watch many: sums that only grow, and how things are at the moment.

In: what a Watcher hears.  Out: ``RunMetrics``, which ``expose`` shows to Prometheus.  Knows no rendering; imports nothing for it.

Whatever becomes a label here is one of a closed set (a status, a code, a stage, an activity): no file, no UID, no value.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dicomflow.errors import Code, Status
from dicomflow.model import LATENCY_BUCKETS, BatchDone, ScanResult
from dicomflow.summary import Totals
from dicomflow.watch import InFlight, Watcher

STAGES = ("list", "plan", "scan", "publish", "compact")
ACTIVITIES = ("read", "inflate", "scan", "decode", "write", "wait", "other")
OTHER = "other"
"""Stands for a word that this version does not know: workers may have another."""

TASK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds in seconds of what a task spends on one activity."""

_STATUSES = frozenset(map(str, Status))
_CODES = frozenset(map(str, Code))
_READING = ("read", "inflate", "scan")
"""Activities whose seconds the latency of a file is made of."""


class Histogram:
    """Counts by upper bound, the last one for what is beyond them all, and the sum of what was counted."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value.

        >>> histogram = Histogram([1, 10])
        >>> for value in (0.5, 1, 2, 99):
        ...     histogram.observe(value)
        >>> histogram.counts, list(histogram.cumulative())
        ([2, 1, 1], [('1', 2), ('10', 3), ('+Inf', 4)])
        """
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add values that were counted elsewhere, with the same bounds; others are left out."""
        if len(counts) == len(self.counts):
            self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
            self.sum += total

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """(upper bound as text, values up to it), as Prometheus wants it."""
        below = 0
        for bound, count in zip([f"{bound:g}" for bound in self.bounds] + ["+Inf"], self.counts, strict=True):
            below += count
            yield bound, below


class RunMetrics(Watcher):
    """What a run did so far.  All that is a counter in Prometheus only grows, even if a task is read twice.

    Attributes:
        version: of dicomflow.
        files: of tasks that are done, by (status, code or "").
        files_read: all whose reading ended, those of tasks under way included; read twice counts twice.  So for the bytes.
        ledger: files by (status, code or ""), as the published ledger has them; empty until then.
        file_seconds: how long reading one file took.
        activity_seconds: how long each task spent on each activity.
        stage_seconds: wall time by stage; the present one up to now only through ``seconds_by_stage``.
        success: whether the run ended well; None until it has ended.
    """

    def __init__(self, version: str = "") -> None:
        self.version = version
        self._lock = threading.RLock()
        self._in_flight = InFlight()
        self.run_id = ""
        self.began = self.ended = 0.0
        self.success: bool | None = None
        self.files: Counter[tuple[str, str]] = Counter()
        self.ledger: dict[tuple[str, str], int] = {}
        self.files_read = self.header_bytes = self.file_bytes = self.retries = 0
        self.fallback_files = self.issues = self.tasks_done = self.tasks_lost = 0
        self.tasks_in_flight = 0
        self.listed = self.to_read = self.peak_rss = 0
        self.file_seconds = Histogram(LATENCY_BUCKETS)
        self.activity_seconds = {activity: Histogram(TASK_BUCKETS) for activity in ACTIVITIES}
        self.stage_seconds = dict.fromkeys(STAGES, 0.0)
        self.stage: str | None = None
        self._stage_began = 0.0

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While the block runs nothing changes, so that the numbers of one scrape belong together."""
        with self._lock:
            yield

    @property
    def tasks_queued(self) -> int:
        """Tasks in flight of which no worker has told anything yet."""
        return max(self.tasks_in_flight - len(self._in_flight), 0)

    def seconds_by_stage(self) -> Mapping[str, float]:
        """Wall time by stage, that of the present one up to now."""
        with self._lock:
            running = {} if self.stage is None else {self.stage: time.monotonic() - self._stage_began}
            return {stage: spent + running.get(stage, 0.0) for stage, spent in self.stage_seconds.items()}

    # ---- what a Watcher hears ----

    def on_begin(self, run_id: str) -> None:
        """See ``Watcher``."""
        with self._lock:
            self.run_id, self.began = run_id, time.time()

    def __call__(self, stage: str, totals: Totals) -> None:
        """See ``Watcher``; what it is at within a stage ("compact files") is no stage of its own."""
        name = stage.partition(" ")[0]
        with self._lock:
            if name != self.stage:
                self._enter(name if name in self.stage_seconds else None)
            self._take(totals)

    def on_batch(self, batch: BatchDone) -> None:
        """See ``Watcher``."""
        with self._lock:
            self._in_flight.add(batch)
            self._read(batch)

    def on_result(self, result: ScanResult) -> None:
        """See ``Watcher``."""
        with self._lock:
            self._read(_beyond(result, self._in_flight.drop(result.task_id)))
            self.tasks_done += 1
            self.fallback_files += result.fallback_files
            self.issues += result.issues
            self.files += _by_outcome(result.counts)
            self.file_seconds.add(result.latency, sum(result.seconds.get(activity, 0.0) for activity in _READING))
            for activity, seconds in result.seconds.items():
                if activity in self.activity_seconds:
                    self.activity_seconds[activity].observe(seconds)

    def on_task_lost(self, task_id: str) -> None:
        """See ``Watcher``."""
        with self._lock:
            self._in_flight.drop(task_id)
            self.tasks_lost += 1

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        """See ``Watcher``."""
        with self._lock:
            self._enter(None)
            self._take(totals)
            self.tasks_in_flight = 0
            self.ended, self.success = time.time(), error is None
            if error is None:
                self.ledger = dict(_by_outcome(totals.counts))

    # ---- folding ----

    def _enter(self, stage: str | None) -> None:
        now = time.monotonic()
        if self.stage is not None:
            self.stage_seconds[self.stage] += now - self._stage_began
        self.stage, self._stage_began = stage, now

    def _take(self, totals: Totals) -> None:
        self.listed, self.to_read, self.peak_rss = totals.listed, totals.to_read, totals.peak_rss
        self.tasks_in_flight = totals.in_flight

    def _read(self, batch: BatchDone) -> None:
        self.files_read += batch.files
        self.header_bytes += batch.header_bytes
        self.file_bytes += batch.file_bytes
        self.retries += batch.retries


def known_outcome(status: str, code: str | None) -> tuple[str, str]:
    """Status and code as labels: words of the closed sets, ``""`` for no code, ``other`` for what is none of them.

    >>> known_outcome("failed", "io_error"), known_outcome("ok", None), known_outcome("failed", "Doe^Jane")
    (('failed', 'io_error'), ('ok', ''), ('failed', 'other'))
    """
    return (status if status in _STATUSES else OTHER, "" if code is None else code if code in _CODES else OTHER)


def _by_outcome(counts: Mapping[tuple[str, str | None], int]) -> Counter[tuple[str, str]]:
    files: Counter[tuple[str, str]] = Counter()
    for outcome, count in counts.items():
        files[known_outcome(*outcome)] += count
    return files


def _beyond(result: ScanResult, told: BatchDone) -> BatchDone:
    """What a result holds beyond what its batches told; never less than nothing."""
    return BatchDone(
        task_id=result.task_id,
        files=max(result.files - told.files, 0),
        header_bytes=max(result.header_bytes - told.header_bytes, 0),
        file_bytes=max(result.file_bytes - told.file_bytes, 0),
        retries=max(result.retries - told.retries, 0),
    )
