"""Progress is a bar on a terminal, lines elsewhere, a box in a notebook, and nothing for who wants nothing."""

from __future__ import annotations

import io
import sys
import time
import types
from collections.abc import Callable

import pytest
from rich.console import Console

from dicomflow.model import BatchDone
from dicomflow.report.progress import Bar, Lines, Notebook, Silent, in_notebook, show_progress
from dicomflow.summary import Totals
from dicomflow.watch import Watcher

DASHBOARD = "http://127.0.0.1:8787/status"


def totals(done: int) -> Totals:
    """A run that has 1,000 of 3,000 files to read, one of them failed."""
    counts = {("ok", None): done - 1, ("failed", "truncated"): 1}
    return Totals(listed=3000, to_read=1000, done=done, counts=counts, dashboard=DASHBOARD, metrics="http://[::1]:1/m")


def console(*, terminal: bool, width: int = 120, height: int = 30) -> Console:
    """A console that writes into memory."""
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height)


def text_of(console: Console) -> str:
    """What was written to it."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wait_for(happened: Callable[[], bool]) -> None:
    """Give another thread its time, which may be long on a busy machine."""
    deadline = time.monotonic() + 20
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert happened()


def tell_batches(watcher: Watcher, workers: int) -> None:
    """Each worker reads ten files, twice."""
    for files in (10, 10):
        for number in range(workers):
            watcher.on_batch(
                BatchDone(
                    task_id=f"t{number}",
                    files=files,
                    header_bytes=1000,
                    file_bytes=9000,
                    retries=1,
                    worker=f"worker-{number:02}",
                )
            )
        time.sleep(0.002)


def test_lines() -> None:
    """Off a terminal: plain lines from time to time, addresses once, no control characters."""
    out = console(terminal=False)
    with Lines(out, every=0.02) as lines:
        lines("scan", totals(500))
        lines("scan", totals(600))
        wait_for(lambda: "files/s" in text_of(out))
    said = text_of(out)
    assert said.count(f"dashboard {DASHBOARD}\n") == 1 == said.count("metrics http://[::1]:1/m\n")
    assert "dicomflow: reading: 600 of 1,000 files, " in said
    assert "\x1b" not in said
    assert lines.stage == "scan"


def test_short_runs_are_not_talked_about() -> None:
    """A run of less than ten seconds without a dashboard writes no line."""
    out = console(terminal=False)
    with Lines(out) as lines:
        lines("scan", Totals(listed=5, to_read=5, done=5))
    assert text_of(out) == ""


def test_bar() -> None:
    """On a terminal: stage, bar, numbers; addresses stay when the bar is gone."""
    out = console(terminal=True)
    with Bar(out) as bar:
        bar("list", totals(0))
        bar("scan", totals(500))
        bar.draw(bar.pace.standing())
        bar("publish", totals(1000))
        bar.draw(bar.pace.standing())
    said = text_of(out)
    for text in ("reading", "500 of 1,000 files", "publishing", DASHBOARD, "http://[::1]:1/m"):
        assert text in said


def test_bar_shows_rates_and_the_first_workers() -> None:
    """Batches alone move it: rates in files and bytes, retries, eight workers of twelve by name."""
    out = console(terminal=True)
    with Bar(out) as bar:
        bar("scan", Totals(listed=3000, to_read=1000))
        tell_batches(bar, workers=12)
        bar.draw(bar.pace.standing())
    said = text_of(out)
    for text in ("240 of 1,000 files", " files/s", "/s of headers", "/s of files", " left", "24 tried again"):
        assert text in said
    assert "worker-07" in said and "worker-08" not in said and "4 more" in said


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 3), (80, 24)])
def test_bar_fits(width: int, height: int) -> None:
    """No line wraps and no line is lost on a small terminal: each redraw would leave rubbish behind."""
    out = console(terminal=True, width=width, height=height)
    bar = Bar(out)
    bar("scan", Totals(listed=3000, to_read=1000))
    tell_batches(bar, workers=3)
    lines = out.render_lines(bar._live.get_renderable(), pad=False)
    assert len(lines) == 5
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)


def test_log_lines_of_this_process_go_above_the_bar() -> None:
    """What anything prints to stderr while the bar is there stays whole."""
    out = console(terminal=True)
    before = sys.stderr
    with Bar(out) as bar:
        bar("scan", totals(500))
        print("a warning", file=sys.stderr)
        bar.draw(bar.pace.standing())
    assert "a warning\n" in text_of(out).replace("\r\n", "\n")
    assert sys.stderr is before


def test_display_begins_and_ends_with_the_run() -> None:
    """``extract`` begins and ends it; a command that has begun it already may, too; afterwards there is no thread."""
    out = console(terminal=False)
    lines = Lines(out, every=0.01)
    lines.on_begin("run")
    with lines:
        lines("scan", totals(5))
        thread = lines._thread
        lines.on_end(None, totals(5))
    assert thread is not None and not thread.is_alive()
    silent = Silent()
    with silent:
        tell_batches(silent, workers=1)
        silent("plan", totals(0))
    assert silent.stage == "plan"


class Display:
    """In place of IPython's: keeps what a notebook would show."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def display(self, thing: Notebook, *, display_id: bool) -> Display:
        assert display_id
        self.update(thing)
        return self

    def update(self, thing: Notebook) -> None:
        self.pages.append(thing._repr_html_())


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Display:
    """A process that looks like the kernel of a notebook."""
    shell = type("ZMQInteractiveShell", (), {})()
    package, module, display = types.ModuleType("IPython"), types.ModuleType("IPython.display"), Display()
    package.get_ipython = lambda: shell  # type: ignore[attr-defined]
    module.display = display.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return display


def test_notebook(notebook: Display) -> None:
    """One box, changed in place, which ends with the last numbers; names are escaped."""
    assert in_notebook()
    shown = show_progress()
    assert isinstance(shown, Notebook)
    shown.on_begin("run")
    shown("scan", Totals(listed=3000, to_read=1000, dashboard="http://<b>"))
    tell_batches(shown, workers=2)
    shown.on_batch(BatchDone(task_id="t", files=1, worker="<script>"))
    shown.draw(shown.pace.standing())
    shown_before = notebook.pages[-1]
    shown.on_end(None, Totals())
    page = notebook.pages[-1]
    assert "<b>reading</b>" in shown_before and "<b>done</b>" in page
    assert '<progress value="41" max="1000">' in page and "worker-01" in page
    assert "http://&lt;b&gt;" in page and "<script>" not in page and "&lt;script&gt;" in page
    assert "41 of 1,000 files" in repr(shown)


def test_choice() -> None:
    """A terminal has a bar, anything else lines; this is no notebook."""
    assert not in_notebook()
    assert isinstance(show_progress(console(terminal=True)), Bar)
    assert isinstance(show_progress(console(terminal=False)), Lines)
