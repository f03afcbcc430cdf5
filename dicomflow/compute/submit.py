"""The submit loop: a bounded number of tasks in flight, whatever fails.

In: tasks, drawn one by one as there is room; something that runs them.  Out: each task's end, once.  Knows no Dask: the same loop
runs against a simulation.

A task that is lost, because its workers die or it gets no memory, is split, and its pieces again, until one task stands alone:
that one is tried once more with nothing else in flight, so that no neighbour is blamed for what another one did.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Protocol

from dicomflow.compute.cluster import Handlers, Killed, Loss
from dicomflow.errors import ComputeError, OutOfMemory
from dicomflow.log import get_logger

TASKS_AHEAD = 3
"""Tasks in flight per thread of the workers: one that runs, and enough that none waits for the next."""

MIN_IN_FLIGHT = 8

MAX_LOST = 64
"""Where so many tasks were lost and none ever came to its end, it is not the files."""

_log = get_logger("compute")


class Transport(Protocol):
    """Something that runs tasks."""

    @property
    def threads(self) -> int:
        """How many tasks run at the same time, as far as is known; 0 while there is no worker."""

    def submit(self, tasks: Sequence[Any]) -> Sequence[Hashable]:
        """Have these tasks run; a key for each."""

    def take(self) -> Sequence[tuple[Hashable, Any]]:
        """Wait until a task has ended; (key, result) of each that has, the result being a ``Loss`` where it was lost.

        Raises:
            Exception: what a task raised.
        """

    def has_ready(self) -> bool:
        """Whether ``take`` would not wait."""


def run_tasks(tasks: Iterator[Any], transport: Transport, on: Handlers[Any, Any]) -> None:
    """Run all tasks, and what becomes of them, to their ends."""
    _Submission(tasks, transport, on).run()


class _Submission:
    """What is in flight, and what waits for its turn."""

    def __init__(self, tasks: Iterator[Any], transport: Transport, on: Handlers[Any, Any]) -> None:
        self._tasks = tasks
        self._transport = transport
        self._on = on
        self._in_flight: dict[Hashable, Any] = {}
        self._pieces: deque[Any] = deque()  # of tasks that were split: before all others
        self._suspects: deque[Any] = deque()  # cannot be split further: after all others, one at a time
        self._lost = 0
        self._done = 0

    def run(self) -> None:
        while (drawn := self._refill()) or self._in_flight:
            if drawn and not self._transport.has_ready():
                continue  # there may be room for more
            for key, result in self._transport.take():
                self._settle(self._in_flight.pop(key), result)
            self._on.flow(len(self._in_flight))
        while self._suspects:
            self._run_alone(self._suspects.popleft())

    def _refill(self) -> bool:
        """Draw tasks while there is room; a few at a time while threads are idle, so that none waits until all are planned."""
        threads, in_flight = self._transport.threads, len(self._in_flight)
        limit = max(MIN_IN_FLIGHT, threads * TASKS_AHEAD)
        if in_flight > limit // 2:  # several at once cost the scheduler less
            return False
        room = min(threads - in_flight, MIN_IN_FLIGHT) if in_flight < threads else limit - in_flight
        drawn: list[Any] = []
        while len(drawn) < room and not (
            drawn and self._transport.has_ready()
        ):  # no result waits for the planning of others
            task = self._pieces.popleft() if self._pieces else next(self._tasks, None)
            if task is None:
                break
            drawn.append(task)
        if drawn:
            self._submit(drawn)
        return bool(drawn)

    def _submit(self, tasks: Sequence[Any]) -> None:
        self._in_flight.update(zip(self._transport.submit(tasks), tasks, strict=True))
        self._on.flow(len(self._in_flight))

    def _settle(self, task: Any, result: Any) -> None:
        if not isinstance(result, Loss):
            self._done += 1
            self._on.done(result)
            return
        self._lost += 1
        if self._on.split is None or (self._lost >= MAX_LOST and not self._done):
            raise _as_end(result)
        pieces = self._on.split(task)
        _log.warning(_EVENTS[type(result)], pieces=len(pieces))
        (self._pieces if len(pieces) > 1 else self._suspects).extend(pieces)

    def _run_alone(self, task: Any) -> None:
        """One task and nothing else: if it is lost now, it is its own doing."""
        self._submit([task])
        ((key, result),) = self._transport.take()
        del self._in_flight[key]
        if isinstance(result, Loss) and self._on.give_up is not None:
            self._on.give_up(task, result)
        else:
            self._settle(task, result)
        self._on.flow(0)


_EVENTS: dict[type[Exception], str] = {Killed: "task_killed_workers", OutOfMemory: "task_out_of_memory"}


def _as_end(loss: Loss) -> ComputeError:
    """The error of a run that a loss ends."""
    if isinstance(loss, OutOfMemory):
        return loss
    return ComputeError(f"workers died again and again, of too little memory? {loss}")
