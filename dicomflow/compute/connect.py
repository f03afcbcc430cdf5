"""Get a Dask client: of a cluster of our own, or of one that runs already.

In: ``ComputeConfig``, a scheduler's name.  Out: a ``Connection``, which closes what it started and nothing else.
Knows no tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dicomflow.compute.scheduler import count_workers
from dicomflow.config import ComputeConfig
from dicomflow.errors import ComputeError, describe

if TYPE_CHECKING:
    from distributed import Client, LocalCluster


class Connection:
    """A ``distributed`` cluster: in this process, local processes, or that of an address; a context manager.

    Raises:
        ComputeError: on entering, if it cannot be reached or started.
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
    def client(self) -> Client:
        """The client, while the connection is open."""
        if self._client is None:
            raise ComputeError("the cluster was not entered")
        return self._client

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


def _connection_message(scheduler: str, error: BaseException) -> str:
    reason = describe(error) if isinstance(error, OSError) and error.errno else first_line(error)
    if "://" in scheduler:
        return f"{scheduler}: no Dask scheduler can be reached there: {reason}"
    return (
        f"the local Dask cluster cannot be started: {reason}; in a script, call extract below "
        "`if __name__ == '__main__':`, since worker processes import the script"
    )


def first_line(error: BaseException) -> str:
    """What an exception says, cut short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
