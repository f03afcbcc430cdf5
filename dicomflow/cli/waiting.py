"""Show that something is being written, where the work itself reports nothing: by counting the files in its folder.

In: a folder, how many files there will be.  Out: a line on stderr.  Knows no work.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dicomflow.cli.output import stderr_console
from dicomflow.cli.progress import LINE_SECONDS

_LOOK_SECONDS = 1.0
_LOOK_SHARE = 0.05  # of the time may go into looking


@contextlib.contextmanager
def watch_folder(folder: Path, files: int, *, quiet: bool = False) -> Iterator[None]:
    """While the block runs, say how many of ``files`` files are in ``folder``: in place on a terminal, else in lines."""
    if quiet:
        yield
        return
    console = stderr_console()
    over = threading.Event()
    watch = _watch_line if console.is_terminal else _watch_lines
    thread = threading.Thread(target=watch, args=(console, folder, files, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=1)


def _watch_line(console: Console, folder: Path, files: int, over: threading.Event) -> None:
    with console.status(f"writing {files:,} files") as status:
        pause = _LOOK_SECONDS
        while not over.wait(pause):
            start = time.monotonic()
            status.update(_describe(count_files(folder), files))
            pause = max(_LOOK_SECONDS, (time.monotonic() - start) / _LOOK_SHARE)


def _watch_lines(console: Console, folder: Path, files: int, over: threading.Event) -> None:
    while not over.wait(LINE_SECONDS):
        console.print(Text(f"dicomflow: {_describe(count_files(folder), files)}"), soft_wrap=True)


def _describe(count: int, files: int) -> str:
    return f"writing: {min(count, files):,} of {files:,} files"


def count_files(folder: Path) -> int:
    """Files below a folder that others are writing to."""
    return sum(len(names) for _, _, names in os.walk(folder))
