"""Which scheduler a run takes, and how many tasks it runs at once.

In: ``ComputeConfig``, the number of files.  Out: a name, a number.  Pure.
"""

from __future__ import annotations

import os

from dicomflow.config import ComputeConfig


def choose_scheduler(config: ComputeConfig, files: int) -> str:
    """What ``auto`` means for this many files; other settings are taken as they are.

    A job of a second or two takes Dask's threads in this process: starting ``distributed`` would take longer than the job.
    """
    if config.scheduler != "auto":
        return config.scheduler
    if files < config.small_job_files:
        return "threads" if config.performance_report is None else "in-process"
    return "in-process" if count_workers(config, "processes") == 1 else "processes"


def count_workers(config: ComputeConfig, scheduler: str) -> int:
    """How many tasks run at the same time on a cluster of our own; for an address, a guess for planning."""
    if config.workers is not None and not (scheduler == "threads" and config.scheduler == "auto"):
        return config.workers
    if scheduler in ("threads", "in-process"):
        return 1  # threads of one process take turns for the interpreter: more only help where storage is slow
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
