"""The poison works: tests that rely on it would pass without it, if it did nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from distributed import Client, KilledWorker, LocalCluster

from tests import poison
from tests.poison import poisoned
from tests.test_worker import Put, Scan, make_file, put, scan

__all__ = ["put", "scan"]

TOUCH = (
    "import os, sys; from tests.poison import poisoned\nwith poisoned(sys.argv[1]): os.close(os.open(sys.argv[2], 0))"
)
ROOT = Path(__file__).parent.parent


def touch(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    os.close(descriptor)
    return os.getpid()


@pytest.mark.parametrize(("name", "code"), [("a.kill", -signal.SIGKILL), ("a.dcm", 0)])
def test_a_file_that_kills(tmp_path: Path, name: str, code: int) -> None:
    """The process that opens it is gone; other files are harmless."""
    (tmp_path / name).touch()
    command = [sys.executable, "-c", TOUCH, ".kill=KILL", str(tmp_path / name)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == code


def test_a_file_that_stops(tmp_path: Path) -> None:
    """Until somebody lets the process go on."""
    (tmp_path / "a.stop").touch()
    process = subprocess.Popen([sys.executable, "-c", TOUCH, ".stop=STOP", str(tmp_path / "a.stop")], cwd=ROOT)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0


def test_a_file_that_fails_a_few_times(scan: Scan, put: Put) -> None:
    """Each file for itself; in a task it is read at the attempt behind."""
    paths = [put("a.flaky", make_file("1.1")), put("b.flaky", make_file("1.2")), put("c", make_file("1.3"))]
    with poisoned(".flaky=EIO:2"):
        done = scan(paths)
    assert {name: row["attempts"] for name, row in done.ledger.items()} == {"a.flaky": 3, "b.flaky": 3, "c": 1}
    assert done.result.counts == {("ok", None): 3}


def test_times_are_counted_over_processes(tmp_path: Path) -> None:
    """Where they share a folder."""
    path = tmp_path / "a.flaky"
    path.touch()
    faults = []
    for _ in range(3):  # each with its own counters, as a process has
        with poisoned(".flaky=EIO:2", tmp_path):
            try:
                touch(str(path))
            except OSError as error:
                faults.append(error.errno)
    assert faults == [errno.EIO, errno.EIO]


def test_a_rule_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="expected SUFFIX=ACTION"), poisoned(".x=BANG"):
        pass


def test_as_a_preload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker process of Dask dies of it."""
    monkeypatch.setenv("POISON", ".kill=KILL")
    for name in ("a.kill", "a.dcm"):
        (tmp_path / name).touch()
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(processes=True, preload=[poison.PATH], **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(1, timeout=60)
        assert client.submit(touch, str(tmp_path / "a.dcm")).result(timeout=60) != os.getpid()
        cluster.scheduler.allowed_failures = 0
        with pytest.raises(KilledWorker):
            client.submit(touch, str(tmp_path / "a.kill")).result(timeout=60)
