"""How a run goes, as numbers: what is done, how fast of late, when all will be, and what each worker does.

In: stages, totals, batches and results as they come.  Out: ``Standing``.  Knows no rendering.

Rates are those of the last ten seconds, not since the start: a storage that slows down, or a worker that is lost, shows at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from dicomflow.errors import Status
from dicomflow.model import BatchDone, ScanResult
from dicomflow.report.standing import MAX_WORKERS, Amount, Standing, WorkerStanding
from dicomflow.summary import Totals
from dicomflow.watch import InFlight

WINDOW_SECONDS = 10.0
STALLED_SECONDS = 30.0
"""Nothing done for so long is worth a word; then nobody knows when all will be."""

IDLE_SECONDS = 60.0
"""A worker that says nothing for so long is not shown."""

_STEP_SECONDS = 0.2
"""Two samples of a window are at least so far apart: bounds how many there are."""


class Window:
    """Amounts by time, and the rate over the last ten seconds; over more where less than two changes lie within.

    >>> window = Window()
    >>> window.add(0.0, Amount(0)); window.add(5.0, Amount(100)); window.add(10.0, Amount(300))
    >>> window.rate(10.0).files
    30.0
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Amount]] = deque()

    def add(self, now: float, amount: Amount) -> None:
        """The amount that is reached now."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < _STEP_SECONDS:
            samples[-1] = (now, amount)
            return
        samples.append((now, amount))
        # the first sample is the base: the newest of those outside the window, as long as two changes come after it
        while len(samples) > 3 and samples[1][0] <= now - WINDOW_SECONDS:
            samples.popleft()

    def rate(self, now: float) -> Amount:
        """Per second, up to now: it falls while nothing is added."""
        if len(self._samples) < 2:
            return Amount()
        base_time, base = self._samples[0]
        for time_, amount in self._samples:
            if time_ > now - WINDOW_SECONDS or amount == self._samples[-1][1]:
                break
            base_time, base = time_, amount
        elapsed = now - base_time
        if elapsed <= 0:
            return Amount()
        return Amount(*(max(a - b, 0) / elapsed for a, b in zip(self._samples[-1][1], base, strict=True)))

    def last_amount(self) -> Amount | None:
        """What was added last."""
        return self._samples[-1][1] if self._samples else None

    def last_change(self) -> float | None:
        """When something was added last."""
        return self._samples[-1][0] if self._samples else None


class _Worker:
    """What is known of one worker."""

    def __init__(self, now: float) -> None:
        self.total = Amount()
        self.window = Window()
        self.window.add(now, self.total)

    def add(self, now: float, amount: Amount) -> None:
        self.total = self.total.plus(amount)
        self.window.add(now, self.total)


class Pace:
    """Folds what a Watcher hears; may be told by one thread and asked by another.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stage = ""
        self._totals = Totals()
        self._finished = Amount()
        self._in_flight = InFlight()
        self._window = Window()
        self._workers: dict[str, _Worker] = {}
        self._started = False

    def note_stage(self, stage: str, totals: Totals) -> None:
        """The run is in this stage."""
        with self._lock:
            self._stage, self._totals = stage, totals
            if stage == "scan":
                self._sample()

    def note_batch(self, batch: BatchDone) -> None:
        """Some more files of a task are read."""
        with self._lock:
            now = self._clock()
            self._in_flight.add(batch)
            worker = self._workers.get(batch.worker) or self._workers.setdefault(batch.worker, _Worker(now))
            worker.add(now, Amount.of(batch))
            self._sample()

    def note_result(self, result: ScanResult) -> None:
        """A task is done."""
        with self._lock:
            self._in_flight.drop(result.task_id)
            self._finished = self._finished.plus(Amount.of(result))
            self._sample()

    def note_lost(self, task_id: str) -> None:
        """What was read of a task does not count."""
        with self._lock:
            self._in_flight.drop(task_id)

    def standing(self) -> Standing:
        """The run as it is now."""
        with self._lock:
            now, totals, under_way = self._clock(), self._totals, self._in_flight.sum
            rate, done = self._window.rate(now), int(self._done().files)
            to_read = max(totals.to_read, done)
            stalled = self._stalled(now) if done < to_read else 0.0
            unknown = totals.is_listing or stalled or not rate.files or not totals.to_read
            failed = sum(count for (status, _), count in totals.counts.items() if status == Status.FAILED)
            return Standing(
                stage=self._stage,
                listed=totals.listed,
                done=done,
                to_read=to_read,
                listing=totals.is_listing,
                rate=rate,
                failed=failed + under_way.failed,
                retries=totals.retries + under_way.retries,
                seconds_left=None if unknown else (to_read - done) / rate.files,
                seconds_stalled=stalled,
                paused=totals.workers_paused,
                running=totals.workers_running,
                workers=self._describe_workers(now),
                workers_in_all=sum(map(bool, self._workers)),
            )

    def _done(self) -> Amount:
        """Totals may know a result before we do, or we before them; either way it counts once."""
        finished = max(self._finished, Amount.of(self._totals))
        return finished.plus(Amount.of(self._in_flight.sum))

    def _sample(self) -> None:
        """The clock starts when the first file is done: up to then the start moves with the time."""
        now, done = self._clock(), self._done()
        if not done.files and not self._started:
            self._window = Window()
        self._started = self._started or bool(done.files)
        last = self._window.last_amount()
        if last is None or done != last:
            self._window.add(now, done)

    def _stalled(self, now: float) -> float:
        last = self._window.last_change()
        quiet = 0.0 if last is None or not self._started else now - last
        return quiet if quiet >= STALLED_SECONDS else 0.0

    def _describe_workers(self, now: float) -> tuple[WorkerStanding, ...]:
        for name in [name for name, worker in self._workers.items() if _silent(worker, now) > IDLE_SECONDS]:
            del self._workers[name]
        first = [(name, self._workers[name]) for name in sorted(filter(None, self._workers))[:MAX_WORKERS]]
        return tuple(
            WorkerStanding(name=name, files=int(worker.total.files), files_per_second=worker.window.rate(now).files)
            for name, worker in first
        )


def _silent(worker: _Worker, now: float) -> float:
    return now - (worker.window.last_change() or now)
