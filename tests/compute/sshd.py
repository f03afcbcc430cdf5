"""An SSH server on loopback, a process of its own, that runs commands in a shell: what SSHCluster needs of a host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncssh


class _AnyUser(asyncssh.SSHServer):
    """Of a test: nobody is asked for a key."""

    def begin_auth(self, _username: str) -> bool:
        return False


@contextlib.contextmanager
def ssh_server(log: Path) -> Iterator[int]:
    """A port of 127.0.0.1; the commands that are run stand in ``log``, one per line."""
    command = [sys.executable, "-m", "tests.compute.sshd", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


async def _serve(process: asyncssh.SSHServerProcess[str], log: Path, children: set[int]) -> None:
    with log.open("a") as lines:
        lines.write(f"{process.command}\n")
    child = await asyncio.create_subprocess_shell(
        process.command or "",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    children.add(child.pid)
    feeding = asyncio.create_task(
        _feed(process.stdin, child.stdin)
    )  # ends with the client, which may not end before the child
    await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
    code = await child.wait()
    feeding.cancel()
    children.discard(child.pid)
    with contextlib.suppress(OSError, asyncssh.Error):
        process.exit(code)


async def _feed(source: asyncssh.SSHReader[str], sink: asyncio.StreamWriter | None) -> None:
    assert sink is not None
    with contextlib.suppress(OSError, asyncssh.Error):
        while said := await source.read(65_536):
            sink.write(said.encode())
            await sink.drain()
        sink.close()


async def _pump(source: asyncio.StreamReader | None, sink: asyncssh.SSHWriter[str]) -> None:
    """All that the command says before its end is told; a client that has gone hears nothing."""
    assert source is not None
    while said := await source.read(65_536):
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(said.decode("utf-8", "replace"))


def _end(children: set[int]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    os._exit(0)


async def _main(log: Path) -> None:
    children: set[int] = set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _end, children)
    server = await asyncssh.create_server(
        _AnyUser,
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=lambda process: _serve(process, log, children),
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
