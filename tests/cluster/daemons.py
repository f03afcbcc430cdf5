"""A real Dask scheduler and real Dask workers on loopback, as processes that a test may kill, stop and start.

with Daemons(tmp_path, workers=2, settings={"scheduler.worker-ttl": "3 s"}) as daemons:
    dicomflow.extract(source, dest, scheduler=daemons.address)
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

import dicomflow

HOME = Path(dicomflow.__file__).parents[1]
START_SECONDS = 120.0
"""So long a loaded machine may take to start Python."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Daemons:
    """One scheduler, some workers; each worker is a ``dask worker`` with a nanny, as users start them.

    The processes die with the block, however they are: killed, stopped or well.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        tls: Mapping[str, str] | None = None,
        dashboards: Sequence[int] = (),
    ) -> None:
        """Nothing is started.

        Args:
            folder: for logs and the workers' own files.
            workers: how many are started.
            settings: of ``distributed``, by dotted key.
            environment: of the workers.
            options: of each ``dask worker``.
            tls: ``ca_file``, ``cert`` and ``key`` of all, where they are to speak TLS.
            dashboards: ports of the scheduler's and the first workers' web servers; else the scheduler has one on any port.
        """
        self._folder = folder
        self._count = workers
        self._options = options
        self._tls = [part for name, path in (tls or {}).items() for part in (f"--tls-{name.replace('_', '-')}", path)]
        keys = {"scheduler.allowed-failures": "1", "scheduler.worker-saturation": "1.0", **(settings or {})}
        named = {f"DASK_DISTRIBUTED__{key.upper().replace('.', '__').replace('-', '_')}": keys[key] for key in keys}
        self._environment = {**os.environ, **named, **(environment or {}), "PYTHONPATH": str(HOME)}
        self._port = free_port()
        self.dashboard_port, *self._worker_ports = dashboards or [free_port()]
        self.dashboard = f"http://127.0.0.1:{self.dashboard_port}"
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self._port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.nannies: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self.start(self._count)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_all()

    def start(self, workers: int) -> None:
        """The scheduler, and meanwhile some workers, which look for it by themselves; what is left of others is ended before."""
        self._end_all()
        self._start_scheduler()
        for _ in range(workers):
            self._start_worker()
        self._wait_for_workers(workers)

    def _start_scheduler(self) -> None:
        """At the same address each time."""
        self.scheduler = self._run(
            "scheduler",
            *("--host", "127.0.0.1", "--port", str(self._port)),
            *("--dashboard-address", f"127.0.0.1:{self.dashboard_port}"),
            *(("--protocol", "tls") if self._tls else ()),
        )

    def _start_worker(self) -> None:
        number = len(self.nannies)
        web = (
            ("--dashboard-address", f"127.0.0.1:{self._worker_ports[number]}")
            if self._worker_ports
            else ("--no-dashboard",)
        )
        self.nannies.append(
            self._run(
                "worker",
                self.address,
                *("--nthreads", "1", "--host", "127.0.0.1", "--name", f"worker-{number + 1}", *web),
                *("--local-directory", str(self._folder / f"worker{number}")),
                *self._options,
            )
        )

    def _wait_for_workers(self, count: int) -> None:
        from distributed import Client

        self._wait_for_scheduler()
        with Client(self.address, timeout=START_SECONDS, set_as_default=False, security=self._security()) as client:
            client.wait_for_workers(count, timeout=START_SECONDS)

    def _wait_for_scheduler(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.05)
        raise TimeoutError(f"the scheduler did not start: {self.log()[-2000:]}")

    def _security(self) -> Any:
        from distributed import Security

        if not self._tls:
            return None
        ca_file, cert, key = self._tls[1::2]
        return Security(tls_ca_file=ca_file, tls_client_cert=cert, tls_client_key=key, require_encryption=True)

    def worker_processes(self) -> list[psutil.Process]:
        """The processes that run tasks: children of the nannies."""
        found = []
        for nanny in self.nannies:
            with contextlib.suppress(psutil.Error):
                children = psutil.Process(nanny.pid).children(recursive=True)
                found += [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        return found

    def kill_scheduler(self) -> None:
        """As if its machine had gone."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait(timeout=30)

    def log(self) -> str:
        """What all of them said so far."""
        return "".join(path.read_text("utf-8", "replace") for path in sorted(self._folder.glob("*.log")))

    def _run(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{kind}{len(self.nannies)}.log").open("ab") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *arguments, *self._tls]
            return subprocess.Popen(command, env=self._environment, stdout=log, stderr=log, start_new_session=True)

    def _end_all(self) -> None:
        for process in [*self.nannies, *([self.scheduler] if self.scheduler else [])]:
            self._end(process)
        self.nannies.clear()
        self.scheduler = None

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """The process and all that it started, stopped ones too."""
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.send_signal(signal.SIGKILL)
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
