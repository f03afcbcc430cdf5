"""What a run did, as numbers: totals while it goes, a summary when it is done.

In: ScanResults.  Out: ``Totals``, ``RunSummary``.  Knows no rendering.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dicomflow.errors import Status
from dicomflow.model import ScanResult


@dataclass(slots=True)
class Totals:
    """Sums over the results so far; ``counts`` is by (status, code).

    ``is_listing``: ``to_read`` is not the last word.  ``dashboard`` and ``metrics`` are addresses.
    """

    listed: int = 0
    to_read: int = 0
    unchanged: int = 0
    resumed: int = 0
    removed: int = 0
    done: int = 0
    tasks_done: int = 0
    header_bytes: int = 0
    file_bytes: int = 0
    fallback_files: int = 0
    issues: int = 0
    retries: int = 0
    peak_rss: int = 0
    in_flight: int = 0  # tasks
    workers_running: int = 0  # of a Dask cluster: that take tasks ...
    workers_paused: int = 0  # ... and that take none before they have memory again
    is_listing: bool = False  # whether more files may come
    dashboard: str | None = None
    metrics: str | None = None
    counts: dict[tuple[str, str | None], int] = field(default_factory=dict)
    task_seconds: dict[str, float] = field(default_factory=dict)

    def add(self, result: ScanResult) -> None:
        """Fold one result in."""
        self.done += result.files
        self.tasks_done += 1
        self.header_bytes += result.header_bytes
        self.file_bytes += result.file_bytes
        self.fallback_files += result.fallback_files
        self.issues += result.issues
        self.retries += result.retries
        self.peak_rss = max(self.peak_rss, result.peak_rss)
        self.counts = dict(Counter(self.counts) + Counter(result.counts))
        for stage, seconds in result.seconds.items():
            self.task_seconds[stage] = self.task_seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The outcome of a run.

    Attributes:
        version: of the dataset that the run left.
        files: inputs listed; equal to the sum over ``outcomes``.
        read: headers read by this run.
        unchanged: files known from earlier runs, and not read again.
        resumed: files that an interrupted run had read, and this one need not.
        removed: files that were there before and are gone.
        rows: rows of ``instances`` that the files listed have; those of SOURCEs that this run did not name do not count.
        outcomes: (status, code or None, files), most files first.
        seconds: wall time of the whole run.
        stages: wall seconds of list, plan, scan (cluster included), tasks, publish.
        task_seconds: seconds inside tasks, over all workers: read, inflate, scan, decode, write, wait, other.
        files_per_second: files read per second of the ``tasks`` stage.
        fallback_files: headers that pydicom read.
        peak_worker_bytes: largest resident memory of any process that ran tasks.
    """

    run_id: str
    dest: str
    version: int
    profile: str
    scheduler: str
    dashboard: str | None
    tasks: int
    files: int
    read: int
    unchanged: int
    resumed: int
    removed: int
    rows: int
    outcomes: tuple[tuple[str, str | None, int], ...]
    failed: int
    failed_share: float
    issues: int
    fallback_files: int
    header_bytes: int
    file_bytes: int
    peak_worker_bytes: int
    seconds: float
    files_per_second: float
    stages: Mapping[str, float]
    task_seconds: Mapping[str, float]

    @classmethod
    def from_totals(cls, totals: Totals, *, stages: Mapping[str, float], **about: Any) -> RunSummary:
        """Close the books."""
        outcomes = sorted(
            ((s, c, n) for (s, c), n in totals.counts.items()), key=lambda row: (-row[2], row[0], row[1] or "")
        )
        files = sum(count for _, _, count in outcomes)
        failed = sum(count for status, _, count in outcomes if status == Status.FAILED)
        whole = sum(seconds for stage, seconds in stages.items() if stage != "tasks")
        return cls(
            files=files,
            read=totals.done,
            unchanged=totals.unchanged,
            resumed=totals.resumed,
            removed=totals.removed,
            rows=sum(count for status, _, count in outcomes if status in (Status.OK, Status.PARTIAL)),
            outcomes=tuple(outcomes),
            failed=failed,
            failed_share=failed / files if files else 0.0,
            issues=totals.issues,
            fallback_files=totals.fallback_files,
            header_bytes=totals.header_bytes,
            file_bytes=totals.file_bytes,
            peak_worker_bytes=totals.peak_rss,
            seconds=whole,
            files_per_second=totals.done / stages["tasks"] if stages.get("tasks") else 0.0,
            stages=dict(stages),
            task_seconds=dict(totals.task_seconds),
            **about,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON: outcomes as objects, seconds rounded to microseconds."""
        plain = asdict(self)
        plain["outcomes"] = [{"status": s, "code": c, "files": n} for s, c, n in self.outcomes]
        for name in ("stages", "task_seconds"):
            plain[name] = {key: round(value, 6) for key, value in plain[name].items()}
        plain["seconds"] = round(self.seconds, 6)
        plain["files_per_second"] = round(self.files_per_second, 1)
        return plain
