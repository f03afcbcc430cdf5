"""Certificates of a run on the machines that it reaches by SSH: files for their owner's eyes, for as long as the run lasts.

In: a ``Security`` that exists in memory, hosts.  Out: one that names files there.  Knows no tasks, and starts nothing.

``SSHCluster`` hands settings over in the command line of what it starts, which others on that machine can read: the key goes
another way, by the standard input of a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dicomflow.compute.security import CERTIFICATES, is_in_memory
from dicomflow.errors import first_line
from dicomflow.log import get_logger

if TYPE_CHECKING:
    from distributed import Security

_log = get_logger("compute")

AT_ONCE = 32
"""Machines that are spoken to at the same time."""

COMMAND_SECONDS = 60.0
"""So long a shell may take to write a file of a few kilobytes."""

FOLDER = "/tmp/.dicomflow-tls-{}"  # noqa: S108  made by ``mkdir``, which fails if anybody else was there before
"""The same on each machine, and of a name that nobody can guess."""


@contextlib.contextmanager
def shared_by_ssh(
    security: Security | None, hosts: Sequence[str], options: Mapping[str, Any], asyncssh: ModuleType
) -> Iterator[Security | None]:
    """For processes on other machines: certificates that exist in memory only lie there in files, which go at the end.

    Args:
        security: what the cluster has.
        hosts: of the cluster; one may be named twice.
        options: of ``asyncssh.connect``.
        asyncssh: the package.

    Raises:
        OSError, asyncssh.Error: a machine cannot be reached, or takes no files.
    """
    if security is None or not is_in_memory(security.tls_worker_key):
        yield security
        return
    folder, shared = FOLDER.format(secrets.token_hex(16)), copy.copy(security)
    machines = _Machines(sorted(set(hosts)), options, asyncssh)
    try:
        files = {}
        for name in CERTIFICATES:
            path = f"{folder}/{name}.pem"
            files[path] = getattr(security, name)
            setattr(shared, name, path)
        for role in ("client", "scheduler"):
            setattr(shared, f"tls_{role}_cert", shared.tls_worker_cert)
            setattr(shared, f"tls_{role}_key", shared.tls_worker_key)
        # a host with two names has the folder already, and it is ours
        machines.run(f"mkdir -m 700 {folder} 2>/dev/null || test -O {folder}")
        for path, text in files.items():
            machines.run(f"umask 077 && cat > {path}", text)
        yield shared
    finally:
        try:
            machines.run(f"rm -rf {folder}")
        except Exception as error:  # noqa: BLE001  asyncssh has errors of its own; the certificates are of no use by now
            _log.warning("certificates_not_removed", folder=folder, reason=first_line(error))


class _Machines:
    """Runs a command on all of them."""

    def __init__(self, hosts: Sequence[str], options: Mapping[str, Any], asyncssh: ModuleType) -> None:
        self._hosts = hosts
        self._options = options
        self._asyncssh = asyncssh

    def run(self, command: str, text: str = "") -> None:
        """The command, with this text on its standard input; the first that fails is raised."""
        with ThreadPoolExecutor(1) as pool:  # in a notebook, a loop is running in this thread
            pool.submit(asyncio.run, self._run_everywhere(command, text)).result()

    async def _run_everywhere(self, command: str, text: str) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def in_turn(work: Coroutine[Any, Any, None]) -> None:
            async with free:
                await work

        await asyncio.gather(*(in_turn(self._run(host, command, text)) for host in self._hosts))

    async def _run(self, host: str, command: str, text: str) -> None:
        async with self._asyncssh.connect(host, **self._options) as connection:
            await connection.run(command, input=text, check=True, timeout=COMMAND_SECONDS)
