"""A cluster of a thousand workers that takes no time: latency, death and poison drawn at random, on a clock of its own.

``Simulation`` is a ``Transport``: the submit loop of the product runs against it unchanged.  As with Dask, a task whose worker dies
runs again on another one, and is given up as ``Killed`` at its second death; a worker that died is back after a while.  A task that gets no memory ends at once.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicomflow.compute import Killed
from dicomflow.errors import OutOfMemory

ALLOWED_FAILURES = 1


@dataclass(slots=True)
class Running:
    key: int
    task: Any
    deaths: int = 0


@dataclass
class Simulation:
    """Workers with one thread each.

    Attributes:
        run: what a task gives; called when it ends well.
        is_poison: whether a task kills the worker that runs it.
        is_hungry: whether a task gets no memory, which its worker survives.
        death: the chance that a worker dies of something else while it runs a task.
    """

    run: Callable[[Any], Any]
    is_poison: Callable[[Any], bool]
    is_hungry: Callable[[Any], bool] = lambda _: False
    workers: int = 1000
    death: float = 0.01
    seed: int = 0
    now: float = 0.0
    most_in_flight: int = 0
    deaths: int = 0
    _clock: list[tuple[float, int, Running | None, bool]] = field(default_factory=list)
    _waiting: deque[Running] = field(default_factory=deque)
    _ended: deque[tuple[int, Any]] = field(default_factory=deque)
    _free: int = 0
    _keys: int = 0
    _in_flight: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._free = self.workers

    @property
    def threads(self) -> int:
        return self.workers

    def submit(self, tasks: Sequence[Any]) -> list[int]:
        keys = list(range(self._keys, self._keys + len(tasks)))
        self._keys += len(tasks)
        self._waiting.extend(Running(key, task) for key, task in zip(keys, tasks, strict=True))
        self._in_flight += len(tasks)
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self._start()
        return keys

    def take(self) -> list[tuple[int, Any]]:
        while not self._ended:
            self._step()
        ended = list(self._ended)
        self._ended.clear()
        self._in_flight -= len(ended)
        return ended

    def has_ready(self) -> bool:
        return bool(self._ended)

    def _start(self) -> None:
        """Free workers take what waits; how long it takes is drawn from a long-tailed distribution."""
        while self._waiting and self._free:
            running = self._waiting.popleft()
            self._free -= 1
            dies = self.is_poison(running.task) or self._random.random() < self.death
            seconds = self._random.lognormvariate(0.0, 1.0) * (self._random.random() if dies else 1.0)
            self._at(self.now + seconds, running, dies)

    def _at(self, when: float, running: Running | None, dies: bool) -> None:
        self._keys += 1  # no two entries of the clock are alike
        heapq.heappush(self._clock, (when, self._keys, running, dies))

    def _step(self) -> None:
        self.now, _, running, dies = heapq.heappop(self._clock)
        if running is None:  # a worker is back
            self._free += 1
        elif dies:
            self.deaths += 1
            running.deaths += 1
            self._at(self.now + self._random.uniform(1.0, 5.0), None, False)
            if running.deaths > ALLOWED_FAILURES:
                self._ended.append((running.key, Killed("2 workers died")))
            else:
                self._waiting.appendleft(running)
        else:
            self._free += 1
            hungry = self.is_hungry(running.task)
            self._ended.append((running.key, OutOfMemory("no more") if hungry else self.run(running.task)))
        self._start()
