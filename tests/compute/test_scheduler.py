"""Which scheduler a run takes, and how many tasks run at once."""

from __future__ import annotations

import os
from math import inf

import pytest

from dicomflow.compute import choose_scheduler, count_workers, depends_on_job
from dicomflow.compute.scheduler import no_worker_seconds, paused_seconds
from tests.compute.running import make_compute, make_settings


@pytest.mark.parametrize(
    ("settings", "seconds", "expected"),
    [
        ({}, 0, "threads"),
        ({}, 4.9, "threads"),
        ({}, 5.0, "processes"),
        ({}, inf, "processes"),
        ({"workers": 1}, 5.0, "in-process"),
        ({"small_job_seconds": 0.1}, 0.1, "processes"),
        ({"small_job_seconds": 0}, 0, "processes"),
        ({"performance_report": "r.html"}, 1, "in-process"),
    ],
)
def test_choose_scheduler(settings: dict[str, object], seconds: float, expected: str) -> None:
    """``auto`` looks at how long the job takes, at the workers, and at what only a cluster can write."""
    assert depends_on_job(make_compute(**settings))
    assert choose_scheduler(make_compute(**settings), seconds) == expected


@pytest.mark.parametrize("scheduler", ["threads", "processes", "in-process", "tcp://host:8786"])
def test_what_is_named_is_taken(scheduler: str) -> None:
    """However long the job takes: nobody need look."""
    config = make_compute(scheduler=scheduler)
    assert not depends_on_job(config) and choose_scheduler(config, 0) == choose_scheduler(config, inf) == scheduler


def test_workers_that_come_by_need() -> None:
    """They are processes."""
    config = make_settings(cluster__adapt={"minimum": 0, "maximum": 3})
    assert not depends_on_job(config.compute, config.cluster)
    assert choose_scheduler(config.compute, 0, config.cluster) == "processes"


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
