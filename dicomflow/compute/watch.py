"""Watch the workers of a cluster while tasks are in flight.

In: a client.  Out: how many threads and workers there are; a warning when workers die or are paused, or where there are none; an
end where nobody works for too long, or where a worker comes that may not.  Workers that are asked to go, because there is no work
for them or their time is up, are no loss.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from dicomflow.compute.cluster import WorkerCounts
from dicomflow.errors import ComputeError
from dicomflow.log import get_logger

if TYPE_CHECKING:
    from distributed import Client

_log = get_logger("compute")

LOOK_SECONDS = 1.0

EXIT_SECONDS = 2.0
"""So long a look that has begun is waited for at the end: longer than it takes, where anybody answers."""

ALONE_SECONDS = 10.0
"""A cluster without workers for so long is worth a warning: a worker that is started again takes a few seconds."""

QUIET_SECONDS = 30.0
"""Workers that paused so long ago, and no more since, are forgotten."""

EVENTS = "all"
"""Dask's own topic for what happens to workers."""

LESS_MEMORY = (
    "fewer workers or threads on a machine, more memory for each (compute.memory_limit), a smaller header.batch_rows"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a run asks of the workers of its cluster.

    Attributes:
        missing_seconds: so long there may be none.
        paused_seconds: so long all of them may be paused with nothing being done.
        most_workers: how many may come by need; 0 where their number is fixed.
        check: is given the addresses of all that are there, each time; raises ``ComputeError`` for one that may not be.
    """

    missing_seconds: float
    paused_seconds: float
    most_workers: int = 0
    check: Callable[[Collection[str]], None] = lambda _: None


class WorkerWatch:
    """Looks once per second, on a thread of its own; a context manager.

    Dask waits for ever where no worker is left, and where all are paused, which they are above a share of their memory
    (``distributed.worker.memory.pause``): after the time that ``terms`` say, ``give_up`` is called, once.
    """

    def __init__(
        self,
        client: Client,
        terms: Terms,
        give_up: Callable[[], None],
        *,
        is_waiting: Callable[[], bool] = lambda: True,
        tell: Callable[[WorkerCounts], None] = lambda _: None,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            client: of the cluster.
            terms: what is asked of the workers.
            give_up: ends the tasks; ``end`` says why.
            is_waiting: whether there are tasks: while files are still being listed, workers that come by need have gone.
            tell: is told how many workers there are, at each look.
        """
        self._client = client
        self._terms = terms
        self._give_up = give_up
        self._is_waiting = is_waiting
        self._tell = tell
        self._lost = 0
        self._counts = WorkerCounts()
        self._pauses = _Pauses(terms.paused_seconds)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicomflow-workers", daemon=True)
        self._progress = 0.0
        self.end: ComputeError | None = None
        """Why it was given up; None as long as it is not."""
        self.threads = terms.most_workers
        """Threads of all workers, as last seen; where workers come by need, those that there may come to be."""

    def __enter__(self) -> Self:
        try:
            self._client.subscribe_topic(EVENTS, self._hear)
            self._look()
        except ComputeError as error:
            self.end = error
        except (OSError, TimeoutError, RuntimeError):
            pass  # whoever waits for results hears of it
        if self.end is None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError, TimeoutError, RuntimeError, ValueError):
            self._client.unsubscribe_topic(EVENTS)
        if self._thread.ident is not None:
            self._thread.join(EXIT_SECONDS)
        self._say_lost()  # tasks may be done before the next look; a cluster that may be gone is not asked how many are left

    def note_progress(self) -> None:
        """Something was done: a paused worker still ends what it has begun."""
        self._progress = time.monotonic()

    def _hear(self, event: tuple[float, Any]) -> None:
        """On a thread of the client's."""
        said = event[1]
        if isinstance(said, dict) and said.get("action") == "remove-worker" and not said.get("expected"):
            self._lost += 1

    def _look(self) -> None:
        found = self._client.nthreads()
        self.threads = max(sum(found.values()), self._terms.most_workers)
        self._counts = _count(self._client, found)
        self._tell(self._counts)
        self._pauses.note(self._counts)
        self._say_lost(left=len(found))
        self._terms.check(found.keys())

    def _say_lost(self, **known: int) -> None:
        """Those that were lost since it was said last."""
        lost, self._lost = self._lost, 0
        if lost:
            _log.warning("workers_lost", lost=lost, **known)

    def _run(self) -> None:
        idle = _Idle(self._terms)
        while not self._over.wait(min(LOOK_SECONDS, idle.shortest / 20)):
            try:
                self._look()
                self.end = idle.judge(self._counts, self._progress, is_waiting=self._is_waiting())
            except ComputeError as error:
                self.end = error
            except (OSError, TimeoutError, RuntimeError):
                continue  # whoever waits for results hears of it
            if self.end is not None:
                self._give_up()
                return


