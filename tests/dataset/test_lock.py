"""One writer at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import dicomflow
from dicomflow.dataset import lock
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import find_owner, write_lock
from dicomflow.dataset.process import identify_process
from dicomflow.errors import CommitFailed, DatasetError, DatasetLocked

HOST = socket.gethostname()
HOME = Path(dicomflow.__file__).parents[1]


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


def test_process_of_the_same_number_that_began_later_is_another(layout: Layout) -> None:
    """In a container each run is process 1: the lock of the one that was killed does not block the next."""
    put_lock(layout, **{**identify_process(), "ticks": 1})
    with write_lock(layout):
        pass


# ---- the system's lock -----------------------------------------------------------------------------------------------


def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)


HOLD = """
import os, sys, time
from pathlib import Path
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
with write_lock(Layout(Path(sys.argv[1]))):
    child = os.fork() if len(sys.argv) > 2 else None
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print("held", child, flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holding(layout: Layout, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(layout.root), *arguments], cwd=HOME, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def say(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_the_clock_has_no_part_in_it(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A living run keeps its lock when the clock is set, which moves the start of every process; a killed one loses it."""
    with holding(layout) as child:
        assert say(child) == "held None"
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)
        with pytest.raises(DatasetLocked, match=f"process {child.pid} on"), write_lock(layout):
            pytest.fail("two writers")
        child.kill()  # not waited for: there is a process of this number
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with write_lock(layout):
            assert json.loads(layout.lock.read_text())["pid"] == os.getpid()


def test_a_lock_that_is_held_is_no_dead_process(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another container the number says nothing: the system's lock does, from wherever the same file is seen."""
    monkeypatch.setattr(lock, "_PAUSE", 0.001)
    for owner in ({"pid": dead_pid()}, {"pid": dead_pid(), "host": "elsewhere"}):
        put_lock(layout, **owner)
        with layout.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = find_owner(layout)
            assert found is not None and found.alive is True
            with pytest.raises(DatasetLocked, match=f"process {owner['pid']} on"), write_lock(layout):
                pytest.fail("two writers")


def test_a_lock_that_is_held_and_says_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was stopped between locking and saying who it is holds the lock all the same."""
    monkeypatch.setattr(lock, "_PAUSE", 0.001)
    layout.lock.touch()
    with layout.lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DatasetLocked, match="another run has just taken this dataset"), write_lock(layout):
            pytest.fail("two writers")


def test_a_child_does_not_hold_the_lock_of_its_parent(layout: Layout) -> None:
    """A forked process that outlives the run that was killed does not keep the next one out."""
    with holding(layout, "fork") as child:
        grandchild = int(say(child).split()[1])
        try:
            child.kill()
            child.wait()
            assert psutil.pid_exists(grandchild)
            with write_lock(layout):
                pass
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_a_child_that_leaves_releases_nothing(layout: Layout) -> None:
    """The lock is the parent's until the parent ends."""
    with write_lock(layout) as held:
        child = os.fork()
        if child == 0:
            held.release()
            os._exit(0)
        os.waitpid(child, 0)
        held.check()
        with pytest.raises(DatasetLocked), write_lock(layout):
            pytest.fail("two writers")


def test_looking_does_not_disturb(layout: Layout) -> None:
    """Whoever looks holds a shared lock: others may look, too, and a run that is gone is still seen as gone."""
    put_lock(layout, pid=dead_pid())
    with layout.lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        found = find_owner(layout)
        assert found is not None and found.alive is False
        threading.Timer(0.05, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with write_lock(layout):
            pass


def test_a_lock_that_comes_in_place_of_a_stale_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking at a dead run's lock and removing it, another took it: that one stays."""
    put_lock(layout, pid=dead_pid())
    see = lock._see_owner
    seen: list[int] = []

    def see_late(descriptor: int) -> Any:
        found = see(descriptor)
        seen.append(descriptor)
        if len(seen) == 1:
            layout.lock.unlink()
            put_lock(layout, pid=os.getppid())
        return found

    monkeypatch.setattr(lock, "_see_owner", see_late)
    with pytest.raises(DatasetLocked, match=f"process {os.getppid()} on"), write_lock(layout):
        pytest.fail("two writers")
    assert json.loads(layout.lock.read_text())["pid"] == os.getppid() and len(seen) == 2


def test_a_lock_that_was_removed_before_it_was_finished(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped right after it made the file finds out that it holds nothing, and tries again."""
    real = fcntl.flock
    calls: list[int] = []

    def late(descriptor: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            layout.lock.unlink()  # another took it for a torn one
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with write_lock(layout) as held:
        held.check()
    assert calls.count(fcntl.LOCK_EX) == 2 and not layout.lock.exists()


def test_a_file_system_without_locks(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the process itself is looked for."""
    no_locks(monkeypatch)
    with write_lock(layout), pytest.raises(DatasetLocked, match=f"process {os.getpid()} on"), write_lock(layout):
        pytest.fail("two writers")
    put_lock(layout, pid=dead_pid())
    with write_lock(layout) as held:
        held.check()
    assert not layout.lock.exists()


def test_descriptors_are_closed(layout: Layout) -> None:
    """Taking, looking, being refused: nothing stays open."""
    before = os.listdir("/proc/self/fd")
    with write_lock(layout):
        with pytest.raises(DatasetLocked), write_lock(layout):
            pytest.fail("two writers")
        find_owner(layout)
    assert os.listdir("/proc/self/fd") == before and not lock._held


# ---- locks that are not whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_lock_that_was_never_finished(layout: Layout, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A run that died before it wrote its name does not block the next."""
    monkeypatch.setattr(lock, "_PAUSE", 0.001)
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
    monkeypatch.setattr(lock, "_PAUSE", 0.001)
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

    monkeypatch.setattr(os, "write", fail)
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
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(layout.root)], cwd=HOME, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    time.sleep(0.5)
    (layout.root / "go").touch()
    said = [child.communicate(timeout=60)[0].strip() for child in children]
    assert set(said) <= {"held", "refused"} and "held" in said
