"""Wall seconds by stage.

In: when a stage begins and ends.  Out: seconds.  A stage inside another one is booked on its own: listing that goes on while
tasks run is not their time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stages:
    """Seconds by stage so far."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Book a ``with`` block on this stage, what it nests left out."""
        self._book()
        self._running.append(stage)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def drawn(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time that it takes to make each is this stage's."""
        while True:
            with self.of(stage):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    def _book(self) -> None:
        now = time.perf_counter()
        if self._running:
            stage = self._running[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
