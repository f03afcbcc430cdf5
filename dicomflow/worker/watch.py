"""Work in a thread that can be left behind where a system call does not come back.

In: pieces of work that say when they are inside such calls.  Out: whether each came to its end, or was given up after its time.
Knows no files.

A dead network mount lets ``open`` and ``read`` wait for ever, and nothing ends a thread inside a system call.  So work is done in
a thread of its own, which holds a token (a ``Turn``) while it is inside such calls, and its owner looks at the token about once
per second.  Whoever takes the token out decides: the worker took it, and goes on; or the owner did, and the worker, whenever its
call comes back, ends without touching anything that it shared.  Taking from a list is atomic, so it is never both.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from dicomflow.errors import StorageHangs

CHECK_SECONDS = 1.0
"""How often the owner looks."""

MAX_GIVEN_UP = 8
"""Threads of a process that may hang at the same time: each keeps its stack and its buffer."""

THREAD_NAME = "dicomflow-read"


class GivenUp(Exception):
    """Raised in a thread whose owner waits no longer: it puts away what is its own, and ends."""


class Turn:
    """Held by a thread while it is inside calls that may not come back.

    ``enter`` takes the time at which the watched work began (``perf_counter``).

    Attributes:
        held: the file descriptor that is to be closed if the work ends unforeseen; -1 for none.
    """

    __slots__ = ("_token", "enter", "held")

    def __init__(self) -> None:
        self.held = -1
        self._token: list[float] = []
        self.enter: Callable[[float], None] = self._token.append  # twice per file: no call of our own

    def leave(self) -> None:
        """The calls came back.

        Raises:
            GivenUp: too late.
        """
        try:
            self._token.pop()
        except IndexError:
            raise GivenUp from None

    def began(self) -> float | None:
        """Since when the thread has been inside; None where it is not."""
        try:
            return self._token[0]
        except IndexError:
            return None

    def take(self) -> float | None:
        """Take the token away from the thread: since when it had it, None where it came back before."""
        try:
            return self._token.pop()
        except IndexError:
            return None


Work = Callable[[Turn], None]


class WatchedThread:
    """Does one piece of work after the other in a thread that is replaced when it hangs; a context manager.

    Args:
        max_seconds: how long watched work may take.
        about: names what hangs, for the error: a file's uri.

    >>> with WatchedThread(60.0, lambda: "") as thread:
    ...     thread.run(lambda turn: print("done"))
    done
    True
    """

    def __init__(self, max_seconds: float, about: Callable[[], str]) -> None:
        self._max_seconds = max_seconds
        self._about = about
        self._thread: _Thread | None = None
        self.is_late = False  # the work given up last had taken its time

    def run(self, work: Work) -> bool:
        """Do the work; False where it was given up inside a call, and ``is_late`` says whether it had taken its time.

        Raises:
            StorageHangs: too many threads hang already.
            Exception: what the work raised.
        """
        thread = self._thread = self._thread or _start_thread(self._about, self._max_seconds)
        thread.work.put(work)
        while True:
            try:
                error = thread.ended.get(timeout=CHECK_SECONDS)
            except Empty:
                if self._give_up(thread):
                    return False
            else:
                if error is not None:
                    raise error
                return True

    def _give_up(self, thread: _Thread) -> bool:
        """Leave the thread behind if it has been inside for too long."""
        began = thread.turn.began()
        if began is None or time.perf_counter() - began <= self._max_seconds:
            return False
        taken = thread.turn.take()
        if taken is None:
            return False
        self.is_late = taken == began  # else it came back and went on in this very moment
        thread.given_up, self._thread = True, None
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the thread; after an exception (Ctrl-C) nobody waits for what it is doing."""
        if self._thread is None:
            return
        self._thread.turn.take()
        self._thread.work.put(None)
        if kind is None:
            self._thread.join()


class _Thread(threading.Thread):
    """A daemon: a process can end while it hangs."""

    def __init__(self) -> None:
        super().__init__(name=THREAD_NAME, daemon=True)
        self.turn = Turn()
        self.work: SimpleQueue[Work | None] = SimpleQueue()
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self.given_up = False

    def run(self) -> None:
        """Until there is no more work, or nobody waits for it."""
        while (work := self.work.get()) is not None:
            try:
                work(self.turn)
            except GivenUp:
                self._put_away()
                return
            except BaseException as error:  # noqa: BLE001 (raised again where somebody waits for it)
                self._put_away()
                self.ended.put(error)
            else:
                self.ended.put(None)

    def _put_away(self) -> None:
        descriptor, self.turn.held = self.turn.held, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def _start_thread(about: Callable[[], str], max_seconds: float) -> _Thread:
    if count_hanging() >= MAX_GIVEN_UP:
        raise StorageHangs(
            f"{about()}: the storage hangs: {count_hanging()} reads of this process have not come back within "
            f"{max_seconds:g} s (header.max_seconds); see to the mount, then run again: what is done is kept"
        )
    thread = _Thread()
    thread.start()
    return thread


def count_hanging() -> int:
    """Threads of this process that were given up and whose call has not come back."""
    return sum(isinstance(thread, _Thread) and thread.given_up for thread in threading.enumerate())
