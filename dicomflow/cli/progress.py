"""Show how a run goes: a bar on a terminal, a plain line every ten seconds otherwise, nothing if nobody wants it.

In: stage and totals, called often and from the thread that runs.  Out: stderr.  Knows no Dask and no files.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from dicomflow.cli.output import stderr_console
from dicomflow.errors import Status
from dicomflow.report.text import format_seconds, harmless
from dicomflow.summary import Totals

LINE_SECONDS = 10.0
_REFRESH_PER_SECOND = 5

_VERBS = {"list": "listing", "plan": "planning", "scan": "reading", "publish": "publishing", "compact": "merging"}
"""Stage, or its first word, the others being what it is at."""


class Watcher(Protocol):
    """Something that watches a run; used as a context manager, called with each change."""

    stage: str

    def __call__(self, stage: str, totals: Totals) -> None:
        """Take note of where the run is."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_watcher(*, quiet: bool, plain: bool = False) -> Watcher:
    """The watcher that fits stderr.

    Args:
        quiet: show nothing.
        plain: no bar, even on a terminal: log lines would tear it.
    """
    if quiet:
        return Silent()
    console = stderr_console()
    return Bar(console) if console.is_terminal and not plain else Lines(console)


class Pace:
    """How fast files are read, and when all will be; the clock starts with the stage ``scan``."""

    def __init__(self) -> None:
        self._start: float | None = None

    def note(self, stage: str) -> None:
        """The run is in this stage."""
        if stage == "scan" and self._start is None:
            self._start = time.monotonic()

    def describe(self, stage: str, totals: Totals) -> str:
        """``12,000 of 100,000 files, 24,113 files/s, 4 s left, 3 failed``."""
        if stage == "list":
            return f"{totals.listed:,} files"
        if " " in stage:
            return stage.partition(" ")[2]
        parts = [f"{totals.done:,} of {totals.to_read:,} files"]
        elapsed = time.monotonic() - self._start if self._start is not None else 0.0
        if stage == "scan" and totals.done and elapsed > 0:
            rate = totals.done / elapsed
            parts += [f"{rate:,.0f} files/s", f"{format_seconds(max(totals.to_read - totals.done, 0) / rate)} left"]
        failed = sum(count for (status, _), count in totals.counts.items() if status == Status.FAILED)
        return ", ".join([*parts, f"{failed:,} failed"] if failed else parts)


def _verb(stage: str) -> str:
    return _VERBS.get(stage.partition(" ")[0], stage)


class Silent:
    """Shows nothing; remembers the stage."""

    def __init__(self) -> None:
        self.stage = ""

    def __call__(self, stage: str, totals: Totals) -> None:
        """Remember."""
        self.stage = stage

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""


class Lines(Silent):
    """One line every ten seconds, by a thread of its own: a task may take longer than that."""

    def __init__(self, console: Console, every: float = LINE_SECONDS) -> None:
        super().__init__()
        self._console = console
        self._every = every
        self._pace = Pace()
        self._totals = Totals()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._dashboard: str | None = None

    def __call__(self, stage: str, totals: Totals) -> None:
        """Remember; say the dashboard's address once."""
        self.stage, self._totals = stage, totals
        self._pace.note(stage)
        if totals.dashboard and totals.dashboard != self._dashboard:
            self._dashboard = totals.dashboard
            self._print(f"dashboard {harmless(totals.dashboard)}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread."""
        self._over.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            if self.stage:
                detail = self._pace.describe(self.stage, self._totals)
                self._print(f"{_verb(self.stage)}: {detail}")

    def _print(self, line: str) -> None:
        self._console.print(Text(f"dicomflow: {line}"), soft_wrap=True)


class Bar(Silent):
    """A bar that leaves nothing behind but the dashboard's address."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._pace = Pace()
        self._dashboard: str | None = None
        self._task: TaskID | None = None
        self._progress = Progress(
            SpinnerColumn(style="dim"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=_REFRESH_PER_SECOND,
        )

    def __call__(self, stage: str, totals: Totals) -> None:
        """Move the bar."""
        self.stage = stage
        self._pace.note(stage)
        if totals.dashboard and totals.dashboard != self._dashboard:
            self._dashboard = totals.dashboard
            self._progress.console.print(Text.assemble(("dashboard  ", "dim"), harmless(totals.dashboard)))
        if self._task is None:
            self._task = self._progress.add_task("", total=None, detail="")
        self._progress.update(
            self._task,
            description=f"{_verb(stage):<10}",
            total=totals.to_read if stage in ("scan", "publish") else None,
            completed=totals.to_read if stage == "publish" else totals.done,
            detail=self._pace.describe(stage, totals),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._progress.stop()
