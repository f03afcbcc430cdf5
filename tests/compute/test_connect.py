"""How a client is had, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import distributed
import pytest

from dicomflow.compute import Handlers, open_cluster
from dicomflow.compute.connect import Connection
from dicomflow.errors import ComputeError
from tests.compute.running import make_compute, twice


def test_clusters_one_after_the_other() -> None:
    """Leaving one cluster takes nothing away that the next one needs, in a process that had no ``distributed`` before."""
    code = (
        "from dicomflow.compute import Handlers, open_cluster\n"
        "from dicomflow.config import load_config\n"
        "config = load_config(None, {'compute.dashboard_address': ''}).compute\n"
        "def one(task, note): return task\n"
        "for _ in range(2):\n"
        "    with open_cluster(config, 'in-process') as cluster: cluster.map(one, [1], name='s', on=Handlers(done=print))\n"
        "import dask; dask.config.get('distributed.comm.require-encryption')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "1\n1\n", "")


def test_unreachable_address() -> None:
    """Nobody listens there: one clear line, in the time that was set."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ComputeError, match=f"^{address}: no Dask scheduler can be reached there: ") as caught:
            open_cluster(make_compute(scheduler=address, connect_timeout=1.0), address).__enter__()
    assert time.monotonic() - start < 6
    assert "\n" not in str(caught.value)


def test_address_of_something_else() -> None:
    """A server that is no Dask scheduler is told in the time that was set, not waited for."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ComputeError, match="no Dask scheduler can be reached there"):
            open_cluster(make_compute(scheduler=address, connect_timeout=1.0), address).__enter__()
    assert time.monotonic() - start < 8


def test_cluster_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started the message says why."""

    def refuse(**_: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with pytest.raises(
        ComputeError, match="the local Dask cluster cannot be started: Resource temporarily unavailable"
    ):
        open_cluster(make_compute(), "processes").__enter__()


def test_performance_report(tmp_path: Path) -> None:
    """The report is written when the cluster is left, shows the tasks by their name, and needs nothing of the network."""
    path = tmp_path / "report.html"
    with open_cluster(make_compute(performance_report=path), "in-process") as cluster:
        cluster.map(twice, [1, 2], name="scan_task", on=Handlers(done=lambda _: None))
    text = path.read_text("utf-8")
    assert "<html" in text.lower() and "scan_task" in text
    assert not re.findall(r"<(?:script[^>]*src|link[^>]*stylesheet[^>]*href)=[^>]*>", text)


@pytest.mark.parametrize(("error", "shown"), [(TimeoutError("Timeout"), 0), (ValueError("of somebody"), 1)])
def test_timeouts_that_nobody_waits_for_are_not_shown(
    error: Exception, shown: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Dask leaves them behind when it ends in the wrong moment; all other errors of its loop are shown."""
    config = make_compute()

    async def leave() -> None:
        asyncio.get_running_loop().create_future().set_exception(error)

    with Connection(config, "in-process") as connection:
        connection.client.sync(leave)
        gc.collect()
    assert [record.name for record in caplog.records].count("asyncio") == shown
