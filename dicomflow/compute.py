"""Run scan tasks as a Dask bag on whichever cluster the configuration names.

In: tasks, a function, ``ComputeConfig``.  Out: results as they complete.  The only module that imports Dask; knows no DICOM.

The heart is ``dask.bag.from_sequence(tasks, npartitions=len(tasks)).map(function)``: one partition of the bag per task, so
that the scheduler balances, retries and shows them by name on its dashboard.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import dask
import dask.bag
from distributed import Client, LocalCluster, as_completed, futures_of, performance_report
from distributed.metrics import context_meter

from dicomflow.config import ComputeConfig
from dicomflow.dataset.storage import describe
from dicomflow.errors import ComputeError

Task = TypeVar("Task")
Result = TypeVar("Result")

_DASK_SETTINGS = {
    "distributed.comm.timeouts.connect": "30s",
    "distributed.scheduler.allowed-failures": 3,
    "distributed.worker.profile.enabled": True,
    "distributed.dashboard.link": "{scheme}://{host}:{port}/status",
}


def choose_scheduler(config: ComputeConfig, files: int) -> str:
    """What ``auto`` means for this many files; other settings are taken as they are."""
    if config.scheduler != "auto":
        return config.scheduler
    cores = os.cpu_count() or 1
    return "in-process" if files < config.small_job_files or (config.workers or cores) == 1 else "processes"


def count_workers(config: ComputeConfig, scheduler: str) -> int:
    """How many tasks run at the same time on a cluster of our own; for an address, a guess for planning."""
    if scheduler == "in-process":
        return config.workers or 1
    return config.workers or os.cpu_count() or 1


class Cluster:
    """A Dask cluster: its own (in this process, or local processes), or that of an address.

    Use it as a context manager; leaving it closes what it started and nothing else.
    """

    def __init__(self, config: ComputeConfig, scheduler: str) -> None:
        self._config = config
        self._scheduler = scheduler
        self._stack = contextlib.ExitStack()
        self.client: Client | None = None

    def __enter__(self) -> Cluster:
        logging.getLogger("distributed").setLevel(logging.ERROR)  # lost workers and timeouts come back as ComputeError
        self._stack.enter_context(dask.config.set(_DASK_SETTINGS))
        self._stack.enter_context(_quiet_ports())
        try:
            self.client = self._stack.enter_context(Client(**self._client_arguments(), set_as_default=False))
            if self._config.performance_report:
                self._stack.enter_context(self.client.as_current())
                report = performance_report(filename=str(self._config.performance_report))
                self._stack.enter_context(report)
        except BaseException as error:
            self._stack.close()
            if isinstance(error, (OSError, TimeoutError, ValueError, RuntimeError)):
                raise ComputeError(_connection_message(self._scheduler, error)) from None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            self._stack.close()

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, None where there is none."""
        if self.client is None or (self._config.dashboard_address == "" and "://" not in self._scheduler):
            return None
        return str(self.client.dashboard_link) if self.client.dashboard_link else None

    @property
    def workers(self) -> int:
        """Threads of the workers that are there now."""
        return sum(self.client.nthreads().values()) if self.client else 0

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task], name: str) -> Iterator[Result]:
        """Map over the tasks as a bag and yield each result when it is there, in no particular order.

        Raises:
            ComputeError: the cluster was lost, or a task failed for a reason that is none of its files'.
        """
        if not tasks or self.client is None:
            return
        bag = dask.bag.from_sequence(tasks, npartitions=len(tasks)).map(_Named(function, name))
        futures = futures_of(self.client.persist(bag, optimize_graph=True))
        try:
            for _, partition in as_completed(futures, loop=self.client.loop, with_results=True):
                yield from partition
        except (OSError, TimeoutError) as error:
            raise ComputeError(f"the Dask cluster was lost: {error}") from error
        finally:
            self.client.cancel(futures)

    def _client_arguments(self) -> dict[str, Any]:
        if "://" in self._scheduler:
            return {"address": self._scheduler, "timeout": self._config.connect_timeout}
        in_process = self._scheduler == "in-process"
        workers = count_workers(self._config, self._scheduler)
        cluster = LocalCluster(
            n_workers=1 if in_process else workers,
            threads_per_worker=workers if in_process else 1,
            processes=not in_process,
            memory_limit=self._config.memory_limit,
            host=None if in_process else "127.0.0.1",
            dashboard_address=self._config.dashboard_address or None,
            silence_logs=logging.CRITICAL,
        )
        self._stack.enter_context(cluster)
        return {"address": cluster}


class _Named:
    """A function under a telling name: Dask derives the names of tasks from it."""

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        self._function = function
        self.__name__ = name

    def __call__(self, task: Any) -> Any:
        return self._function(task)


def record_stages(seconds: dict[str, float]) -> None:
    """Book seconds by stage in Dask's Fine Performance Metrics; does nothing outside a worker."""
    for stage, spent in seconds.items():
        context_meter.digest_metric(stage, spent, "seconds")


@contextlib.contextmanager
def _quiet_ports() -> Iterator[None]:
    """A dashboard port that is taken is replaced by a free one; the address is printed, a warning would only confuse."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        yield


def _connection_message(scheduler: str, error: BaseException) -> str:
    reason = describe(error) if isinstance(error, OSError) and error.errno else str(error).splitlines()[0][:200]
    if "://" in scheduler:
        return f"{scheduler}: no Dask scheduler can be reached there: {reason}"
    return f"the local Dask cluster cannot be started: {reason}"
