"""Watch how many workers a cluster has while tasks are in flight.

In: a client.  Out: the number of threads; a warning when workers go; an end where none is left for too long.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from dicomflow.log import get_logger

if TYPE_CHECKING:
    from distributed import Client

_log = get_logger("compute")

LOOK_SECONDS = 1.0


class WorkerWatch:
    """Looks once per second, on a thread of its own; a context manager.

    Dask waits for ever where no worker is left: after ``patience`` seconds of that, ``give_up`` is called, once.
    """

    def __init__(self, client: Client, patience: float, give_up: Callable[[], None]) -> None:
        self._client = client
        self._patience = patience
        self._give_up = give_up
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicomflow-workers", daemon=True)
        self._workers = 0
        self.threads = 0
        """Threads of all workers, as last seen."""

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _look(self) -> None:
        found = self._client.nthreads()
        if len(found) < self._workers:
            _log.warning("workers_lost", left=len(found))
        self._workers, self.threads = len(found), sum(found.values())

    def _run(self) -> None:
        last = time.monotonic()
        while not self._over.wait(min(LOOK_SECONDS, self._patience / 20)):
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._look()
                if self._workers:
                    last = time.monotonic()
                elif time.monotonic() - last > self._patience:
                    self._give_up()
                    return
