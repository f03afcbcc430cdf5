"""Show how a run goes: a bar on a terminal, a line every ten seconds otherwise, a box in a notebook, or nothing.

In: what a Watcher hears, often and from any thread.  Out: stderr, or the output of a notebook's cell.  Knows no Dask, no files.

Whoever tells only leaves a note; drawing is done a few times a second by a thread of its own, so that watching costs next to
nothing.
"""

from __future__ import annotations

import contextvars
import html
import sys
import threading
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dicomflow.model import BatchDone, ScanResult
from dicomflow.report.pace import Pace
from dicomflow.report.standing import Standing, describe, describe_done, describe_rates, describe_workers, verb
from dicomflow.report.text import harmless, pad
from dicomflow.summary import Totals
from dicomflow.watch import Watcher

LINE_SECONDS = 10.0
_REFRESH_PER_SECOND = 5
_NOTEBOOK_SECONDS = 0.5
_BAR_CELLS = 32


def show_progress(console: Console | None = None) -> Watcher:
    """What shows the progress of a run where it is called: for ``extract(..., progress=dicomflow.show_progress())``.

    In a notebook it is a box below the cell, on a terminal a bar, and one line every ten seconds where stderr is neither.  It is
    good for one run.

    >>> import dicomflow
    >>> dicomflow.extract("scans", "headers", progress=dicomflow.show_progress())    # doctest: +SKIP
    """
    if console is None and in_notebook():
        return Notebook()
    console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
    return Bar(console) if console.is_terminal else Lines(console)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which can show HTML."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class Silent(Watcher):
    """Shows nothing; remembers the stage.  All displays are context managers, too, and may be begun and ended twice."""

    def __init__(self) -> None:
        self.stage = ""

    def __call__(self, stage: str, totals: Totals) -> None:
        """Remember."""
        self.stage = stage

    def on_begin(self, run_id: str) -> None:
        """Begin to show."""
        self.__enter__()

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        """Show no more."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""


class _Display(Silent):
    """Takes notes of what it hears, and draws them from time to time in a thread of its own."""

    def __init__(self, every: float) -> None:
        super().__init__()
        self.pace = Pace()
        self._every = every
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._said: set[str] = set()

    def __call__(self, stage: str, totals: Totals) -> None:
        """Take note; say addresses once."""
        super().__call__(stage, totals)
        self.pace.note_stage(stage, totals)
        for what, address in (("dashboard", totals.dashboard), ("metrics", totals.metrics)):
            if address and address not in self._said:
                self._said.add(address)
                self.say(what, harmless(address))

    def on_batch(self, batch: BatchDone) -> None:
        """See ``Watcher``."""
        self.pace.note_batch(batch)

    def on_result(self, result: ScanResult) -> None:
        """See ``Watcher``."""
        self.pace.note_result(result)

    def on_task_lost(self, task_id: str) -> None:
        """See ``Watcher``."""
        self.pace.note_lost(task_id)

    def __enter__(self) -> Self:
        if self._thread is None and not self._over.is_set():
            context = contextvars.copy_context()  # a notebook's output belongs to the cell of its context
            self._thread = threading.Thread(target=context.run, args=(self._run,), name="progress", daemon=True)
            self._begin()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread, once."""
        if self._thread is not None and not self._over.is_set():
            self._over.set()
            self._thread.join(timeout=1)
            self._finish()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            if self.stage:
                self.draw(self.pace.standing())

    def _begin(self) -> None:
        """Before the thread."""

    def _finish(self) -> None:
        """After the thread."""

    def say(self, what: str, address: str) -> None:
        """Something that stays."""

    def draw(self, standing: Standing) -> None:
        """The run as it is now."""


class Lines(_Display):
    """One line every ten seconds, for logs and pipes."""

    def __init__(self, console: Console, every: float = LINE_SECONDS) -> None:
        super().__init__(every)
        self._console = console

    def say(self, what: str, address: str) -> None:
        """``dicomflow: dashboard http://127.0.0.1:8787/status``."""
        self._print(f"{what} {address}")

    def draw(self, standing: Standing) -> None:
        """``dicomflow: reading: 12,000 of 100,000 files, ...``."""
        self._print(f"{verb(standing.stage)}: {describe(standing)}")

    def _print(self, line: str) -> None:
        self._console.print(Text(f"dicomflow: {line}"), soft_wrap=True)


