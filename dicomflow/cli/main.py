"""Run one command and turn whatever happens into an exit code and at most one line.

In: arguments.  Out: an exit code.  Knows which errors are the user's, the input's and our own; no command.

No traceback reaches a user unless asked for (``--log-level debug``), and then without the texts of strangers' exceptions:
they may quote the value of a data element.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import click

from dicomflow.cli.group import root
from dicomflow.cli.session import (
    INTERRUPTED,
    PIPE_CLOSED,
    USAGE,
    PipeClosed,
    Session,
    print_message,
)
from dicomflow.errors import ConfigError, DicomflowError
from dicomflow.surprise import describe_surprise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dicomflow`` with these arguments (those of the process by default); the exit code.

    >>> main(["--version"])
    dicomflow 0.1.0
    0
    """
    _print_all_characters()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # those of libraries are for programmers
    session = Session()
    try:
        code = root.main(arguments, prog_name="dicomflow", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        print_message("stopped")
        return INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        _forget_output()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  the last resort: whatever it is becomes one line
        return _report(error, session)
    return code if isinstance(code, int) else 0


def _print_all_characters() -> None:
    """A file name that the terminal's encoding lacks is escaped, not an exception."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Nobody reads on: what is still buffered must not raise again when the interpreter flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception, session: Session) -> int:
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, DicomflowError):
        print_message(f"error: {error}")
        return USAGE if isinstance(error, ConfigError) else session.failed
    if session.debug:
        session.log_exception(error)
    print_message(f"error: {_describe_unexpected(error)}")
    return session.failed


def _describe_unexpected(error: Exception) -> str:
    """Type and place of a surprise; its text stays unsaid, because it may quote a value."""
    return (
        f"unexpected {describe_surprise(error)}; this is a fault of dicomflow: please report this line to its issue "
        "tracker (extract --log-level debug adds the traceback)"
    )
