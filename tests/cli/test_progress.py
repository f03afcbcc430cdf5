"""Progress is a bar on a terminal, lines elsewhere, and nothing for who wants nothing."""

from __future__ import annotations

import io
import time

from rich.console import Console

from dicomflow.cli.progress import Bar, Lines, Pace, Silent, make_watcher
from dicomflow.summary import Totals


def totals(done: int) -> Totals:
    """A run that has 1,000 of 3,000 files to read, one of them failed."""
    counts = {("ok", None): done - 1, ("failed", "truncated"): 1}
    return Totals(listed=3000, to_read=1000, done=done, counts=counts, dashboard="http://127.0.0.1:8787/status")


def console(*, terminal: bool) -> Console:
    """A console that writes into memory."""
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def text_of(console: Console) -> str:
    """What was written to it."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_pace_says_rate_rest_and_failures() -> None:
    """Done of all, files per second, time left, failed so far."""
    pace = Pace()
    pace.note("scan")
    time.sleep(0.01)
    said = pace.describe("scan", totals(500))
    assert said.startswith("500 of 1,000 files, ")
    assert " files/s, " in said
    assert said.endswith(" left, 1 failed")


def test_pace_of_nothing() -> None:
    """Before the first file there is no rate, and nothing is divided by zero."""
    assert Pace().describe("scan", Totals(listed=9, to_read=7)) == "0 of 7 files"
    assert Pace().describe("list", Totals(listed=7)) == "7 files"


def test_lines() -> None:
    """Off a terminal: plain lines from time to time, the dashboard once, no control characters."""
    out = console(terminal=False)
    with Lines(out, every=0.02) as lines:
        lines("scan", totals(500))
        lines("scan", totals(600))
        time.sleep(0.2)
    said = text_of(out)
    assert said.count("dashboard http://127.0.0.1:8787/status\n") == 1
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
    """On a terminal: stage, bar, numbers; the dashboard's address stays when the bar is gone."""
    out = console(terminal=True)
    with Bar(out) as bar:
        bar("list", totals(0))
        bar("scan", totals(500))
        bar._progress.refresh()
        bar("publish", totals(1000))
        bar._progress.refresh()
    said = text_of(out)
    for text in ("reading", "500 of 1,000 files", "publishing", "http://127.0.0.1:8787/status"):
        assert text in said


def test_choice(monkeypatch: object) -> None:
    """Quiet is silent; without a terminal, or with a log on it, there are lines."""
    assert type(make_watcher(quiet=True)) is Silent
    assert isinstance(make_watcher(quiet=False), Lines)
