"""One writer at a time."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import dicomflow
from dicomflow.dataset import lock
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.errors import CommitFailed, DatasetError, DatasetLocked

HOST = socket.gethostname()


def put_lock(layout: Layout, **owner: Any) -> None:
    layout.lock.write_text(json.dumps({"host": HOST, "since": "2024-05-01T12:00:00+00:00", **owner}))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_second_writer_is_told_who_is_first(layout: Layout) -> None:
    """The message names host, process and time, and the lock of the first stays."""
    with write_lock(layout):
        text = layout.lock.read_text()
        since = json.loads(text)["since"]
        with (
            pytest.raises(DatasetLocked, match=f"process {os.getpid()} on {re.escape(HOST)} since {re.escape(since)}"),
            write_lock(layout),
        ):
            pytest.fail("two writers")
        assert layout.lock.read_text() == text
    assert not layout.lock.exists()


def test_lock_of_another_live_process(layout: Layout) -> None:
    """A live process of this host is not pushed aside."""
    put_lock(layout, pid=os.getppid())
    with pytest.raises(DatasetLocked, match="wait for it, or remove"), write_lock(layout):
        pytest.fail("two writers")


def test_lock_of_another_host(layout: Layout) -> None:
    """Whether a process of another host lives cannot be known, so its lock counts."""
    put_lock(layout, host="elsewhere", pid=dead_pid())
    with pytest.raises(DatasetLocked, match="on elsewhere"), write_lock(layout):
        pytest.fail("two writers")


@pytest.mark.parametrize("owner", [{"pid": None}, {"pid": -1}, {"pid": 0}, {"pid": "x"}, {}])
def test_lock_without_a_possible_process_is_stale(layout: Layout, owner: dict[str, Any]) -> None:
    """Signals to process groups are never sent; what names no process holds nothing."""
    put_lock(layout, **owner)
    with write_lock(layout):
        assert json.loads(layout.lock.read_text())["pid"] == os.getpid()


def test_lock_of_a_dead_process_is_taken_over(layout: Layout) -> None:
    """A killed run does not block the next."""
    put_lock(layout, pid=dead_pid())
    with write_lock(layout):
        assert json.loads(layout.lock.read_text())["pid"] == os.getpid()


def test_process_of_another_user_is_alive(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """No right to signal a process means that it is there."""

    def deny(_: psutil.Process) -> float:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "create_time", deny)
    put_lock(layout, pid=os.getppid())
    with pytest.raises(DatasetLocked), write_lock(layout):
        pytest.fail("two writers")


def test_process_of_the_same_number_that_began_later_is_another(layout: Layout) -> None:
    """In a container each run is process 1: the lock of the one that was killed does not block the next."""
    put_lock(layout, pid=os.getpid(), started=psutil.Process().create_time() - 3600)
    with write_lock(layout):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_lock_that_was_never_finished(layout: Layout, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A run that died before it wrote its name does not block the next."""
    monkeypatch.setattr(lock, "_OWNER_PAUSE", 0.001)
    layout.lock.write_text(text)
    with write_lock(layout):
        assert json.loads(layout.lock.read_text())["pid"] == os.getpid()


def test_lock_that_is_being_written(layout: Layout) -> None:
    """A lock whose owner has not yet said its name is waited for, not taken."""
    layout.lock.write_text("")
    late = threading.Timer(0.15, lambda: put_lock(layout, pid=os.getppid()))
    late.start()
    with pytest.raises(DatasetLocked), write_lock(layout):
        pytest.fail("two writers")
    late.join()


def test_released_after_an_error(layout: Layout) -> None:
    """Whatever ends the work, the lock is gone."""
    with pytest.raises(KeyboardInterrupt), write_lock(layout):
        raise KeyboardInterrupt
    assert not layout.lock.exists()


def test_lock_of_a_successor_stays(layout: Layout) -> None:
    """A run that was taken for dead does not remove the lock of the one after it."""
    with write_lock(layout):
        put_lock(layout, pid=os.getpid(), token="other")
    assert layout.lock.exists()


@pytest.mark.parametrize("fate", ["removed", "another's", "torn"])
def test_lock_that_was_taken_away(layout: Layout, monkeypatch: pytest.MonkeyPatch, fate: str) -> None:
    """A run that asks before it publishes learns that it was taken for dead."""
    monkeypatch.setattr(lock, "_OWNER_PAUSE", 0.001)
    with write_lock(layout) as held:
        held.check()
        if fate == "removed":
            layout.lock.unlink()
        elif fate == "torn":
            layout.lock.write_text("{")
        else:
            put_lock(layout, pid=os.getpid(), token="other")
        with pytest.raises(CommitFailed, match="lock: was taken away from this run; nothing was published; run again"):
            held.check()


def test_lock_that_cannot_be_written(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one line, and leaves no lock that nobody holds."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.json, "dump", fail)
    with pytest.raises(DatasetError, match="lock: cannot be written: No space left on device"), write_lock(layout):
        pytest.fail("no lock")
    assert not layout.lock.exists()


def test_many_processes_at_once(layout: Layout) -> None:
    """Of many runs that find a stale lock at one moment, never two are inside together."""
    put_lock(layout, pid=dead_pid())
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from dicomflow.dataset.lock import write_lock\n"
        "from dicomflow.dataset.layout import Layout\n"
        "from dicomflow.errors import DatasetLocked\n"
        "root = Path(sys.argv[1])\n"
        "while not (root / 'go').exists(): time.sleep(0.001)\n"
        "try:\n"
        "    with write_lock(Layout(root)):\n"
        "        os.mkdir(root / 'inside'); time.sleep(0.3); os.rmdir(root / 'inside')\n"
        "        print('held')\n"
        "except DatasetLocked: print('refused')\n"
    )
    home = Path(dicomflow.__file__).parents[1]
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(layout.root)], cwd=home, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    time.sleep(0.5)
    (layout.root / "go").touch()
    said = [child.communicate(timeout=60)[0].strip() for child in children]
    assert set(said) <= {"held", "refused"} and "held" in said
