"""Which scheduler a run takes, and how many tasks run at once."""

from __future__ import annotations

import os

import pytest

from dicomflow.compute import choose_scheduler, count_workers
from dicomflow.compute.scheduler import no_worker_seconds, paused_seconds
from tests.compute.running import make_compute, make_settings


@pytest.mark.parametrize(
    ("settings", "files", "expected"),
    [
        ({}, 0, "threads"),
        ({}, 19_999, "threads"),
        ({}, 20_000, "processes"),
        ({"workers": 1}, 20_000, "in-process"),
        ({"small_job_files": 5}, 5, "processes"),
        ({"small_job_files": 0}, 0, "processes"),
        ({"performance_report": "r.html"}, 1, "in-process"),
        ({"scheduler": "threads"}, 10**8, "threads"),
        ({"scheduler": "processes"}, 1, "processes"),
        ({"scheduler": "in-process"}, 10**8, "in-process"),
        ({"scheduler": "tcp://host:8786"}, 1, "tcp://host:8786"),
    ],
)
def test_choose_scheduler(settings: dict[str, object], files: int, expected: str) -> None:
    """Only ``auto`` looks at the number of files, at the workers, and at what only a cluster can write."""
    assert choose_scheduler(make_compute(**settings), files) == expected


def test_count_workers() -> None:
    """What is configured counts; else one in this process, and one per core in processes."""
    assert count_workers(make_compute(workers=7), "processes") == 7
    assert count_workers(make_compute(workers=7), "threads") == 1  # chosen by auto: threads would take turns
    assert count_workers(make_compute(workers=7, scheduler="threads"), "threads") == 7
    unset = make_settings().compute
    assert count_workers(unset, "threads") == count_workers(unset, "in-process") == 1
    assert count_workers(unset, "processes") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("scheduler", "seconds"),
    [
        ("processes", 120),
        ("tcp://127.0.0.1:1", 120),
        ("ssh", 120),
        ("kubernetes", 3600),
        ("slurm", 86_400),
        ("pbs", 86_400),
    ],
)
def test_patience_is_as_long_as_queues_are(scheduler: str, seconds: float) -> None:
    """Where jobs wait in a queue the run waits, too, but not for paused workers; a number in the configuration wins."""
    assert no_worker_seconds(make_settings().compute, scheduler) == seconds
    assert no_worker_seconds(make_settings(compute__no_worker_seconds=7).compute, scheduler) == 7
    assert paused_seconds(make_settings().compute) == 120
    assert paused_seconds(make_settings(compute__no_worker_seconds=7).compute) == 7
