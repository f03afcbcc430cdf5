"""The numbers of a run: counted once, only growing, and no label but of a closed set."""

from __future__ import annotations

import pytest

from dicomflow.errors import Code, Status
from dicomflow.metrics import ACTIVITIES, OTHER, RunMetrics, known_outcome
from dicomflow.model import LATENCY_BUCKETS, BatchDone, ScanResult
from dicomflow.summary import Totals

LATENCY = tuple(range(len(LATENCY_BUCKETS) + 1))


def result(**given: object) -> ScanResult:
    """A task of ten files, two of which failed."""
    counts = {("ok", None): 8, ("failed", "io_error"): 2}
    facts: dict[str, object] = {"task_id": "t", "data_files": (), "files": 10, "counts": counts, "header_bytes": 100}
    return ScanResult(**{**facts, "file_bytes": 1000, "retries": 4, **given})  # type: ignore[arg-type]


def numbers(metrics: RunMetrics) -> tuple[int, int, int, int]:
    """What grows while tasks are under way."""
    return metrics.files_read, metrics.header_bytes, metrics.file_bytes, metrics.retries


def test_batches_then_the_result_count_once() -> None:
    """What batches told before is not told again by the result."""
    metrics = RunMetrics()
    metrics.on_batch(BatchDone(task_id="t", files=6, header_bytes=60, file_bytes=600, retries=1, worker="w"))
    assert numbers(metrics) == (6, 60, 600, 1) and not metrics.files
    metrics.on_result(result())
    assert numbers(metrics) == (10, 100, 1000, 4)
    assert metrics.files == {("ok", ""): 8, ("failed", "io_error"): 2}
    metrics.on_result(result(task_id="u"))  # one that told nothing before
    assert numbers(metrics) == (20, 200, 2000, 8) and metrics.tasks_done == 2


def test_counters_only_grow() -> None:
    """A task that is lost and read again was read twice: taking it back would look like a new process."""
    metrics = RunMetrics()
    metrics.on_batch(BatchDone(task_id="t", files=6, header_bytes=60, file_bytes=600, worker="w"))
    metrics.on_task_lost("t")
    assert metrics.files_read == 6 and metrics.tasks_lost == 1
    metrics.on_batch(BatchDone(task_id="t", files=6, header_bytes=60, file_bytes=600, worker="x"))
    metrics.on_result(result())
    assert numbers(metrics)[:2] == (16, 160)
    metrics.on_result(result(files=0, header_bytes=0, file_bytes=0, retries=0, counts={}))
    assert numbers(metrics)[:2] == (16, 160)


def test_latencies_are_added_up_and_strange_ones_left_out() -> None:
    """Bins of this version are summed with the seconds of reading; bins of another version cannot be."""
    metrics = RunMetrics()
    seconds = {"read": 1.0, "inflate": 0.5, "scan": 0.25, "decode": 9.0}
    metrics.on_result(result(latency=LATENCY, seconds=seconds))
    metrics.on_result(result(latency=LATENCY, seconds=seconds))
    metrics.on_result(result(latency=(1, 2, 3), seconds=seconds))
    assert metrics.file_seconds.counts == [2 * count for count in LATENCY]
    assert metrics.file_seconds.sum == 3.5
    assert list(metrics.file_seconds.cumulative())[-1] == ("+Inf", 2 * sum(LATENCY))


def test_activities_per_task() -> None:
    """Each task is one observation for each of its activities; unknown ones are no labels."""
    metrics = RunMetrics()
    metrics.on_result(result(seconds={"read": 0.02, "decode": 4.0, "Doe^Jane": 1.0}))
    assert set(metrics.activity_seconds) == set(ACTIVITIES)
    assert (metrics.activity_seconds["read"].sum, metrics.activity_seconds["decode"].sum) == (0.02, 4.0)
    assert sum(metrics.activity_seconds["write"].counts) == 0


def test_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wall time goes to the stage that the run is in, also while it is, and when it comes back to one."""
    now = 0.0
    monkeypatch.setattr("dicomflow.metrics.time.monotonic", lambda: now)
    metrics = RunMetrics()
    for stage, seconds in (("list", 1.0), ("scan", 10.0), ("publish", 2.0), ("scan", 5.0), ("compact files", 3.0)):
        metrics(stage, Totals(listed=3, to_read=2, peak_rss=7))
        now += seconds
    assert metrics.seconds_by_stage() == {"list": 1.0, "plan": 0.0, "scan": 15.0, "publish": 2.0, "compact": 3.0}
    assert (metrics.listed, metrics.to_read, metrics.peak_rss) == (3, 2, 7)
    metrics("Doe^Jane", Totals())
    metrics.on_end(None, Totals())
    now += 100
    assert sum(metrics.seconds_by_stage().values()) == 21.0 and metrics.stage is None


def test_end() -> None:
    """What the ledger holds is known when the run is over, and only if it ended well."""
    metrics = RunMetrics("1.2.3")
    metrics.on_begin("run")
    metrics("scan", Totals(in_flight=3))
    metrics.on_batch(BatchDone(task_id="t", files=6))
    assert (metrics.tasks_in_flight, metrics.tasks_queued, metrics.success) == (3, 2, None)
    metrics.on_end(OSError(), Totals(counts={("ok", None): 1}))
    assert metrics.success is False and metrics.ledger == {} and metrics.tasks_in_flight == 0
    metrics.on_end(None, Totals(counts={("ok", None): 1, ("ok", "new"): 1, ("ok", "newer"): 2}))
    assert metrics.success and metrics.ledger == {("ok", ""): 1, ("ok", OTHER): 3}
    assert metrics.ended >= metrics.began > 0


def test_labels_are_words_of_closed_sets() -> None:
    """Whatever a worker says, no text of its own becomes a label."""
    assert known_outcome("Doe^Jane", "19700101") == (OTHER, OTHER)
    for status in Status:
        for code in Code:
            assert known_outcome(status, code) == (str(status), str(code))
