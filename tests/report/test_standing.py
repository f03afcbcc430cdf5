"""The words for where a run is."""

from __future__ import annotations

from dataclasses import replace

from dicomflow.report.standing import Amount, Standing, WorkerStanding, describe, describe_workers, verb

STANDING = Standing(
    stage="scan",
    listed=100_000,
    done=12_000,
    to_read=100_000,
    listing=False,
    rate=Amount(24_113, 391e6, 12e9),
    failed=3,
    retries=0,
    seconds_left=3.6,
    seconds_stalled=0.0,
    paused=0,
    running=2,
    workers=(),
    workers_in_all=0,
)


def test_line() -> None:
    """Done of all, rates, time left, failed so far."""
    assert describe(STANDING) == (
        "12,000 of 100,000 files, 24,113 files/s, 391 MB/s of headers, 12 GB/s of files, 3.6 s left, 3 failed"
    )


def test_line_while_listing() -> None:
    """The number of all files is not known yet, and so not said; nor is the time left."""
    assert describe(replace(STANDING, listing=True, seconds_left=None, failed=0)) == (
        "12,000 files, 100,000 listed so far, 24,113 files/s, 391 MB/s of headers, 12 GB/s of files"
    )


def test_line_of_a_run_that_stalls() -> None:
    """Rates of before would mislead."""
    stalled = replace(STANDING, seconds_left=None, seconds_stalled=75.0, retries=7)
    assert describe(stalled) == "12,000 of 100,000 files, nothing for 1 min 15 s, 7 tried again, 3 failed"


def test_line_of_a_run_whose_workers_pause() -> None:
    """How many do not work, and why; while files are read."""
    paused = replace(STANDING, paused=1, running=1, rate=Amount(24_113))
    said = "12,000 of 100,000 files, 24,113 files/s, 3.6 s left, 1 of 2 workers paused for want of memory, 3 failed"
    assert describe(paused) == said
    assert "paused" not in describe(replace(paused, stage="publish"))


def test_other_stages() -> None:
    """Listing counts files; merging says which table."""
    assert describe(replace(STANDING, stage="list")) == "100,000 files"
    assert describe(replace(STANDING, stage="compact files")) == "files"
    assert describe(replace(STANDING, stage="publish", failed=0)) == "12,000 of 100,000 files"
    assert verb("unheard") == "unheard"


def test_workers_names_are_strangers_text() -> None:
    """A worker's name is bounded and cannot rewrite the screen; a single worker is not worth a line."""
    hostile = WorkerStanding(name="\x1b[2J" + "x" * 1000, files=1, files_per_second=1)
    assert list(describe_workers(replace(STANDING, workers=(hostile,), workers_in_all=1))) == []
    (name, does), _ = describe_workers(replace(STANDING, workers=(hostile, hostile), workers_in_all=2))
    assert "\x1b" not in name and len(name) <= 32 and does == "1 files/s, 1 files"
