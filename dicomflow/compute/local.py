"""A Dask cluster of this machine: in this process, or worker processes.  Nothing of it listens beyond loopback by itself.

In: ``ComputeConfig``, ``ClusterConfig``.  Out: a ``LocalCluster``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dask

from dicomflow.compute.scheduler import count_workers
from dicomflow.compute.security import LOOPBACK, security_of_processes, web_server
from dicomflow.config import ClusterConfig, ComputeConfig

if TYPE_CHECKING:
    from distributed import LocalCluster

QUIET_WORKERS = {"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"}
"""Setting of Dask for as long as the cluster lives: a worker's level, read when it imports ``distributed``."""


@contextlib.contextmanager
def kept_environment() -> Iterator[None]:
    """Dask puts what workers are to have into the environment of this process, too, and leaves it there.

    Among it is their silence: a cluster that is started by SSH later, by a command that inherits it, would never be heard of.
    """
    names = [*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED"]
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start_local(config: ComputeConfig, scheduler: str, cluster: ClusterConfig) -> LocalCluster:
    """Start it with all its workers, or with the least number where they come by need.

    Raises:
        ComputeError: a certificate cannot be read, or made.
    """
    from distributed import LocalCluster

    in_process = scheduler == "in-process"
    security = None if in_process else security_of_processes(cluster)
    workers = count_workers(config, scheduler, cluster)
    processes = workers if cluster.adapt is None else cluster.adapt.minimum
    with warnings.catch_warnings():  # a port that is taken is replaced by a free one, and the address is printed
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        return LocalCluster(
            n_workers=1 if in_process else processes,
            threads_per_worker=workers if in_process else 1,
            processes=not in_process,
            memory_limit=config.memory_limit,
            host=None if in_process else "127.0.0.1",
            scheduler_kwargs=web_server(config.dashboard_address),
            worker_dashboard_address=config.worker_dashboard_address or LOOPBACK,
            security=security,
            silence_logs=logging.CRITICAL,
        )


def abandon(cluster: LocalCluster) -> None:
    """Nobody waits for what its workers are doing: have them end now."""
    for worker in list(cluster.workers.values()):
        if not cluster.processes:
            cluster.sync(worker.close, executor_wait=False)
        elif worker.pid is not None:
            worker.close_gracefully()  # a nanny starts no other worker in the place of the one that goes
            with contextlib.suppress(OSError):
                os.kill(worker.pid, signal.SIGKILL)