def _count(client: Client, found: Collection[str]) -> WorkerCounts:
    """Those that take tasks, and those that are paused; who is about to go is neither."""
    running = client.sync(client.scheduler.ncores_running)
    others = set(found) - set(running)
    if not others:
        return WorkerCounts(running=len(running))
    known = client.sync(client.scheduler.identity)["workers"]  # long: only where it is needed
    paused = sum(known.get(address, {}).get("status") == "paused" for address in others)
    return WorkerCounts(running=len(running), paused=paused)


class _Pauses:
    """Says when workers are paused: some, and all; not each time again while they pause and go on."""

    def __init__(self, gives_up_after: float) -> None:
        self._gives_up_after = gives_up_after
        self._said = 0
        self._last = 0.0

    def note(self, counts: WorkerCounts) -> None:
        """As many are there now."""
        degree = bool(counts.paused) + counts.all_paused
        now = time.monotonic()
        if degree:
            self._last = now
        elif now - self._last > QUIET_SECONDS:
            self._said = 0
        if degree > self._said:
            self._said = degree
            ends = {"gives_up_after_seconds": self._gives_up_after} if counts.all_paused else {}
            _log.warning("workers_paused", paused=counts.paused, running=counts.running, **ends, instead=LESS_MEMORY)


class _Idle:
    """Since when nobody works, and whether that is too long."""

    def __init__(self, terms: Terms) -> None:
        self._missing_seconds, self._paused_seconds = terms.missing_seconds, terms.paused_seconds
        self._state, self._since, self._said = "", time.monotonic(), False

    @property
    def shortest(self) -> float:
        """Seconds within which something may be too long."""
        return min(self._missing_seconds, self._paused_seconds)

    def judge(self, counts: WorkerCounts, progress: float, *, is_waiting: bool) -> ComputeError | None:
        """Why the run is to end, if it is.

        Args:
            counts: of workers, now.
            progress: when something was done last (``monotonic``).
            is_waiting: whether there is anything to do.
        """
        now = time.monotonic()
        state = "" if counts.running or not is_waiting else "paused" if counts.paused else "missing"
        if state != self._state:
            self._state, self._since, self._said = state, now, False
        if state == "missing":
            return self._judge_missing(now - self._since)
        if state == "paused" and now - max(self._since, progress) > self._paused_seconds:
            return ComputeError(
                f"all workers of the Dask cluster ({counts.paused}) are paused for want of memory, and nothing was done for "
                f"{self._paused_seconds:g} s (compute.no_worker_seconds); what helps: {LESS_MEMORY}; then run again: tasks that "
                "are done are kept"
            )
        return None

    def _judge_missing(self, seconds: float) -> ComputeError | None:
        if seconds > self._missing_seconds:
            return ComputeError(
                f"the Dask cluster was lost: it has had no worker for {self._missing_seconds:g} s (compute.no_worker_seconds); "
                "the logs of its workers may say why they do not come, or do not stay"
            )
        if seconds > ALONE_SECONDS and not self._said:
            _log.warning("waiting_for_workers", gives_up_after_seconds=self._missing_seconds)
            self._said = True
        return None
