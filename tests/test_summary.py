"""Numbers of a run."""

from __future__ import annotations

import json

from dicomflow.model import ScanResult
from dicomflow.summary import RunSummary, Totals

ABOUT = {
    "run_id": "r",
    "dest": "/d",
    "version": 2,
    "profile": "minimal",
    "scheduler": "threads",
    "dashboard": None,
    "tasks": 2,
}


def make_totals() -> Totals:
    totals = Totals(listed=9, to_read=9, unchanged=4, resumed=3, removed=2)
    one = {"header_bytes": 10, "file_bytes": 100, "fallback_files": 1, "issues": 2}
    totals.add(
        ScanResult(task_id="a", data_files=(), files=5, counts={("ok", None): 4, ("failed", "io_error"): 1},
                   seconds={"read": 1.0, "write": 0.5}, peak_rss=70, **one)
    )  # fmt: skip
    totals.add(
        ScanResult(task_id="b", data_files=(), files=4, counts={("ok", None): 3, ("partial", "truncated"): 1},
                   seconds={"read": 2.0}, peak_rss=50, **one)
    )  # fmt: skip
    return totals


def test_totals_are_sums() -> None:
    """Every number adds up over tasks; memory is the largest."""
    totals = make_totals()
    assert (totals.done, totals.tasks_done, totals.issues, totals.fallback_files) == (9, 2, 4, 2)
    assert (totals.header_bytes, totals.file_bytes, totals.peak_rss) == (20, 200, 70)
    assert totals.counts == {("ok", None): 7, ("failed", "io_error"): 1, ("partial", "truncated"): 1}
    assert totals.task_seconds == {"read": 3.0, "write": 0.5}


def test_summary_adds_up() -> None:
    """Files are the sum over outcomes, rows those of ok and partial; seconds count no stage twice."""
    summary = RunSummary.from_totals(
        make_totals(), stages={"list": 1.0, "scan": 4.0, "tasks": 3.0, "publish": 0.5}, **ABOUT
    )
    assert summary.files == sum(count for _, _, count in summary.outcomes) == 9
    assert summary.outcomes == (("ok", None, 7), ("failed", "io_error", 1), ("partial", "truncated", 1))
    assert (summary.rows, summary.failed, summary.failed_share) == (8, 1, 1 / 9)
    assert (summary.read, summary.unchanged, summary.resumed, summary.removed, summary.version) == (9, 4, 3, 2, 2)
    assert (summary.seconds, summary.files_per_second, summary.peak_worker_bytes) == (5.5, 3.0, 70)


def test_nothing_to_do() -> None:
    """A run over no files divides by nothing."""
    summary = RunSummary.from_totals(Totals(), stages={"list": 0.0}, **ABOUT)
    assert (summary.files, summary.rows, summary.failed_share, summary.files_per_second) == (0, 0, 0.0, 0.0)


def test_json() -> None:
    """The dictionary is JSON, and says the same as the summary."""
    summary = RunSummary.from_totals(make_totals(), stages={"scan": 1 / 3, "tasks": 1 / 3}, **ABOUT)
    loaded = json.loads(json.dumps(summary.to_dict()))
    assert loaded["outcomes"][0] == {"status": "ok", "code": None, "files": 7}
    assert loaded["stages"]["scan"] == 0.333333 and loaded["files_per_second"] == 27.0
    assert set(loaded) == set(RunSummary.__dataclass_fields__)
