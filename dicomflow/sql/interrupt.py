"""Wait for what runs in C in such a way that Ctrl-C ends it, and a time limit.

In: a call, a way to interrupt it.  Out: its result.  Knows no SQL.

Python acts on a signal between two steps of its own, in the main thread: while that is inside a long call, never.  So the call
is made in another thread, and waited for; in short waits, since some libraries (polars) have the system go on with a wait that a
signal interrupts, and Python would never come to it.
"""

from __future__ import annotations

import time
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

    def call(self, function: Callable[..., _Result], *arguments: Any, until: float | None = None) -> _Result:
        """What ``function`` returns or raises; whatever is raised in the meantime ends it first.

        Args:
            function: is called in the thread.
            arguments: of it.
            until: a moment of ``time.monotonic``.

        Raises:
            TimeoutError: the moment has come.
        """
        _check_moment(until)  # many short calls take long together
        future: Future[_Result] = self._pool.submit(function, *arguments)
        try:
            while not future.done():
                wait([future], _PAUSE)
                if not future.done():
                    _check_moment(until)
            return future.result()
        except BaseException:
            while not future.done():  # again, if it had not begun
                self._interrupt()
                wait([future], _PAUSE)
            raise

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown()


def _check_moment(until: float | None) -> None:
    if until is not None and not time.monotonic() < until:
        raise TimeoutError
