"""How fast, how long still: by a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.model import BatchDone, ScanResult
from dicomflow.report.pace import IDLE_SECONDS, STALLED_SECONDS, WINDOW_SECONDS, Amount, Pace, Window
from dicomflow.summary import Totals


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A run of 10,000 files, in tasks of 1,000, told to a Pace."""

    def __init__(self, to_read: int = 10_000) -> None:
        self.clock = Clock()
        self.pace = Pace(self.clock)
        self.totals = Totals(listed=to_read, to_read=to_read)
        self.pace.note_stage("scan", self.totals)

    def batch(self, files: int, *, after: float = 0.0, task: str = "t", worker: str = "w", failed: int = 0) -> None:
        self.clock.now += after
        self.pace.note_batch(
            BatchDone(
                task_id=task,
                files=files,
                failed=failed,
                header_bytes=files * 10,
                file_bytes=files * 100,
                worker=worker,
            )
        )

    def result(self, files: int, *, after: float = 0.0, task: str = "t", failed: int = 0) -> None:
        self.clock.now += after
        counts = {("ok", None): files - failed, ("failed", "io_error"): failed}
        result = ScanResult(
            task_id=task, data_files=(), files=files, counts=counts, header_bytes=files * 10, file_bytes=files * 100
        )
        self.totals.add(result)
        self.pace.note_result(result)
        self.pace.note_stage("scan", self.totals)


def test_batches_move_it_before_any_task_is_done() -> None:
    """Files, bytes, failures and the time left come from batches alone."""
    run = Run()
    for _ in range(4):
        run.batch(250, after=1.0, failed=1)
    standing = run.pace.standing()
    assert (standing.done, standing.to_read, standing.failed) == (1000, 10_000, 4)
    assert standing.rate == Amount(250, 2500, 25_000)
    assert standing.seconds_left == 36.0


def test_paused_workers_are_known() -> None:
    """From the totals, as they change."""
    run = Run()
    run.totals.workers_running, run.totals.workers_paused = 3, 1
    assert (run.pace.standing().running, run.pace.standing().paused) == (3, 1)


def test_result_counts_what_its_batches_told_once() -> None:
    """Also when the totals know the result before or after we do."""
    run = Run()
    run.batch(600, after=1.0, failed=2)
    run.result(1000, after=1.0, failed=3)
    assert (run.pace.standing().done, run.pace.standing().failed) == (1000, 3)
    run.batch(10, task="u")
    assert run.pace.standing().done == 1010
    run.totals.done += 500  # the pipeline is one step ahead
    run.pace.note_stage("scan", run.totals)
    assert run.pace.standing().done == 1510


def test_lost_task_is_not_counted() -> None:
    """What a dead worker had read of a task is to be read again."""
    run = Run()
    run.result(1000, after=1.0)
    run.batch(900, after=1.0, task="lost")
    run.pace.note_lost("lost")
    assert run.pace.standing().done == 1000


def test_rate_is_of_late() -> None:
    """After an hour at 1,000 files/s the storage slows down: the rate says so within the window."""
    run = Run(to_read=10_000_000)
    for _ in range(3600):
        run.batch(1000, after=1.0)
    assert run.pace.standing().rate.files == pytest.approx(1000)
    for _ in range(int(WINDOW_SECONDS) + 1):
        run.batch(10, after=1.0)
    assert run.pace.standing().rate.files == pytest.approx(10)


def test_tasks_slower_than_the_window() -> None:
    """Where only results come, and one in thirty seconds, the rate never falls to nothing between two of them."""
    run = Run()
    for _ in range(4):
        run.result(300, after=30.0)
        assert run.pace.standing().rate.files == pytest.approx(10)
        run.clock.now += 15
        assert 0 < run.pace.standing().rate.files <= 10
        run.clock.now -= 15


def test_time_of_starting_a_cluster_does_not_count() -> None:
    """The clock starts where the pipeline last said that nothing is done."""
    run = Run()
    run.clock.now += 60
    run.pace.note_stage("scan", run.totals)
    run.batch(100, after=1.0)
    assert run.pace.standing().rate.files == pytest.approx(100)


def test_nobody_knows_while_listing_goes_on() -> None:
    """No time left is promised as long as files are still being found."""
    run = Run()
    run.totals.is_listing = True
    run.batch(100, after=1.0)
    standing = run.pace.standing()
    assert standing.listing and standing.seconds_left is None and standing.rate.files > 0
    run.totals.is_listing = False
    assert run.pace.standing().seconds_left is not None


def test_stalled() -> None:
    """Nothing for half a minute: no time left is promised, and it says since when."""
    run = Run()
    run.batch(100, after=1.0)
    run.clock.now += STALLED_SECONDS - 1
    assert run.pace.standing().seconds_stalled == 0
    run.clock.now += 1
    standing = run.pace.standing()
    assert standing.seconds_stalled == STALLED_SECONDS and standing.seconds_left is None
    run.batch(100, after=1.0)
    assert run.pace.standing().seconds_stalled == 0


def test_before_the_first_file() -> None:
    """No rate, no time left, nothing divided by zero."""
    for pace in (Pace(), Run().pace):
        standing = pace.standing()
        assert standing.done == 0 and standing.rate == Amount() and standing.seconds_left is None


def test_workers() -> None:
    """Each worker's own rate; one that has gone is not shown for ever."""
    run = Run()
    for _ in range(5):
        run.batch(10, after=1.0, task="a", worker="slow")
        run.batch(90, task="b", worker="fast")
    fast, slow = run.pace.standing().workers
    assert (fast.name, fast.files, slow.name, slow.files) == ("fast", 450, "slow", 50)
    assert fast.files_per_second / slow.files_per_second > 5
    run.batch(1, after=IDLE_SECONDS + 1, worker="fast")
    assert [worker.name for worker in run.pace.standing().workers] == ["fast"]


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 1000)), max_size=200))
def test_window_is_bounded_and_never_negative(steps: list[tuple[float, int]]) -> None:
    """Whatever comes when: few samples are kept, and no rate is above the fastest step or below zero."""
    window, now, files = Window(), 0.0, 0
    window.add(now, Amount())
    for step, count in steps:
        now, files = now + step, files + count
        window.add(now, Amount(files))
        assert window.rate(now).files >= 0
        assert len(window._samples) <= WINDOW_SECONDS / 0.2 + 5
    assert window.rate(now + 1).files <= sum(count for _, count in steps)
