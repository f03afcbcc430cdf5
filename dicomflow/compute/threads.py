"""Dask's own scheduler on threads of this process: no start-up, no dashboard.

In: tasks, a function.  Out: results where they are made.  Knows no ``distributed``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import dask
import dask.local
import dask.threaded

from dicomflow.compute.bag import make_bag
from dicomflow.compute.cluster import Function, Handlers, Note, Task
from dicomflow.compute.scheduler import count_workers
from dicomflow.compute.submit import MIN_IN_FLIGHT, TASKS_AHEAD
from dicomflow.config import ComputeConfig


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
        """See ``Cluster.map``; a window of tasks is one bag."""
        hand_over = _HandOver(function, on)
        # the functions themselves: by name, Dask would import ``distributed`` only to see whether a client is there
        get = dask.local.get_sync if self._workers == 1 else dask.threaded.get
        for window in _windows(tasks, 1 if self._workers == 1 else max(MIN_IN_FLIGHT, self._workers * TASKS_AHEAD)):
            on.flow(len(window))
            bag = make_bag(hand_over, window, name, hand_over.make_note)
            dask.compute(bag, scheduler=get, num_workers=self._workers)
            on.flow(0)


def _windows(tasks: Iterable[Task], size: int) -> Iterator[list[Task]]:
    rest = iter(tasks)
    while window := list(itertools.islice(rest, size)):
        yield window


class _HandOver:
    """Hands each result over where it is made, one at a time: the tasks run in this process."""

    def __init__(self, function: Function, on: Handlers[Any, Any]) -> None:
        self._function = function
        self._on = on
        self._lock = threading.Lock()

    def __call__(self, task: Any, note: Note) -> None:
        result = self._function(task, note)
        with self._lock:
            self._on.done(result)

    def make_note(self) -> Note:
        return self._note

    def _note(self, said: dict[str, Any]) -> None:
        with self._lock:
            self._on.note(said)
