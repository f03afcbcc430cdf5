"""Stop within two seconds after Ctrl-C, whatever threads and processes are doing.

In: a block of work, what to say.  Out: exit code 130.  Knows signals; nothing of the work.

The first Ctrl-C raises KeyboardInterrupt in the work, so that it puts away what it has begun; then the process leaves at once,
without waiting for threads of a cluster.  It leaves in any case when putting away takes too long, or at the second Ctrl-C.
That is safe because a run that is killed leaves a dataset that reads (see ``dataset.commit``).

A terminal sends Ctrl-C to every process of the group.  Worker processes must not see it: each would print a traceback.  They
inherit the blocked signals of the thread that starts them, so SIGINT is blocked in the main thread and all that begin in the
block, except one of ours.  Python's handler still runs in the main thread; our thread hears of the signal through the wake-up
pipe, and sees to it that the main thread does not sleep through it.
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

from dicomflow.cli.session import INTERRUPTED, format_message

GRACE_SECONDS = 1.0

CLUSTER_GRACE_SECONDS = 60.0
"""Where a run has started jobs, pods or machines elsewhere: nobody else would end those."""

_CLEAR_LINE = "\r\x1b[K\x1b[?25h"  # and show the cursor, which a progress bar hides

_CTRL_C = frozenset({signal.SIGINT})
_OVER = b"\0"


@contextlib.contextmanager
def leave_on_interrupt(farewell: Callable[[], str], grace: float = GRACE_SECONDS) -> Iterator[None]:
    """Let Ctrl-C end the process with a message and exit code 130.

    Args:
        farewell: called when all is put away, or given up on; what became of the work.
        grace: seconds in which the work may put away what it has begun.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    resource_tracker.ensure_running()  # now, because starting it unblocks SIGINT in the thread that does
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _CTRL_C)
    previous_handlers = [(number, signal.signal(number, handler)) for number, handler in _HANDLERS.items()]
    previous_pipe = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    guard = threading.Thread(target=_guard, args=(reading, farewell, grace), name="ctrl-c", daemon=True)
    guard.start()
    try:
        yield
    except KeyboardInterrupt:
        _leave(farewell)
    finally:
        signal.set_wakeup_fd(previous_pipe)
        os.write(writing, _OVER)
        guard.join(timeout=1)
        for number, handler in previous_handlers:
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
        os.close(writing)
        os.close(reading)


def _wake_up(_number: int, _frame: FrameType | None) -> None:
    """Ends a system call of the main thread, so that Python comes to handle Ctrl-C."""


_HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGUSR1: _wake_up}


def _guard(reading: int, farewell: Callable[[], str], grace: float) -> None:
    """Hear of Ctrl-C: the first interrupts the work; the second, or time, ends the process."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _CTRL_C)
    timer: threading.Timer | None = None
    while (heard := os.read(reading, 1)) != _OVER:
        if heard[0] != signal.SIGINT:
            continue
        if timer is not None:
            _leave(farewell)
        timer = threading.Timer(grace, _leave, [farewell])
        timer.daemon = True
        timer.start()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
    if timer is not None:
        timer.cancel()


def _leave(farewell: Callable[[], str]) -> None:
    """Take processes of ours along, say it, and go without looking back.

    It writes to the stream itself: a progress bar that is still alive has put its own in place of ``sys.stderr``, behind a
    lock that the interrupted thread may hold.
    """
    try:
        for child in multiprocessing.active_children():
            child.kill()
        stream = sys.__stderr__
        if stream is not None:
            stream.write(_CLEAR_LINE if stream.isatty() else "")
            stream.write(format_message(farewell()) + "\n")
            stream.flush()
    finally:
        os._exit(INTERRUPTED)
