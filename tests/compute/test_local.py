"""A cluster of this machine: nothing of it listens to the world, and Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.request

import psutil
import pytest

from dicomflow.compute import Cluster, Handlers, Note, open_cluster
from tests.compute.running import make_compute


def sleep(task: float, note: Note) -> float:
    time.sleep(task)
    return task


@pytest.mark.parametrize("scheduler", ["in-process", "processes"])
def test_interrupt_does_not_wait_for_tasks(scheduler: str) -> None:
    """Ctrl-C while tasks are busy for a long time: nobody waits for them, and their processes are gone."""
    children = set(psutil.Process().children(recursive=True))
    pressed: list[float] = []

    def press() -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def run(cluster: Cluster) -> None:
        threading.Timer(1.0, press).start()
        cluster.map(sleep, [40.0] * 4, name="sleep", on=Handlers(done=lambda _: None))

    with (
        pytest.raises(KeyboardInterrupt),
        open_cluster(make_compute(scheduler=scheduler, workers=2), scheduler) as cluster,
    ):
        run(cluster)
    assert time.monotonic() - pressed[0] < 5
    busy = [
        child for child in set(psutil.Process().children(recursive=True)) - children if "spawn_main" in str(cmd(child))
    ]
    assert busy == []


def cmd(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


def test_dashboard_on_loopback_only() -> None:
    """The dashboard answers at the address it names, and no port listens to the world."""
    config = make_compute(dashboard_address="127.0.0.1:0", workers=1)
    before = set(listening())
    with open_cluster(config, "in-process") as cluster:
        assert cluster.dashboard is not None and cluster.dashboard.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(cluster.dashboard, timeout=30) as response:
            assert response.status == 200 and b"Dask" in response.read()
        port = int(cluster.dashboard.split(":")[2].split("/")[0])
        opened = set(listening()) - before
    assert ("127.0.0.1", port) in opened
    assert {host for host, _ in opened} <= {"127.0.0.1", "::1"}


def listening() -> list[tuple[str, int]]:
    """Sockets of this process and its children that wait for connections."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = []
    for process in processes:
        try:
            found += [
                (c.laddr.ip, c.laddr.port) for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN
            ]
        except psutil.Error:
            continue
    return found


def test_dashboard_port_that_is_taken(recwarn: pytest.WarningsRecorder) -> None:
    """A second run on one machine gets a dashboard of its own, without a warning."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        config = make_compute(dashboard_address=f"127.0.0.1:{taken}")
        with open_cluster(config, "in-process") as cluster:
            assert cluster.dashboard is not None and f":{taken}/" not in cluster.dashboard
    assert not [warning for warning in recwarn if "already in use" in str(warning.message)]
