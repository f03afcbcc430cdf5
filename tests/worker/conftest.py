"""A task over some files, and storage that hangs or fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dicomflow.worker import watch
from tests.test_worker import put, scan

__all__ = ["put", "scan"]


class Hang:
    """System calls on some files that do not come back before ``free``."""

    def __init__(self) -> None:
        self.files: set[int] = set()  # inodes
        self.hanging: list[threading.Thread] = []
        self.descriptors: list[int] = []
        self.may_return = threading.Event()

    def guard(self, real: Callable[..., Any], number_of: Callable[[Any], int]) -> Callable[..., Any]:
        """This call, which hangs on these files."""

        def call(first: Any, *arguments: Any, **options: Any) -> Any:
            watched = threading.current_thread().name == watch.THREAD_NAME
            if watched and number_of(first) in self.files:
                self.hanging.append(threading.current_thread())
                if isinstance(first, int):
                    self.descriptors.append(first)
                self.may_return.wait(60)
            return real(first, *arguments, **options)

        return call

    def free(self) -> None:
        """Let all calls come back, and their threads end."""
        self.may_return.set()
        for thread in self.hanging:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hang]:
    """The owner looks often, and no call hangs beyond the test."""
    monkeypatch.setattr(watch, "CHECK_SECONDS", 0.02)
    made = Hang()
    yield made
    made.free()


def inode_of(what: Any) -> int:
    """Of a path or a descriptor; the real calls, whatever is patched."""
    return _stat(what).st_ino


_stat = os.stat
