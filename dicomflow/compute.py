"""Run scan tasks as a Dask bag on whichever cluster the configuration names.

In: tasks, a function, ``ComputeConfig``.  Out: results as they complete.  The only module that imports Dask; knows no DICOM.

The heart is ``dask.bag.from_sequence(tasks, npartitions=len(tasks)).map(function)``: one partition of the bag per task, so
that the scheduler balances, retries and shows them by name on its dashboard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

import dask
import dask.bag
import dask.local
import dask.threaded

from dicomflow.config import ComputeConfig
from dicomflow.errors import ComputeError, describe

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    from distributed import Client, LocalCluster

Task = TypeVar("Task")
Result = TypeVar("Result")

DaskFrame: TypeAlias = "dask.dataframe.DataFrame"

NO_WORKER_SECONDS = 120.0
"""So long a cluster may be without any worker."""


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


def open_cluster(config: ComputeConfig, scheduler: str) -> Cluster:
    """The cluster that a scheduler's name (see ``choose_scheduler``) stands for; a context manager.

    Raises:
        ComputeError: it cannot write the performance report that is asked for; on entering, if it cannot be reached or
            started.
    """
    if config.performance_report is not None:
        _check_report(config.performance_report, scheduler)
    return ThreadsCluster(config) if scheduler == "threads" else DistributedCluster(config, scheduler)


def _check_report(path: Path, scheduler: str) -> None:
    """Find out before the run, not after it."""
    if scheduler == "threads":
        raise ComputeError("the threads scheduler has no performance report; take in-process, processes or an address")
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise ComputeError(f"{path}: the performance report cannot be written: {describe(error)}") from None


class Cluster(Protocol):
    """Something that maps a function over tasks as a Dask bag."""

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, None where there is none."""

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], name: str, done: Callable[[Result], None]
    ) -> None:
        """Map over the tasks; hand each result to ``done`` when it is there, in no particular order.

        Raises:
            ComputeError: the cluster was lost.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def _make_bag(function: Callable[[Task], Result], tasks: Sequence[Task], name: str) -> dask.bag.Bag:
    """One partition per task; Dask derives the tasks' names from the function's."""
    return dask.bag.from_sequence(tasks, npartitions=len(tasks)).map(_Named(function, name))


class _Named:
    """A function under a telling name."""

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        self._function = function
        self.__name__ = name

    def __call__(self, task: Any) -> Any:
        return self._function(task)


class ThreadsCluster:
    """Dask's own scheduler on threads of this process: no start-up, no dashboard."""

    dashboard: str | None = None

    def __init__(self, config: ComputeConfig) -> None:
        self._workers = count_workers(config, "threads")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], name: str, done: Callable[[Result], None]
    ) -> None:
        """See ``Cluster.map``."""
        bag = _make_bag(_HandOver(function, done), tasks, name)
        # the functions themselves: by name, Dask would import ``distributed`` only to see whether a client is there
        get = dask.local.get_sync if self._workers == 1 else dask.threaded.get
        dask.compute(bag, scheduler=get, num_workers=self._workers)


class _HandOver:
    """Hands each result over where it is made, one at a time: the tasks run in this process."""

    def __init__(self, function: Callable[[Any], Any], done: Callable[[Any], None]) -> None:
        self._function = function
        self._done = done
        self._lock = threading.Lock()

    def __call__(self, task: Any) -> None:
        result = self._function(task)
        with self._lock:
            self._done(result)


