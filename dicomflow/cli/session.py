"""What all commands share: exit codes, messages, and what the error handler must know of the command that ran.

In: a line to say.  Out: it, on stderr, harmless.  Knows no command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from dicomflow.report.text import harmless

FAILED, USAGE, TOO_MANY_FAILED, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 130, 141


class PipeClosed(Exception):
    """Nobody reads our output any more; no OSError, because click would end the process on one."""


def _log_nothing(error: BaseException) -> None:
    """No command has set up a log."""


@dataclass(slots=True)
class Session:
    """Filled in by the command while it runs; read by ``main`` when it fails.

    Attributes:
        debug: log the traceback of a surprise.
        failed: the exit code of an error, where 1 means something else to the command.
    """

    debug: bool = False
    failed: int = FAILED
    log_exception: Callable[[BaseException], None] = _log_nothing


def print_message(text: str) -> None:
    """One line on stderr, under our name."""
    print(format_message(text), file=sys.stderr, flush=True)


def format_message(text: str) -> str:
    """The line: whatever the text holds, it stays one.

    >>> format_message("error: a\\nb")
    'dicomflow: error: a\\\\nb'
    """
    return f"dicomflow: {harmless(text)}"
