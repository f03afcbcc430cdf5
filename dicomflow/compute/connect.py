"""Get a Dask client: of a cluster of our own, or of one that runs already.

In: ``ComputeConfig``, ``ClusterConfig``, a scheduler's name.  Out: a ``Connection``, which closes what it started, no more.
Knows no tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import dask

from dicomflow.compute.local import QUIET_WORKERS, abandon, kept_environment, start_local
from dicomflow.compute.remote import adapt_workers, close_cluster, scheduler_settings, start_remote
from dicomflow.compute.scheduler import NO_CLUSTER, no_worker_seconds, paused_seconds
from dicomflow.compute.security import client_arguments, is_loopback, security_of_address, warn_unencrypted
from dicomflow.compute.versions import check_scheduler, check_workers
from dicomflow.compute.watch import Terms
from dicomflow.config import KINDS, ClusterConfig, ComputeConfig
from dicomflow.errors import ComputeError, describe, first_line

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, Security


class Connection:
    """A ``distributed`` cluster: in this process, local processes, started elsewhere, or of an address; a context manager.

    Raises:
        ComputeError: on entering, if it cannot be reached or started.
    """

    def __init__(self, config: ComputeConfig, scheduler: str, cluster: ClusterConfig = NO_CLUSTER) -> None:
        self._config = config
        self._scheduler = scheduler
        self._cluster = cluster
        self._stack = contextlib.ExitStack()
        self._client: Client | None = None
        self._local: LocalCluster | None = None
        self._asked: set[str] = set()

    def __enter__(self) -> Self:
        try:
            client = self._connect()
            if self._config.performance_report is not None:
                self._start_report(client)
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
    def terms(self) -> Terms:
        """What is asked of its workers while tasks are in flight."""
        return Terms(
            missing_seconds=no_worker_seconds(self._config, self._scheduler),
            paused_seconds=paused_seconds(self._config),
            most_workers=self._cluster.adapt.maximum if self._cluster.adapt is not None else 0,
            check=self._check_workers,
        )

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, None where there is none that can be reached from here."""
        if self._client is None:
            return None
        if "://" in self._scheduler or self._scheduler in ("kubernetes", "custom"):
            return str(self._client.dashboard_link) or None
        host = self._config.dashboard_address.rpartition(":")[0]
        if not host or (self._scheduler == "ssh" and is_loopback(host)):
            return None
        port = self._client.scheduler_info()["services"].get("dashboard")
        return f"http://{host}:{port}/status" if port else None

    def _silence(self) -> None:
        """What ``distributed`` has to say comes back as ComputeError; its settings give each logger a level of its own."""
        for logger in map(logging.getLogger, list(logging.root.manager.loggerDict)):
            if logger.name.partition(".")[0] == "distributed":
                self._stack.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL)

    def _abandon_tasks(self) -> None:
        """After Ctrl-C nobody waits for what workers of this machine are doing; the run's staging is thrown away."""
        if self._local is not None:
            abandon(self._local)

    def _connect(self) -> Client:
        from distributed import Client

        # both after the import, which brings the defaults: leaving restores what was there on entering
        self._silence()
        where = self._reach() if "://" in self._scheduler else {"address": self._start()}
        client = self._client = self._stack.enter_context(Client(**where, set_as_default=False))
        client.loop.asyncio_loop.set_exception_handler(_ignore_late_timeouts)
        if "://" not in self._scheduler:  # what the workers talk to, even where we go by a forwarded port
            warn_unencrypted(str(client.scheduler_info()["address"]))
        if self._local is None:
            check_scheduler(client, self._config.connect_timeout)
            self._check_workers(client.nthreads().keys())
        return client

    def _check_workers(self, present: Collection[str]) -> None:
        """Workers that were not asked before are asked which dicomflow they have; those of this machine have ours."""
        new = set(present) - self._asked
        if new and self._local is None:
            self._asked |= new
            check_workers(self.client, self._config.connect_timeout, sorted(new))

    def _reach(self) -> dict[str, Any]:
        """The scheduler of an address."""
        security = security_of_address(self._cluster, self._scheduler)
        _knock(self._scheduler, self._config.connect_timeout, security)
        warn_unencrypted(self._scheduler)
        return {"address": self._scheduler, "timeout": self._config.connect_timeout, "security": security}

    def _start(self) -> object:
        """A cluster of our own."""
        self._stack.enter_context(dask.config.set(scheduler_settings(self._config)))  # for workers that come later, too
        if self._scheduler in KINDS:
            started: Any = start_remote(self._config, self._scheduler, self._cluster, self._stack)
        else:
            self._stack.enter_context(dask.config.set(QUIET_WORKERS))
            self._stack.enter_context(kept_environment())
            started = self._local = start_local(self._config, self._scheduler, self._cluster)
            self._stack.callback(close_cluster, started)
        if self._cluster.adapt is not None:
            adapt_workers(started, self._cluster.adapt)
        return started

    def _start_report(self, client: Client) -> None:
        from distributed import performance_report

        self._stack.enter_context(client.as_current())
        # with its scripts inside: they would be fetched from elsewhere, and not be there where no network is
        self._stack.enter_context(performance_report(filename=str(self._config.performance_report), mode="inline"))


def _ignore_late_timeouts(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Where a loop ends while Dask's ``BatchedSend`` waits for its next interval, the wait's timeout is nobody's any more."""
    if not ("future" in context and isinstance(context.get("exception"), TimeoutError)):
        loop.default_exception_handler(context)


def _knock(address: str, timeout: float, security: Security) -> None:
    """See whether a Dask scheduler answers; ``Client`` would wait for ever for a server that says nothing.

    Raises:
        OSError: nobody listens there, or nobody answers in time.
    """
    from distributed.core import connect

    async def ask() -> None:
        try:
            comm = await asyncio.wait_for(connect(address, timeout=timeout, **client_arguments(security)), timeout + 1)
            await comm.close()
        except TimeoutError:
            raise TimeoutError(f"no answer in {timeout:g} s") from None

    with ThreadPoolExecutor(1) as pool:  # in a notebook, a loop is running in this thread
        pool.submit(asyncio.run, ask()).result()


def _connection_message(scheduler: str, error: BaseException) -> str:
    reason = describe(error) if isinstance(error, OSError) and error.errno else first_line(error)
    if "://" in scheduler:
        return f"{scheduler}: no Dask scheduler can be reached there: {reason}"
    if scheduler in KINDS:
        return f"the {scheduler} cluster cannot be started: {reason}"
    return (
        f"the local Dask cluster cannot be started: {reason}; in a script, call extract below "
        "`if __name__ == '__main__':`, since worker processes import the script"
    )
