"""A thread that hangs is left behind, and touches nothing any more."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomflow.errors import StorageHangs
from dicomflow.header.reader import HeaderReader
from dicomflow.worker import watch
from dicomflow.worker.watch import GivenUp, Turn, WatchedThread, count_hanging
from tests.test_worker import Put, Scan, make_file
from tests.worker.conftest import Hang, inode_of

LATE = ("failed", "timeout", "a read did not come back within header.max_seconds: the storage hangs")


@pytest.mark.parametrize("call", ["open", "readv", "fstat", "preadv", "close"])
def test_a_call_that_does_not_come_back(
    scan: Scan, put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It costs its file, unless that was read already; rows from before stay, and the files behind it are read."""
    names = ["a", "b", "bad", "c", "d"]
    paths = [put(name, make_file(f"1.{n}", blob=40_000 * (name == "bad"), number=n)) for n, name in enumerate(names)]
    hang.files = {inode_of(paths[2])}
    monkeypatch.setattr(os, call, hang.guard(getattr(os, call), inode_of))
    done = scan(paths, header__max_seconds=0.05, header__prefix_bytes=2048)
    assert len(hang.hanging) == 1 and count_hanging() == 1
    assert done.outcome("bad") == (("ok", None, None) if call == "close" else LATE)
    assert all(done.outcome(name) == ("ok", None, None) for name in names if name != "bad")
    numbers = [0, 1, 2, 3, 4] if call == "close" else [0, 1, 3, 4]
    assert [(row["SOPInstanceUID"], row["InstanceNumber"]) for row in done.rows] == [(f"1.{n}", n) for n in numbers]
    assert sum(done.result.latency) == 5 and done.ledger["bad"]["attempts"] == 1
    hang.free()
    assert count_hanging() == 0
    for descriptor in hang.descriptors:  # each thread closed its own
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize("call", ["open", "readv", "preadv"])
def test_a_call_that_comes_back_late(
    scan: Scan, put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """What it brings is in no buffer that is still in use: the file that is being read meanwhile is itself."""
    bad, good = put("bad", make_file("6.6", blob=40_000, number=66)), put("good", make_file("1.2", number=2))
    hang.files = {inode_of(bad)}
    monkeypatch.setattr(os, call, hang.guard(getattr(os, call), inode_of))
    real = os.readv

    def read(descriptor: int, buffers: Any) -> int:
        size = real(descriptor, buffers)
        if inode_of(descriptor) == inode_of(good):
            hang.free()
        return size

    monkeypatch.setattr(os, "readv", read)
    done = scan(
        [bad, good, put("last", make_file("1.3", number=3))], header__max_seconds=0.05, header__prefix_bytes=2048
    )
    assert done.outcome("bad") == LATE
    assert {row["SOPInstanceUID"]: row["InstanceNumber"] for row in done.rows} == {"1.2": 2, "1.3": 3}


def test_too_many_that_hang(scan: Scan, put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process leaves so many reads behind and no more: then the task fails, and says what to do."""
    monkeypatch.setattr(watch, "MAX_GIVEN_UP", 2)
    paths = [put(f"f{n}", make_file(f"1.{n}")) for n in range(4)]
    hang.files = {inode_of(path) for path in paths}
    monkeypatch.setattr(os, "open", hang.guard(os.open, inode_of))
    with pytest.raises(StorageHangs, match=r"f2: not read, since the storage hangs: 2 reads .* 0\.05 s .*run again"):
        scan(paths, header__max_seconds=0.05)
    with pytest.raises(StorageHangs, match="f3: not read"):
        scan(paths[3:], header__max_seconds=0.05)
    hang.free()
    assert scan(paths).result.counts == {("ok", None): 4}


@pytest.mark.parametrize("call", ["readv", "close"])
def test_a_thread_that_is_given_up_too_early(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Its call had come back after all: the file is read again, once, unless it had been read."""
    paths = [put(f"f{n}", make_file(f"1.{n}", number=n)) for n in range(4)]
    real, seen = getattr(os, call), []

    def give_up(descriptor: int, *arguments: Any) -> Any:
        thread: Any = threading.current_thread()
        if thread.name == watch.THREAD_NAME and inode_of(descriptor) == inode_of(paths[1]):
            seen.append(descriptor)
            thread.turn.given_up = len(seen) == 1
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, call, give_up)
    done = scan(paths)
    assert [row["InstanceNumber"] for row in done.rows] == [0, 1, 2, 3] and sum(done.result.latency) == 4
    assert len(seen) == (2 if call == "readv" else 1)


def _mount_dead(target: Path, device: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", os.fsencode(target), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), "mount")


@pytest.fixture
def dead_mount(tmp_path: Path) -> Iterator[Path]:
    """A real file system whose server never answers."""
    target = tmp_path / "dead"
    target.mkdir()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("no FUSE here")
    try:
        _mount_dead(target, device)
    except OSError:
        os.close(device)
        pytest.skip("no file system can be mounted here")
    yield target
    os.close(device)  # whoever waits gets an error
    ctypes.CDLL(None).umount2(os.fsencode(target), 2)


def test_a_mount_that_is_dead(scan: Scan, put: Put, hang: Hang, dead_mount: Path) -> None:
    """Its file is late, the others are read, and nobody waits for it."""
    done = scan([put("a", make_file("1.1")), dead_mount / "bad", put("b", make_file("1.2"))], header__max_seconds=0.2)
    assert done.outcome("bad") == LATE and len(done.rows) == 2


SCRIPT = """
import os, sys, time
from pathlib import Path
import pyarrow as pa
from dicomflow.config import load_config
from dicomflow.dataset.plan_parts import write_plan
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.profile import load_profile
from dicomflow.worker import ScanJob, scan_task, watch

real = os.open
def hang(path, *more):
    if str(path).endswith("bad"):
        print("hangs", flush=True)
        time.sleep(600)
    return real(path, *more)
os.open = hang
watch.CHECK_SECONDS = 0.05
config = load_config(None, {"header.max_seconds": float(sys.argv[2])})
job = ScanJob(run_id="r", started=0, staging=sys.argv[1], profile=load_profile("minimal"), config=config)
files = pa.Table.from_pylist([{"uri": "/bad"}, {"uri": "/gone"}], SOURCE_FILE_SCHEMA)
try:
    print(sorted(scan_task(write_plan(Path(sys.argv[1]) / "plan", files, "t"), job).counts))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_process_ends_while_a_read_hangs(tmp_path: Path, interrupted: bool) -> None:
    """By itself, and at once on Ctrl-C."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "600" if interrupted else "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "hangs\n"
        if interrupted:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    expected = "interrupted" if interrupted else "[('failed', 'not_found'), ('failed', 'timeout')]"
    assert (said.strip(), process.returncode) == (expected, 0)


def test_errors_of_the_work_are_raised_where_it_was_asked_for() -> None:
    """And the thread goes on; a descriptor that it held is closed."""
    held: list[int] = []

    def fail(turn: Turn) -> None:
        turn.held = os.open(os.devnull, os.O_RDONLY)
        held.append(turn.held)
        raise ZeroDivisionError

    with WatchedThread(60.0) as thread:
        with pytest.raises(ZeroDivisionError):
            thread.run(fail, "")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(held[0])
        names: list[str] = []
        assert thread.run(lambda turn: names.append(threading.current_thread().name), "") and names == [
            watch.THREAD_NAME
        ]


class Race:
    """The owner has found a call late; before it says so, ``meanwhile`` happens in the thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Turn], None]) -> None:
        self.entered, self.go, self.gone = (threading.Event() for _ in range(3))
        self.after: list[str] = []
        self._meanwhile = meanwhile
        monkeypatch.setattr(watch, "CHECK_SECONDS", 0.02)
        real, owner = time.perf_counter, threading.current_thread()

        def clock() -> float:
            if threading.current_thread() is owner and self.entered.is_set() and not self.go.is_set():
                self.go.set()
                assert self.gone.wait(30)
            return real()

        monkeypatch.setattr(watch.time, "perf_counter", clock)

    def work(self, turn: Turn) -> None:
        turn.inside = time.perf_counter() - 100
        self.entered.set()
        assert self.go.wait(30)
        self._meanwhile(turn)
        self.gone.set()
        while not turn.given_up:
            time.sleep(0.001)
        turn.leave()
        self.after.append("went on")


def test_a_call_that_comes_back_while_its_thread_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not late, and the thread ends at its next call: never do both go on."""

    def come_out(turn: Turn) -> None:
        turn.leave()

    race = Race(monkeypatch, come_out)
    with WatchedThread(60.0) as thread:
        assert not thread.run(race.work, "") and not thread.is_late and race.after == []


def test_a_call_that_is_another_one_when_its_thread_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is given up then was not late."""

    def go_on(turn: Turn) -> None:
        turn.leave()
        turn.inside = time.perf_counter()

    race = Race(monkeypatch, go_on)
    with WatchedThread(60.0) as thread:
        assert not thread.run(race.work, "") and not thread.is_late
    assert race.after == []


def test_leaving_in_time() -> None:
    """Only who was given up is told so."""
    turn = Turn()
    turn.inside = 1.0
    turn.leave()
    assert turn.inside is None
    turn.given_up = True
    with pytest.raises(GivenUp):
        turn.leave()


def test_a_task_leaves_nothing_behind(scan: Scan, put: Put) -> None:
    """Its buffers go when it is done, and do not wait for the garbage collector."""
    paths = [put(f"f{n}", make_file(f"1.{n}")) for n in range(3)]
    scan(paths)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, HeaderReader) for each in gc.get_objects())
        scan(paths)
        assert sum(isinstance(each, HeaderReader) for each in gc.get_objects()) == before
    finally:
        gc.enable()
    assert watch.THREAD_NAME not in {thread.name for thread in threading.enumerate()}
