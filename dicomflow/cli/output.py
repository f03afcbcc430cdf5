"""Where text goes: stdout for results, stderr for progress; as wide and as colourful as what is at the other end.

In: nothing, or a value to print as JSON.  Out: consoles, JSON, a line about a file that was written.  Knows no commands.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from dicomflow.cli.session import print_message
from dicomflow.report.text import format_bytes, harmless_json

NO_ROWS = "0 rows"
"""What stderr says where there is nothing to print: that is an answer, too."""

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


def guess_format(output: str, endings: Mapping[str, str]) -> str:
    """The format that the name of a file stands for.

    Args:
        output: the name; upper and lower case are the same.
        endings: such as ``.csv`` -> name of a format.

    Raises:
        UsageError: the name ends otherwise.

    >>> guess_format("x.CSV", {".csv": "csv"})
    'csv'
    """
    form = endings.get(Path(output).suffix.lower())
    if form is None:
        raise click.UsageError(f"{output!r} does not say the format: end it in {', '.join(endings)}, or give --format.")
    return form


def describe_written(rows: int, output: str) -> str:
    """How much is in a file now; of a pipe or a device nobody can say the bytes."""
    path = Path(output)
    size = f", {format_bytes(path.stat().st_size)}," if path.is_file() else ""
    return f"{rows:,} row{'' if rows == 1 else 's'}{size} written to {output}"


def say_written(rows: int, output: str, *, quiet: bool) -> None:
    """Say on stderr what a file holds now."""
    if not quiet:
        print_message(describe_written(rows, output))


def say_no_rows(rows: int, *, quiet: bool = False) -> None:
    """Say on stderr that there were none, if there were none."""
    if not rows and not quiet:
        print_message(NO_ROWS)


def check_outside(dest: str, output: Path) -> None:
    """A file that we write must not stand among those of a dataset.

    Raises:
        UsageError: it would.
    """
    root = os.path.realpath(dest)
    if os.path.commonpath([root, os.path.realpath(output)]) == root:
        raise click.UsageError(f"{output} lies in the dataset, whose folders are its own; write it elsewhere.")
