"""Running tasks on a cluster."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import LocalCluster

from dicomflow.compute import Cluster, Handlers, Note, choose_scheduler, count_workers, open_cluster, record_stages
from dicomflow.config import ComputeConfig, load_config
from dicomflow.errors import ComputeError, DatasetError


def make_config(**settings: object) -> ComputeConfig:
    quiet: dict[str, object] = {"compute.dashboard_address": "", "compute.workers": 2}
    return load_config(None, quiet | {f"compute.{key}": value for key, value in settings.items()}).compute


def double(task: int, note: Note) -> int:
    return 2 * task


def fail(task: int, note: Note) -> int:
    if task == 3:
        raise DatasetError("a part cannot be written")
    return task


def sleep(task: float, note: Note) -> float:
    time.sleep(task)
    return task


def die(task: int, note: Note) -> int:
    os._exit(1)


@pytest.mark.parametrize(
    ("settings", "files", "expected"),
    [
        ({}, 0, "threads"),
        ({}, 19_999, "threads"),
        ({}, 20_000, "processes"),
        ({"workers": 1}, 20_000, "in-process"),
        ({"small_job_files": 5}, 5, "processes"),
        ({"small_job_files": 0}, 0, "processes"),
        ({"performance_report": "r.html"}, 1, "in-process"),
        ({"scheduler": "threads"}, 10**8, "threads"),
        ({"scheduler": "processes"}, 1, "processes"),
        ({"scheduler": "in-process"}, 10**8, "in-process"),
        ({"scheduler": "tcp://host:8786"}, 1, "tcp://host:8786"),
    ],
)
def test_choose_scheduler(settings: dict[str, object], files: int, expected: str) -> None:
    """Only ``auto`` looks at the number of files, at the workers, and at what only a cluster can write."""
    assert choose_scheduler(make_config(**settings), files) == expected


def test_count_workers() -> None:
    """What is configured counts; else one in this process, and one per core in processes."""
    assert count_workers(make_config(workers=7), "processes") == 7
    assert count_workers(make_config(workers=7), "threads") == 1  # chosen by auto: threads would take turns
    assert count_workers(make_config(workers=7, scheduler="threads"), "threads") == 7
    unset = load_config(None, {}).compute
    assert count_workers(unset, "threads") == count_workers(unset, "in-process") == 1
    assert count_workers(unset, "processes") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("scheduler", "workers"), [("threads", 1), ("threads", 3), ("in-process", 1), ("in-process", 2), ("processes", 2)]
)
def test_every_result_comes_once(scheduler: str, workers: int) -> None:
    """Each task's result is handed over once, and settings and log levels are as before."""
    before = dask.config.config.copy()
    found: list[int] = []
    with open_cluster(make_config(scheduler=scheduler, workers=workers), scheduler) as cluster:
        assert cluster.dashboard is None
        cluster.map(double, list(range(20)), name="double", on=Handlers(done=found.append))
    assert sorted(found) == [2 * n for n in range(20)]
    if scheduler != "threads":
        assert dask.config.get("distributed.comm.timeouts.connect") and dask.config.get("distributed.version")
    assert all(dask.config.get(key) == before[key] for key in before if key != "distributed")


def test_clusters_one_after_the_other() -> None:
    """Leaving one cluster takes nothing away that the next one needs, in a process that had no ``distributed`` before."""
    import subprocess
    import sys

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


@pytest.mark.parametrize("scheduler", ["threads", "in-process"])
def test_exceptions_of_tasks_come_through(scheduler: str) -> None:
    """What a task raises on purpose arrives as it was raised, and log levels are as before."""
    level = logging.getLogger("distributed.worker").level
    with (
        pytest.raises(DatasetError, match="^a part cannot be written$"),
        open_cluster(make_config(scheduler=scheduler), scheduler) as cluster,
    ):
        cluster.map(fail, list(range(6)), name="fail", on=Handlers(done=lambda _: None))
    assert logging.getLogger("distributed.worker").level in (level, logging.NOTSET, logging.INFO)


