"""Dask's own scheduler on threads of this process: no start-up, no dashboard.

In: tasks, a function.  Out: results.  Knows no ``distributed``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Self

import dask
import dask.local
import dask.threaded

from dicomflow.compute.bag import make_bag
from dicomflow.compute.cluster import Function, Handlers, Note, Task
from dicomflow.compute.scheduler import count_workers
from dicomflow.compute.submit import run_tasks
from dicomflow.config import ComputeConfig
from dicomflow.errors import OutOfMemory


class ThreadsCluster:
    """See ``Cluster``."""

    dashboard: str | None = None

    def __init__(self, config: ComputeConfig) -> None:
        self._workers = count_workers(config, "threads")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def map(
        self, function: Function, tasks: Iterable[Task], *, name: str, on: Handlers[Task, Any], span: Sequence[str] = ()
    ) -> None:
        """See ``Cluster.map``."""
        run_tasks(iter(tasks), _WindowTransport(function, name, self._workers, on.note), on)


class _WindowTransport:
    """Tasks that were submitted are one Dask bag when the first result is asked for; see ``Transport``."""

    def __init__(self, function: Function, name: str, workers: int, note: Note) -> None:
        self._function = function
        self._name = name
        self._hear = note
        self._lock = threading.Lock()
        self._keys = itertools.count()
        self._waiting: list[tuple[int, Any]] = []
        # the functions themselves: by name, Dask would import ``distributed`` only to see whether a client is there
        self._get = dask.local.get_sync if workers == 1 else dask.threaded.get
        self.threads = workers

    def submit(self, tasks: Sequence[Any]) -> list[int]:
        """Nothing runs yet."""
        keys = [next(self._keys) for _ in tasks]
        self._waiting.extend(zip(keys, tasks, strict=True))
        return keys

    def take(self) -> list[tuple[int, Any]]:
        """Run what waits, all of it."""
        window, self._waiting = self._waiting, []
        bag = make_bag(self._run, [task for _, task in window], self._name, self._make_note)
        (results,) = dask.compute(bag, scheduler=self._get, num_workers=self.threads)
        return [(key, result) for (key, _), result in zip(window, results, strict=True)]

    def has_ready(self) -> bool:
        """A single thread has nothing to gain from more than one task at a time: no other is planned before it has run."""
        return self.threads == 1 and bool(self._waiting)

    def _run(self, task: Any, note: Note) -> Any:
        try:
            return self._function(task, note)
        except OutOfMemory as error:  # of one task, where an exception would end all of the window
            return error.with_traceback(None)

    def _make_note(self) -> Note:
        return self._note

    def _note(self, said: dict[str, Any]) -> None:
        """One at a time: the tasks run in this process."""
        with self._lock:
            self._hear(said)
