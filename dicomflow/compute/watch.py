"""Watch how many workers a cluster has while tasks are in flight.

In: a client.  Out: the number of threads; a warning when workers die, or where there are none; an end where none is left for too
long.  Workers that are asked to go, because there is no work for them or their time is up, are no loss.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from dicomflow.log import get_logger

if TYPE_CHECKING:
    from distributed import Client

_log = get_logger("compute")

LOOK_SECONDS = 1.0

QUIET_SECONDS = 30.0
"""A cluster without workers for so long is worth a warning."""

EVENTS = "all"
"""Dask's own topic for what happens to workers."""


class WorkerWatch:
    """Looks once per second, on a thread of its own; a context manager.

    Dask waits for ever where no worker is left: after ``patience`` seconds of that while tasks wait, ``give_up`` is
    called, once.
    """

    def __init__(
        self,
        client: Client,
        patience: float,
        give_up: Callable[[], None],
        most_workers: int = 0,
        is_waiting: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._is_waiting = is_waiting  # while files are still being listed, workers that come by need have gone
        self._patience = patience
        self._give_up = give_up
        self._most_workers = most_workers
        self._lost = 0
        self.reason = ""
        """Why it was given up; empty as long as it is not."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicomflow-workers", daemon=True)
        self._workers = 0
        self.threads = most_workers
        """Threads of all workers, as last seen; where workers come by need, those that there may come to be."""

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._client.subscribe_topic(EVENTS, self._hear)
            self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError, TimeoutError, RuntimeError, ValueError):
            self._client.unsubscribe_topic(EVENTS)

    def _hear(self, event: tuple[float, Any]) -> None:
        """On a thread of the client's."""
        said = event[1]
        if isinstance(said, dict) and said.get("action") == "remove-worker" and not said.get("expected"):
            self._lost += 1

    def _look(self) -> None:
        found = self._client.nthreads()
        self._workers, self.threads = len(found), max(sum(found.values()), self._most_workers)
        lost, self._lost = self._lost, 0
        if lost:
            _log.warning("workers_lost", lost=lost, left=self._workers)

    def _run(self) -> None:
        last = time.monotonic()
        said = False
        while not self._over.wait(min(LOOK_SECONDS, self._patience / 20)):
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._look()
                missing = time.monotonic() - last
                if self._workers or not self._is_waiting():
                    last, said = time.monotonic(), False
                elif missing > self._patience:
                    self.reason = (
                        f"it has had no worker for {self._patience:g} s (compute.no_worker_seconds); the logs of its workers may "
                        "say why they do not come, or do not stay"
                    )
                    self._give_up()
                    return
                elif missing > QUIET_SECONDS and not said:
                    _log.warning("waiting_for_workers", gives_up_after_seconds=self._patience)
                    said = True
