"""Work in a thread that can be left behind where a system call does not come back.

In: pieces of work that say when they are inside such calls.  Out: whether each came to its end, or was given up after its time.
Knows no files.

A dead network mount lets ``open`` and ``read`` wait for ever, and nothing ends a thread inside a system call.  So work is done in
a thread of its own, which says since when it is inside such calls, and its owner looks about once per second.  Never do both go
on: the thread first says that it is out, and then looks whether it was given up; the owner first says that it gives up, and then
looks whether the thread is still inside.  If it is, it finds itself given up whenever its call comes back, and ends without
touching anything that it shares.  (Two attributes and no lock: this is done twice for each file.)
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
    """What a thread and its owner tell each other.

    Attributes:
        inside: since when (``perf_counter``) the thread is at what it is doing, while it is inside calls that may not come back;
            None where it is not. On leaving, the thread sets it to None and looks at ``given_up``.
        given_up: set by the owner: nobody waits for this thread any more.
        held: the file descriptor that is to be closed if the work ends unforeseen; -1 for none.
    """

    __slots__ = ("given_up", "held", "inside")

    def __init__(self) -> None:
        self.inside: float | None = None
        self.given_up = False
        self.held = -1

    def leave(self) -> None:
        """The calls came back.

        Raises:
            GivenUp: too late.
        """
        self.inside = None
        if self.given_up:
            raise GivenUp


Work = Callable[[Turn], None]


class WatchedThread:
    """Does one piece of work after the other in a thread that is replaced when it hangs; a context manager.

    Args:
        max_seconds: how long watched work may take.

    >>> with WatchedThread(60.0) as thread:
    ...     thread.run(lambda turn: print("done"), "nothing")
    done
    True
    """

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._thread: _Thread | None = None
        self.is_late = False  # the work given up last had taken its time

    def run(self, work: Work, about: str) -> bool:
        """Do the work; False where it was given up inside a call, and ``is_late`` says whether it had taken its time.

        Args:
            work: what to do.
            about: what it is about, for the error.

        Raises:
            StorageHangs: too many threads hang already.
            Exception: what the work raised.
        """
        thread = self._thread = self._thread or _start_thread(about, self._max_seconds)
        self.is_late = False
        thread.work.put(work)
        while True:
            try:
                error = thread.ended.get(timeout=CHECK_SECONDS)
            except Empty:
                if not self._is_given_up(thread.turn):
                    continue
                error = GivenUp()
            if isinstance(error, GivenUp):
                self._thread = None
                return False
            if error is not None:
                raise error
            return True

    def _is_given_up(self, turn: Turn) -> bool:
        """Give the thread up if it has been inside for too long; False also where it has come out in this very moment."""
        began = turn.inside
        if began is None or time.perf_counter() - began <= self._max_seconds:
            return False
        turn.given_up = True
        still = turn.inside
        self.is_late = still == began
        return still is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the thread; after an exception (Ctrl-C) nobody waits for what it is doing."""
        if self._thread is None:
            return
        self._thread.turn.given_up = kind is not None
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

    def run(self) -> None:
        """Until there is no more work, or nobody waits for it."""
        while (work := self.work.get()) is not None:
            try:
                work(self.turn)
            except BaseException as error:  # noqa: BLE001 (raised again where somebody waits for it)
                self._put_away()
                self.ended.put(error)
                if isinstance(error, GivenUp):
                    return
            else:
                self.ended.put(None)

    def _put_away(self) -> None:
        descriptor, self.turn.held = self.turn.held, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def _start_thread(about: str, max_seconds: float) -> _Thread:
    if (hanging := count_hanging()) >= MAX_GIVEN_UP:
        raise StorageHangs(
            f"{about}: not read, since the storage hangs: {hanging} reads of this process have not come back within "
            f"{max_seconds:g} s (header.max_seconds); see to the mount, then run again: tasks that are done are kept"
        )
    thread = _Thread()
    thread.start()
    return thread


def count_hanging() -> int:
    """Threads of this process that were given up and whose call has not come back."""
    return sum(isinstance(thread, _Thread) and thread.turn.given_up for thread in threading.enumerate())
