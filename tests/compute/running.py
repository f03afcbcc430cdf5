"""What the tests of clusters share: settings, tasks, and a way to run them."""

from __future__ import annotations

import os
import time
from typing import Any

from dicomflow.compute import Handlers, Note, choose_scheduler, open_cluster
from dicomflow.config import ComputeConfig, Config, load_config

QUIET = {"compute.dashboard_address": "", "compute.worker_dashboard_address": ""}


def make_settings(**settings: Any) -> Config:
    """Settings by dotted key, with two underscores for the dot."""
    return load_config(None, QUIET | {key.replace("__", "."): value for key, value in settings.items()})


def make_compute(**settings: Any) -> ComputeConfig:
    """The section ``compute:`` alone, for two workers."""
    return make_settings(
        **{"compute__workers": 2} | {f"compute__{key}": value for key, value in settings.items()}
    ).compute


def twice(task: int, _note: Note) -> int:
    return 2 * task


def double(task: int, _note: Note) -> tuple[int, int]:
    return 2 * task, os.getpid()


def slow(task: int, _note: Note) -> int:
    time.sleep(0.1)
    return task


def run_doubles(config: Config, count: int = 12) -> tuple[list[int], set[int]]:
    """Double the first numbers on the cluster of the configuration: results, and the processes that they are from."""
    scheduler = choose_scheduler(config.compute, count, config.cluster)
    found: list[tuple[int, int]] = []
    with open_cluster(config.compute, scheduler, config.cluster) as cluster:
        cluster.map(double, range(count), name="double", on=Handlers(done=found.append))
    return sorted(value for value, _ in found), {process for _, process in found}
