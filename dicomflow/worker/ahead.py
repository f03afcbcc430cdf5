"""Open files and read their first bytes before their turn, where storage lets each one wait.

In: the files of a task.  Out: of each, in turn, its descriptor and first bytes, or the error that opening or reading it gave.
Knows no DICOM.  Memory and descriptors are bounded: nobody goes further ahead than a few files per thread.

A disk that is not in memory takes 0.1 ms for a file, a network some milliseconds, and either serves many at a time.  Where files
come at once, threads would only be in each other's way: how many there are follows what reading was seen to take (``Gear``).
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomflow.uri import path_from_uri
from dicomflow.worker.watch import GivenUp, Turn

OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0)  # never wait for a FIFO

SLOW_SECONDS = 75e-6
"""A file that takes longer to be opened, read and scanned was not in memory."""

BUSY_SECONDS = 40e-6
"""What a header takes the processor: with one thread for each time that this fits into a file's wait, there is none."""

GAIN = 1.15
"""Files must come so many times sooner than to one thread alone."""

WINDOW = 3
"""So many files per thread are read ahead."""

LOOK_SECONDS = 1.0
"""How often who waits for a file looks whether anybody waits for him."""

CLOSE_SECONDS = 0.1
"""So long a thread is waited for at the end; it closes what it holds when it comes back."""


class Gear:
    """How many threads read ahead: none where files come at once, or come no sooner for it.

    Args:
        most: threads; none for less than two.
    """

    def __init__(self, most: int) -> None:
        self.threads = 0
        self._most = most if most > 1 else 0
        self._alone = 0.0

    def shift(self, latencies: npt.NDArray[np.float64], fetch: float) -> int:
        """How many there are to be from now on.

        Args:
            latencies: seconds of each file that was read of late.
            fetch: seconds per file that the threads took; of no meaning where there were none.

        >>> gear = Gear(16)
        >>> at_once, slow = np.array([20e-6] * 9), np.array([5e-3] * 9)
        >>> [gear.shift(at_once, 0), gear.shift(slow, 0), gear.shift(slow / 12, 5e-3), gear.shift(at_once, 20e-6)]
        [0, 16, 16, 0]
        """
        if not len(latencies):
            return self.threads
        if not self.threads:
            usual = float(np.median(latencies))  # a pause of the process is no slow storage
            if usual > SLOW_SECONDS and self._most:
                self._alone = usual
                self.threads = min(self._most, 1 + math.ceil(usual / BUSY_SECONDS))
        elif latencies.mean() * GAIN > self._alone:
            self.threads = self._most = 0
        elif fetch < SLOW_SECONDS:
            self.threads = 0
        return self.threads


@dataclass(slots=True)
class Fetched:
    """The begin of a file, as it came."""

    descriptor: int  # -1: it could not be opened
    data: memoryview
    size: int
    error: OSError | ValueError | None

    def open(self) -> int:
        """Its descriptor, which is the caller's from now on.

        Raises:
            OSError, ValueError: it could not be opened.
        """
        if self.descriptor < 0 and self.error is not None:
            raise self.error
        return self.descriptor

    def copy_to(self, buffer: memoryview) -> tuple[int, int]:
        """How many bytes came, and how many were wanted: the file has no more where it gave less.

        Raises:
            OSError: it could not be read.
        """
        if self.error is not None:
            raise self.error
        wanted = min(len(self.data), len(buffer))
        size = min(self.size, wanted)
        buffer[:size] = self.data[:size]
        return size, wanted

    def close(self) -> None:
        """Nobody wants it."""
        _close(self.descriptor)


class ReadAhead:
    """Threads that go before who reads in earnest, in the order of the files.

    Args:
        uris: all files.
        start: the first that is to be read ahead.
        size: how many bytes are wanted of a file, asked each time.
        threads: how many.
    """

    def __init__(self, uris: Sequence[str], start: int, size: Callable[[], int], threads: int) -> None:
        self._uris = uris
        self._size = size
        self._window = WINDOW * threads
        self._next = self._position = start
        self._came: dict[int, Fetched | None] = {}
        self._over = False
        self._seconds, self._files = 0.0, 0
        lock = threading.Lock()
        self._room, self._more = threading.Condition(lock), threading.Condition(lock)
        self._threads: list[threading.Thread] = []
        with suppress(RuntimeError):  # a container may allow no more: those that are there go ahead, or nobody does
            for _ in range(threads):
                thread = threading.Thread(target=self._run, name="dicomflow-ahead", daemon=True)
                thread.start()
                self._threads.append(thread)
        self._over = not self._threads

    def take(self, index: int, turn: Turn) -> Fetched | None:
        """The begin of this file, when it has come; those before it are not asked for any more.  None: read it yourself.

        Raises:
            GivenUp: nobody waits for who asks.
        """
        with self._room:
            left = [self._came.pop(each) for each in [*self._came] if each < index]
            self._room.notify(max(1, index - self._position))
            self._position = index
            self._next = max(self._next, index)
            while index not in self._came and not self._over and not turn.given_up:
                self._more.wait(LOOK_SECONDS)
            is_given_up = turn.given_up
            found = None if is_given_up else self._came.pop(index, None)
        for each in left:
            if each is not None:
                each.close()
        if is_given_up:
            raise GivenUp
        return found

    def fetch_seconds(self) -> float:
        """Seconds per file that the threads took since this was asked last; infinity where none has come."""
        with self._room:
            seconds, files, self._seconds, self._files = self._seconds, self._files, 0.0, 0
        return seconds / files if files else math.inf

    def close(self) -> None:
        """No more files are wanted; a thread that does not come back is left behind."""
        with self._room:
            self._over = True
            self._room.notify_all()
            self._more.notify_all()
            left = list(self._came.values())
            self._came.clear()
        for each in left:
            if each is not None:
                each.close()
        until = time.perf_counter() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.perf_counter()))

    def _run(self) -> None:
        while (index := self._begin()) is not None:
            start = time.perf_counter()
            found = _fetch(self._uris[index], self._size())
            if not self._hand_over(index, found, time.perf_counter() - start) and found is not None:
                found.close()

    def _begin(self) -> int | None:
        """The next file, when it is near enough."""
        with self._room:
            while not self._over and self._position + self._window < self._next < len(self._uris):
                self._room.wait()
            if self._over or self._next >= len(self._uris):
                return None
            self._next += 1
            return self._next - 1

    def _hand_over(self, index: int, found: Fetched | None, seconds: float) -> bool:
        """Whether somebody may still ask for it."""
        with self._more:
            self._seconds += seconds
            self._files += 1
            if self._over or index < self._position:
                return False
            self._came[index] = found
            if index == self._position:
                self._more.notify_all()
            return True


def _fetch(uri: str, size: int) -> Fetched | None:
    """None where there is no memory for it: who reads in earnest has a buffer."""
    descriptor = -1
    try:
        data = memoryview(bytearray(size))
        descriptor = os.open(path_from_uri(uri), OPEN_FLAGS)
        return Fetched(descriptor, data, os.readv(descriptor, [data]), None)
    except (OSError, ValueError) as error:
        return Fetched(descriptor, memoryview(b""), 0, error)
    except MemoryError:
        _close(descriptor)
        return None


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        with suppress(OSError):  # nothing was written
            os.close(descriptor)
