"""Where a run is at one moment, as numbers and in words.

In: what ``pace`` found.  Out: text.  Pure; knows no clock and no display.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dicomflow.model import BatchDone, ScanResult
from dicomflow.report.text import format_bytes, format_seconds, harmless, shorten
from dicomflow.summary import Totals

MAX_WORKERS = 8
"""So many workers have a line of their own."""

_NAME_CELLS = 32

_VERBS = {"list": "listing", "plan": "planning", "scan": "reading", "publish": "publishing", "compact": "merging"}
"""Stage, or its first word, the others being what it is at."""


class Amount(NamedTuple):
    """What was done: files, bytes of their headers, bytes of the files."""

    files: float = 0
    header_bytes: float = 0
    file_bytes: float = 0

    @classmethod
    def of(cls, done: BatchDone | ScanResult | Totals) -> Amount:
        """What a batch, a result or a run did."""
        files = done.done if isinstance(done, Totals) else done.files
        return cls(files, done.header_bytes, done.file_bytes)

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStanding:
    """What one worker did."""

    name: str
    files: int
    files_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run is at one moment.

    Attributes:
        stage: as the pipeline names it.
        listed: files found so far.
        done: files read, those of tasks under way included.
        to_read: files to read; a lower bound while ``listing``.
        listing: whether files are still being listed.
        rate: per second, of late: files, bytes of headers, bytes of files.
        failed: files that could not be read.
        retries: reads that were tried again.
        seconds_left: None where nobody can know: nothing is done yet, listing goes on, or nothing happens.
        seconds_stalled: since the last file, where that is long ago; else 0.
        paused: workers that Dask has paused, for want of memory, and ...
        running: ... those that take tasks.
        workers: the first few of those that did something of late, by name.
        workers_in_all: how many there are of them.
    """

    stage: str
    listed: int
    done: int
    to_read: int
    listing: bool
    rate: Amount
    failed: int
    retries: int
    seconds_left: float | None
    seconds_stalled: float
    paused: int
    running: int
    workers: tuple[WorkerStanding, ...]
    workers_in_all: int


def describe(standing: Standing) -> str:
    """``12,000 of 100,000 files, 24,113 files/s, 391 MB/s of headers, 12 GB/s of files, 4 s left, 3 failed``."""
    if standing.stage in ("list", "plan"):
        return f"{standing.listed:,} files"
    if " " in standing.stage:
        return standing.stage.partition(" ")[2]
    return ", ".join([describe_done(standing), *describe_rates(standing)])


def describe_done(standing: Standing) -> str:
    """``12,000 of 100,000 files``."""
    if standing.listing:
        return f"{standing.done:,} files, {standing.listed:,} listed so far"
    return f"{standing.done:,} of {standing.to_read:,} files"


def describe_rates(standing: Standing) -> Iterator[str]:
    """How fast, how long still, and what went wrong."""
    if standing.stage == "scan":
        yield from _describe_scan(standing)
    if standing.retries:
        yield f"{standing.retries:,} tried again"
    if standing.failed:
        yield f"{standing.failed:,} failed"


def _describe_scan(standing: Standing) -> Iterator[str]:
    rate = standing.rate
    if standing.done and not standing.seconds_stalled:
        yield f"{rate.files:,.0f} files/s"
        if rate.header_bytes:
            yield f"{format_bytes(round(rate.header_bytes))}/s of headers"
        if rate.file_bytes:
            yield f"{format_bytes(round(rate.file_bytes))}/s of files"
        if standing.seconds_left is not None:
            yield f"{format_seconds(standing.seconds_left)} left"
    if standing.seconds_stalled:
        yield f"nothing for {format_seconds(standing.seconds_stalled)}"
    if standing.paused:
        yield f"{standing.paused:,} of {standing.paused + standing.running:,} workers paused for want of memory"


def describe_workers(standing: Standing) -> Iterator[tuple[str, str]]:
    """(name, what it does) for the first few; more than one, or there is nothing to compare."""
    if len(standing.workers) < 2:
        return
    for worker in standing.workers:
        name = shorten(harmless(worker.name[:256]), _NAME_CELLS)
        yield name, f"{worker.files_per_second:,.0f} files/s, {worker.files:,} files"
    if more := standing.workers_in_all - len(standing.workers):
        yield f"{more:,} more", ""


def verb(stage: str) -> str:
    """What a stage does.

    >>> verb("scan"), verb("compact files")
    ('reading', 'merging')
    """
    return _VERBS.get(stage.partition(" ")[0], stage)