class Bar(_Display):
    """A bar, rates, and a line for each of the first workers; leaves nothing behind but addresses."""

    def __init__(self, console: Console) -> None:
        super().__init__(1 / _REFRESH_PER_SECOND)
        self._spinner = Spinner("dots", style="dim")
        self._live = Live(
            console=console, transient=True, auto_refresh=False, get_renderable=self._render, vertical_overflow="crop"
        )

    def say(self, what: str, address: str) -> None:
        """Above the bar."""
        self._live.console.print(Text.assemble((f"{what:<11}", "dim"), address))

    def draw(self, standing: Standing) -> None:
        """Once more."""
        self._live.refresh()

    def _begin(self) -> None:
        self._live.start()

    def _finish(self) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        standing = self.pace.standing()
        if not standing.stage:
            return Text("")
        rows: list[RenderableType] = [self._first_line(standing)]
        if standing.stage == "scan":
            rows.append(_indented(", ".join(describe_rates(standing))))
            workers = list(describe_workers(standing))
            width = max((cell_len(name) for name, _ in workers), default=0)
            rows += [_indented(f"{pad(name, width)}  {does}") for name, does in workers]
        return Group(*rows)

    def _first_line(self, standing: Standing) -> Table:
        line = Table.grid(padding=(0, 1))
        reading = standing.stage in ("scan", "publish") and not standing.listing
        done = standing.to_read if standing.stage == "publish" else standing.done
        bar = ProgressBar(total=standing.to_read or None if reading else None, completed=done, width=_BAR_CELLS)
        detail = describe_done(standing) if standing.stage in ("scan", "publish") else describe(standing)
        line.add_row(self._spinner, Text(f"{verb(standing.stage):<10}", no_wrap=True), bar, Text(detail, no_wrap=True))
        return line


def _indented(text: str) -> Text:
    return Text(f"  {text}", style="dim", no_wrap=True, overflow="ellipsis")


class Notebook(_Display):
    """A box below the cell that changes in place, and stays with the last numbers; plain HTML, which needs no widgets."""

    def __init__(self) -> None:
        super().__init__(_NOTEBOOK_SECONDS)
        self._handle: Any = None
        self._addresses: list[tuple[str, str]] = []
        self._ended = ""

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        """The box stays, and says how it ended."""
        self._ended = "done" if error is None else "stopped"
        super().on_end(error, totals)

    def say(self, what: str, address: str) -> None:
        """In the box."""
        self._addresses.append((what, address))

    def draw(self, standing: Standing) -> None:
        """Put the box as it is now in the place of the last one."""
        if self._handle is not None:
            self._handle.update(self)

    def _begin(self) -> None:
        from IPython.display import display

        self._handle = display(self, display_id=True)

    def _finish(self) -> None:
        self.draw(self.pace.standing())

    def __repr__(self) -> str:
        standing = self.pace.standing()
        return f"dicomflow: {self._verb(standing)}: {describe(standing)}" if standing.stage else "dicomflow"

    def _verb(self, standing: Standing) -> str:
        return self._ended or verb(standing.stage)

    def _repr_html_(self) -> str:
        """What a notebook shows: text is escaped, the bar is HTML's own."""
        standing = self.pace.standing()
        known = standing.to_read and not standing.listing
        value = f' value="{standing.done}" max="{standing.to_read}"' if known else ""
        rows = [f"<b>{html.escape(self._verb(standing))}</b> <progress{value}></progress> {describe_done(standing)}"]
        rows.append(", ".join(describe_rates(standing)))
        rows += [html.escape(f"{name} {does}") for name, does in describe_workers(standing)]
        rows += [f"{what} {html.escape(address)}" for what, address in self._addresses]
        return f'<div style="font-variant-numeric: tabular-nums">{"<br>".join(row for row in rows if row)}</div>'
