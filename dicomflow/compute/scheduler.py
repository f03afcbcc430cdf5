"""Which scheduler a run takes, how many tasks it runs at once, and how long it waits for workers.

In: ``ComputeConfig``, ``ClusterConfig``, how long the job would take one process.  Out: a name, a number.  Pure.
"""

from __future__ import annotations

import os

from dicomflow.config import ClusterConfig, ComputeConfig

SAMPLING = {
    "distributed.worker.memory.monitor-interval": "500 ms",
    "distributed.worker.profile.interval": "200 ms",
    "distributed.worker.profile.cycle": "5000 ms",
    "distributed.admin.tick.interval": "200 ms",
    "distributed.admin.system-monitor.interval": "2 s",
}
"""How often Dask looks at itself: a tenth of its default (docs/notes.md, 12)."""

ALLOCATION = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 25,
}
"""When the malloc of glibc gives memory of a worker back to the system, in bytes.

Dask trims from 64 KB on, and whoever sets one of the two has glibc fix the other one at 128 KB (mallopt(3)): each larger block is
mapped, cleared by the system and given back, each time.
"""

NO_CLUSTER = ClusterConfig()
"""The section ``cluster:`` where it says nothing."""

NO_WORKER_SECONDS = {"slurm": 86_400.0, "pbs": 86_400.0, "kubernetes": 3600.0, "custom": 3600.0}
"""How long a cluster may be without workers: jobs may wait in a queue for hours, machines are rented in minutes."""

NO_WORKER_SECONDS_HERE = 120.0
"""The same of all others, whose workers are there or come at once."""


def depends_on_job(config: ComputeConfig, cluster: ClusterConfig = NO_CLUSTER) -> bool:
    """Whether it depends on the job which scheduler is taken."""
    return cluster.choose(config.scheduler) == "auto" and cluster.adapt is None


def choose_scheduler(config: ComputeConfig, seconds: float, cluster: ClusterConfig = NO_CLUSTER) -> str:
    """What ``auto`` means for a job that one process does in so many seconds; other settings are taken as they are.

    A cluster that the configuration describes is taken whatever the job.  Else a job of a few seconds takes Dask's threads in
    this process: starting workers would take longer than they save.
    """
    chosen = cluster.choose(config.scheduler)
    if chosen != "auto":
        return chosen
    if cluster.adapt is not None:
        return "processes"
    if seconds < config.small_job_seconds:
        return "threads" if config.performance_report is None else "in-process"
    return "in-process" if count_workers(config, "processes") == 1 else "processes"


def count_workers(config: ComputeConfig, scheduler: str, cluster: ClusterConfig = NO_CLUSTER) -> int:
    """How many tasks run at the same time on a cluster of our own; for an address, a guess for planning."""
    if cluster.adapt is not None:
        return cluster.adapt.maximum
    jobs = {"ssh": cluster.ssh, "slurm": cluster.slurm, "pbs": cluster.pbs}.get(scheduler)
    if jobs is not None:
        return jobs.workers
    if config.workers is not None and not (scheduler == "threads" and config.scheduler == "auto"):
        return config.workers
    if scheduler in ("threads", "in-process"):
        return 1  # threads of one process take turns for the interpreter: more only help where storage is slow
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def paused_seconds(config: ComputeConfig) -> float:
    """How long the run waits where all workers are paused: those that are still in a queue would be no better off."""
    return config.no_worker_seconds or NO_WORKER_SECONDS_HERE


def no_worker_seconds(config: ComputeConfig, scheduler: str) -> float:
    """How long the run waits where no worker is left, or none has come yet."""
    if config.no_worker_seconds is not None:
        return config.no_worker_seconds
    return NO_WORKER_SECONDS.get(scheduler, NO_WORKER_SECONDS_HERE)
