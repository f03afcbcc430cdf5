"""Wait for what runs in C in such a way that Ctrl-C ends it.

In: a call, a way to interrupt it.  Out: its result.  Knows no SQL.

Python acts on a signal between two steps of its own, in the main thread: while that is inside a long call, never.  So the call
is made in another thread, and waited for; in short waits, since some libraries (polars) have the system go on with a wait that a
signal interrupts, and Python would never come to it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

_Result = TypeVar("_Result")

_PAUSE = 0.1  # seconds


class Interruptible:
    """A thread for one call at a time.

    Args:
        interrupt: ends a call that is under way, or does nothing.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dicomflow-query")

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """What ``function`` returns or raises; whatever is raised in the meantime ends it first."""
        future: Future[_Result] = self._pool.submit(function, *arguments)
        try:
            while not future.done():
                wait([future], _PAUSE)
            return future.result()
        except BaseException:
            while not future.done():  # again, if it had not begun
                self._interrupt()
                wait([future], _PAUSE)
            raise

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown()
