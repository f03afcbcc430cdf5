"""Where text goes: stdout for results, stderr for progress; as wide and as colourful as what is at the other end.

In: nothing, or a value to print as JSON.  Out: consoles, JSON.  Knows no commands.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import click
from rich.console import Console

from dicomflow.report.text import harmless_json

_PIPE_WIDTH = 1000
"""Cells of a line in a pipe or file: nothing has to fit there."""


def stdout_console() -> Console:
    """For results; made when it is needed, because tests and pipes change where stdout goes."""
    console = _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def stderr_console() -> Console:
    """For progress."""
    return _Console(stderr=True, highlight=False, markup=False, emoji=False)


class _Console(Console):
    """Leaves it to ``main`` what a closed pipe means; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is being handled."""
        raise BrokenPipeError(errno.EPIPE, "nobody reads on")


def print_json(value: object) -> None:
    """JSON on stdout: readable, and nothing in it that a terminal acts on."""
    print(harmless_json(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)))


def check_outside(dest: str, output: Path) -> None:
    """A file that we write must not stand among those of a dataset.

    Raises:
        UsageError: it would.
    """
    root = os.path.realpath(dest)
    if os.path.commonpath([root, os.path.realpath(output)]) == root:
        raise click.UsageError(f"{output} lies in the dataset, whose folders are its own; write it elsewhere.")