class DistributedCluster:
    """A ``distributed`` cluster: in this process, local processes, or that of an address.

    Leaving it closes what it started and nothing else.
    """

    def __init__(self, config: ComputeConfig, scheduler: str) -> None:
        self._config = config
        self._scheduler = scheduler
        self._stack = contextlib.ExitStack()
        self._client: Client | None = None
        self._local: LocalCluster | None = None

    def __enter__(self) -> Self:
        try:
            self._client = self._connect()
            if self._config.performance_report is not None:
                self._start_report(self._client)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            self._stack.close()
            raise ComputeError(_connection_message(self._scheduler, error)) from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self._abandon_tasks()
        with contextlib.suppress(OSError, TimeoutError):
            self._stack.__exit__(kind, error, traceback)

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, None where there is none."""
        if self._client is None:
            return None
        if "://" in self._scheduler:
            return str(self._client.dashboard_link) or None
        if not self._config.dashboard_address:
            return None
        services = self._client.scheduler_info()["services"]
        host = self._config.dashboard_address.rpartition(":")[0]
        return f"http://{host}:{services['dashboard']}/status" if services.get("dashboard") else None

    def map(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], name: str, done: Callable[[Result], None]
    ) -> None:
        """See ``Cluster.map``."""
        from distributed import KilledWorker, as_completed, futures_of

        if self._client is None:
            raise ComputeError("the cluster was not entered")
        futures = futures_of(self._client.persist(_make_bag(function, tasks, name), optimize_graph=False))
        try:
            with self._watch_workers(futures):
                for _, partition in as_completed(futures, loop=self._client.loop, with_results=True):
                    if isinstance(partition, CancelledError):  # Dask hands it out as if it were the result
                        raise partition
                    for result in partition:
                        done(result)
        except (TimeoutError, CancelledError, OSError) as error:
            raise ComputeError(f"the Dask cluster was lost: {_first_line(error)}") from error
        except KilledWorker as error:
            raise ComputeError(f"workers died again and again, of too little memory? {_first_line(error)}") from None
        finally:
            self._cancel(futures)

    @contextlib.contextmanager
    def _watch_workers(self, futures: list[Any]) -> Iterator[None]:
        """Dask waits for ever where no worker is left; after ``NO_WORKER_SECONDS`` the tasks are cancelled, which ends it."""
        ended = threading.Event()
        threading.Thread(target=self._cancel_without_workers, args=(futures, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _cancel_without_workers(self, futures: list[Any], ended: threading.Event) -> None:
        last = time.monotonic()
        while not ended.wait(NO_WORKER_SECONDS / 20):
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                if self._client is None or self._client.nthreads():
                    last = time.monotonic()
                elif time.monotonic() - last > NO_WORKER_SECONDS:
                    self._cancel(futures)
                    return

    def _cancel(self, futures: list[Any]) -> None:
        """Have the scheduler forget the tasks, if it is still there to be told."""
        if self._client is not None and self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):
                self._client.cancel(futures)

    def _silence(self) -> None:
        """What ``distributed`` has to say comes back as ComputeError; its settings give each logger a level of its own."""
        for logger in map(logging.getLogger, list(logging.root.manager.loggerDict)):
            if logger.name.partition(".")[0] == "distributed":
                self._stack.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL)

    def _abandon_tasks(self) -> None:
        """After Ctrl-C nobody waits for what workers of ours are doing; the run's staging is thrown away."""
        if self._local is None:
            return
        for worker in list(self._local.workers.values()):
            if self._scheduler == "in-process":
                self._local.sync(worker.close, executor_wait=False)
            elif worker.pid is not None:
                worker.close_gracefully()  # a nanny starts no other worker in the place of the one that goes
                with contextlib.suppress(OSError):
                    os.kill(worker.pid, signal.SIGKILL)

    def _connect(self) -> Client:
        from distributed import Client

        # both after the import, which brings the defaults: leaving restores what was there on entering
        self._silence()
        if "://" in self._scheduler:
            where: dict[str, Any] = {"address": self._scheduler, "timeout": self._config.connect_timeout}
            _knock(self._scheduler, self._config.connect_timeout)
        else:
            where = {"address": self._start_local()}
        return self._stack.enter_context(Client(**where, set_as_default=False))

    def _start_local(self) -> object:
        from distributed import LocalCluster

        in_process = self._scheduler == "in-process"
        workers = count_workers(self._config, self._scheduler)
        with warnings.catch_warnings():  # a port that is taken is replaced by a free one, and the address is printed
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            self._local = LocalCluster(
                n_workers=1 if in_process else workers,
                threads_per_worker=workers if in_process else 1,
                processes=not in_process,
                memory_limit=self._config.memory_limit,
                host=None if in_process else "127.0.0.1",
                dashboard_address=self._config.dashboard_address or None,
                worker_dashboard_address="127.0.0.1:0",  # each worker has a web server, which would listen to the world
                silence_logs=logging.CRITICAL,
            )
        return self._stack.enter_context(self._local)

    def _start_report(self, client: Client) -> None:
        from distributed import performance_report

        self._stack.enter_context(client.as_current())
        self._stack.enter_context(performance_report(filename=str(self._config.performance_report)))


def _knock(address: str, timeout: float) -> None:
    """See whether a Dask scheduler answers; ``Client`` would wait for ever for a server that says nothing.

    Raises:
        OSError: nobody listens there, or nobody answers in time.
    """
    from distributed import Security
    from distributed.core import connect

    async def ask() -> None:
        try:
            options = Security().get_connection_args("client")
            comm = await asyncio.wait_for(connect(address, timeout=timeout, **options), timeout + 1)
            await comm.close()
        except TimeoutError:
            raise TimeoutError(f"no answer in {timeout:g} s") from None

    with ThreadPoolExecutor(1) as pool:  # in a notebook, a loop is running in this thread
        pool.submit(asyncio.run, ask()).result()


def make_frame(read: Callable[[Any], pd.DataFrame], pieces: Sequence[Any], empty: pd.DataFrame) -> DaskFrame:
    """A Dask DataFrame with one partition for each of ``pieces``, read where it is computed.

    Args:
        read: a piece -> its rows; can be pickled.
        pieces: at least one.
        empty: no rows, with the columns and types of all partitions.
    """
    import dask.dataframe  # nothing else needs it

    with dask.config.set({"dataframe.convert-string": False}):  # values are what pandas alone would have
        return dask.dataframe.from_map(read, pieces, meta=empty, enforce_metadata=False, label="instances")


def record_stages(seconds: dict[str, float]) -> None:
    """Book seconds by stage in Dask's Fine Performance Metrics; does nothing where ``distributed`` is not in use."""
    if "distributed" in sys.modules:
        from distributed.metrics import context_meter

        for stage, spent in seconds.items():
            context_meter.digest_metric(stage, spent, "seconds")


def _connection_message(scheduler: str, error: BaseException) -> str:
    reason = describe(error) if isinstance(error, OSError) and error.errno else _first_line(error)
    if "://" in scheduler:
        return f"{scheduler}: no Dask scheduler can be reached there: {reason}"
    return (
        f"the local Dask cluster cannot be started: {reason}; in a script, call extract below "
        "`if __name__ == '__main__':`, since worker processes import the script"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