@pytest.mark.parametrize("scheduler", ["threads", "in-process"])
def test_exceptions_of_whoever_watches_come_through(scheduler: str) -> None:
    """An error in the callback ends the run; it is not swallowed by Dask."""

    def done(_: int) -> None:
        raise RuntimeError("the watcher fell over")

    with (
        pytest.raises(RuntimeError, match="fell over"),
        open_cluster(make_config(scheduler=scheduler), scheduler) as cluster,
    ):
        cluster.map(double, list(range(6)), name="double", on=Handlers(done=done))


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
        open_cluster(make_config(scheduler=scheduler, workers=2), scheduler) as cluster,
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


def test_workers_that_die_again_and_again() -> None:
    """A task that kills every worker ends the run with an error of ours, not a stranger's."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 3}),
        pytest.raises(ComputeError, match="workers died again and again|cluster was lost"),
        open_cluster(make_config(scheduler="processes", workers=1), "processes") as cluster,
    ):
        cluster.map(die, [1], name="die", on=Handlers(done=lambda _: None))


def test_a_cluster_without_workers_is_not_waited_for() -> None:
    """Dask alone would wait for ever for a worker to come."""
    with LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as cluster:
        address = cluster.scheduler_address
        with (
            pytest.raises(ComputeError, match="cluster was lost"),
            open_cluster(make_config(scheduler=address, no_worker_seconds=0.5), address) as ours,
        ):
            ours.map(double, [1], name="never", on=Handlers(done=lambda _: None))


def test_unreachable_address() -> None:
    """Nobody listens there: one clear line, in the time that was set."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ComputeError, match=f"^{address}: no Dask scheduler can be reached there: ") as caught:
            open_cluster(make_config(scheduler=address, connect_timeout=1.0), address).__enter__()
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
            open_cluster(make_config(scheduler=address, connect_timeout=1.0), address).__enter__()
    assert time.monotonic() - start < 8


def test_cluster_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started the message says why."""
    import distributed

    def refuse(**_: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with pytest.raises(
        ComputeError, match="the local Dask cluster cannot be started: Resource temporarily unavailable"
    ):
        open_cluster(make_config(), "processes").__enter__()


def test_performance_report(tmp_path: Path) -> None:
    """The report is written when the cluster is left, shows the tasks by their name, and needs nothing of the network."""
    path = tmp_path / "report.html"
    with open_cluster(make_config(performance_report=path), "in-process") as cluster:
        cluster.map(double, [1, 2], name="scan_task", on=Handlers(done=lambda _: None))
    text = path.read_text("utf-8")
    assert "<html" in text.lower() and "scan_task" in text
    assert not re.findall(r"<(?:script[^>]*src|link[^>]*stylesheet[^>]*href)=[^>]*>", text)


@pytest.mark.parametrize("scheduler", ["in-process", "threads"])
def test_performance_report_that_cannot_be_written(tmp_path: Path, scheduler: str) -> None:
    """A report that will not come is said before the run, not forgotten after it."""
    path = tmp_path / "no" / "report.html"
    problem = (
        "has no performance report"
        if scheduler == "threads"
        else "report.html: the performance report cannot be written"
    )
    with pytest.raises(ComputeError, match=problem):
        open_cluster(make_config(performance_report=path), scheduler)


@pytest.mark.parametrize("scheduler", ["in-process", "processes"])
def test_dashboard_on_loopback_only(scheduler: str) -> None:
    """The dashboard answers at the address it names, and no port listens to the world."""
    config = make_config(dashboard_address="127.0.0.1:0", workers=1)
    before = set(listening())
    with open_cluster(config, scheduler) as cluster:
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
        config = make_config(dashboard_address=f"127.0.0.1:{taken}")
        with open_cluster(config, "in-process") as cluster:
            assert cluster.dashboard is not None and f":{taken}/" not in cluster.dashboard
    assert not [warning for warning in recwarn if "already in use" in str(warning.message)]


def test_stages_outside_of_a_task() -> None:
    """Booking stages is harmless where nobody meters."""
    record_stages({"read": 1.0})
