"""Stop within two seconds after Ctrl-C, whatever threads and processes are doing.

In: a block of work, what to say.  Out: exit code 130.  Knows signals; nothing of the work.

The first Ctrl-C raises KeyboardInterrupt in the work, so that it puts away what it has begun; then the process leaves at once,
without waiting for threads of a cluster.  It leaves in any case when putting away takes too long, or at the second Ctrl-C.
That is safe because a run that is killed leaves a dataset that reads (see ``dataset.commit``).

A terminal sends Ctrl-C to every process of the group.  Worker processes must not see it: each would print a traceback.  They
inherit the blocked signal of the thread that starts them, so SIGINT is blocked in all threads but one of ours, which waits
for it and passes it to the main thread as SIGUSR1.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from types import FrameType

from rich.control import Control

from dicomflow.cli.output import stderr_console
from dicomflow.cli.session import INTERRUPTED, print_message

GRACE_SECONDS = 1.5

_CTRL_C = frozenset({signal.SIGINT})


@contextlib.contextmanager
def leave_on_interrupt(farewell: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end the process with a message and exit code 130.

    Args:
        farewell: called when all is put away, or given up on; what became of the work.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    over = threading.Event()
    resource_tracker.ensure_running()  # now, because starting it unblocks SIGINT in the thread that does
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _CTRL_C)
    previous_handler = signal.signal(signal.SIGUSR1, _raise_interrupt)
    guard = threading.Thread(target=_guard, args=(over, farewell), name="ctrl-c", daemon=True)
    guard.start()
    try:
        yield
    except KeyboardInterrupt:
        _leave(farewell)
    finally:
        over.set()
        _end(guard)
        signal.signal(signal.SIGUSR1, previous_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _guard(over: threading.Event, farewell: Callable[[], str]) -> None:
    """Wait for Ctrl-C: the first interrupts the work; the second, or time, ends the process."""
    signal.sigwait(_CTRL_C)
    if over.is_set():
        return
    timer = threading.Timer(GRACE_SECONDS, _leave, [farewell])
    timer.daemon = True
    timer.start()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    signal.sigwait(_CTRL_C)
    _leave(farewell)


def _end(guard: threading.Thread) -> None:
    """Wake the guard, so that it sees that all is over."""
    if guard.ident is not None and guard.is_alive():
        signal.pthread_kill(guard.ident, signal.SIGINT)
        guard.join(timeout=1)


def _leave(farewell: Callable[[], str]) -> None:
    """Say it, take processes of ours along, and go without looking back."""
    try:
        console = stderr_console()
        if console.is_terminal:
            console.control(Control.show_cursor(True))
            console.file.write("\r\x1b[K")
        print_message(farewell())
        sys.stdout.flush()
        for child in multiprocessing.active_children():
            child.kill()
    finally:
        os._exit(INTERRUPTED)
