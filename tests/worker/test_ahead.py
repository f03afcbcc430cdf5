"""Files that are read before their turn are read as if nobody had; how many go ahead follows what storage takes."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomflow.errors import StorageHangs
from dicomflow.synth import write_studies
from dicomflow.worker import ahead, task
from dicomflow.worker.ahead import Gear, ReadAhead
from dicomflow.worker.watch import GivenUp, Turn
from tests.compute.test_watch import wait_until
from tests.test_worker import Put, Scan, make_file

SLOW, FAST = 5e-3, 20e-6


# ---- how many ----


@pytest.mark.parametrize(
    ("most", "seen", "threads"),
    [
        (16, [(FAST, 0)], [0]),
        (16, [(100e-6, 0)], [4]),  # a disk
        (16, [(SLOW, 0)], [16]),  # a network
        (3, [(SLOW, 0)], [3]),
        (1, [(SLOW, 0)], [0]),  # one thread that goes ahead is one that is waited for
        (0, [(SLOW, 0)], [0]),
        (16, [(SLOW, 0), (SLOW / 10, SLOW), (SLOW / 10, SLOW)], [16, 16, 16]),
        (16, [(SLOW, 0), (SLOW, SLOW * 16), (SLOW, 0)], [16, 0, 0]),  # storage that serves one at a time is left alone
        (16, [(SLOW, 0), (FAST, FAST), (FAST, 0), (SLOW, 0)], [16, 0, 0, 16]),  # files of another disk
    ],
)
def test_gear(most: int, seen: list[tuple[float, float]], threads: list[int]) -> None:
    """None where files come at once, or no sooner; else enough that nobody waits, as far as there may be."""
    gear = Gear(most)
    assert [gear.shift(np.full(20, waited), fetch) for waited, fetch in seen] == threads
    assert gear.shift(np.empty(0), 0.0) == threads[-1]


def test_a_pause_is_no_slow_storage() -> None:
    """Of 64 files, a process that shares its processor loses some milliseconds now and then."""
    assert Gear(16).shift(np.array([FAST] * 60 + [0.02] * 4), 0.0) == 0


# ---- reading ----


def count_descriptors(folder: Path) -> int:
    """Of files below; what else this process has open may come and go."""
    open_files = (os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))
    return sum(path.startswith(f"{folder}/") for path in open_files)


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path: Path) -> Iterator[None]:
    """No descriptor, no thread."""
    yield
    wait_until(lambda: not ahead_threads() and not count_descriptors(tmp_path))


def ahead_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dicomflow-ahead"]


def read(reader: ReadAhead, index: int) -> bytes | None:
    """What comes of a file, as far as it was read."""
    fetched = reader.take(index, Turn())
    if fetched is None:
        return None
    descriptor = fetched.open()
    try:
        buffer = memoryview(bytearray(100))
        size, wanted = fetched.copy_to(buffer)
        assert size <= wanted <= 100
        return bytes(buffer[:size])
    finally:
        os.close(descriptor)


@pytest.fixture
def uris(tmp_path: Path) -> list[str]:
    """Two hundred files, each with its number in it."""
    paths = [tmp_path / f"{number}" for number in range(200)]
    for number, path in enumerate(paths):
        path.write_text(f"{number} " * 30)
    return [str(path) for path in paths]


@pytest.mark.parametrize("threads", [2, 7])
@pytest.mark.parametrize("size", [1, 20, 1000])
def test_all_files_in_their_order(uris: list[str], threads: int, size: int) -> None:
    """Each as it is, however many bytes are wanted of it."""
    reader = ReadAhead(uris, 3, lambda: size, threads)
    for index in range(3, len(uris)):
        found = read(reader, index)
        assert found == Path(uris[index]).read_bytes()[: min(size, 100)]
    assert reader.fetch_seconds() < 1 and reader.fetch_seconds() == float("inf")
    reader.close()
    assert reader.take(0, Turn()) is None


def test_no_further_ahead_than_a_few_files(uris: list[str], tmp_path: Path) -> None:
    """Memory and descriptors are bounded; files that are passed over are closed."""
    reader = ReadAhead(uris, 0, lambda: 10, 2)
    wait_until(lambda: count_descriptors(tmp_path) == 2 * ahead.WINDOW + 1)
    time.sleep(0.05)
    assert count_descriptors(tmp_path) == 2 * ahead.WINDOW + 1
    assert read(reader, 50) == b"50 50 50 5" and read(reader, 199) == b"199 199 19"
    wait_until(lambda: not count_descriptors(tmp_path))
    reader.close()


def test_what_cannot_be_read(uris: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of who reads in earnest; where there is no memory to go ahead, nobody does."""
    os.unlink(uris[1])
    os.unlink(uris[2])
    os.mkdir(uris[2])
    uris[4] = "a\0b"
    real = os.readv

    def readv(descriptor: int, buffers: Any) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}") == uris[5]:
            raise MemoryError
        return real(descriptor, buffers)

    monkeypatch.setattr(os, "readv", readv)
    reader = ReadAhead(uris[:7], 0, lambda: 10, 3)
    assert read(reader, 0) == b"0 0 0 0 0 "
    for index, error in [(1, errno.ENOENT), (2, errno.EISDIR)]:
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            read(reader, index)
        assert caught.value.errno == error
    assert read(reader, 3) == b"3 3 3 3 3 "
    with pytest.raises(ValueError, match="null"):
        read(reader, 4)
    assert read(reader, 5) is None and read(reader, 6) == b"6 6 6 6 6 "
    reader.close()


@pytest.mark.parametrize("allowed", [0, 1])
def test_no_more_threads(uris: list[str], monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """Where the system gives no more of them, those that are there go ahead; without any, each file is read in its turn."""
    real, started = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name == "dicomflow-ahead":
            if len(started) == allowed:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    reader = ReadAhead(uris, 0, lambda: 10, 3)
    assert [read(reader, index) for index in range(2)] == ([b"0 0 0 0 0 ", b"1 1 1 1 1 "] if allowed else [None, None])
    reader.close()


def test_who_is_given_up_leaves_nothing_open(uris: list[str]) -> None:
    """Nor what came of files that were passed over."""
    reader = ReadAhead(uris, 0, lambda: 10, 2)
    time.sleep(0.05)
    turn = Turn()
    turn.given_up = True
    with pytest.raises(GivenUp):
        reader.take(4, turn)
    reader.close()


def test_who_is_given_up_does_not_wait(uris: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a file that does not come ends; what comes late is closed."""
    monkeypatch.setattr(ahead, "LOOK_SECONDS", 0.02)
    free, real = threading.Event(), os.open

    def hang(path: Any, *arguments: Any) -> int:
        if path == uris[1]:
            free.wait(60)
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", hang)
    reader = ReadAhead(uris, 0, lambda: 10, 2)
    assert read(reader, 0)
    turn = Turn()
    turn.given_up = True
    with pytest.raises(GivenUp):
        reader.take(1, turn)
    assert read(reader, 2) == b"2 2 2 2 2 "
    reader.close()
    wait_until(lambda: len(ahead_threads()) == 1)
    free.set()


# ---- a task ----


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when this is called, any storage is slow, and stays so."""

    def make_slow() -> None:
        monkeypatch.setattr(ahead, "SLOW_SECONDS", -1.0)
        monkeypatch.setattr(ahead, "GAIN", 0.0)
        monkeypatch.setattr(task, "LOOKS", 1)

    return make_slow


def test_the_same_rows(scan: Scan, slow: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of all kinds, sound and broken, long headers and short ones, and what is no file any more."""
    write_studies(tmp_path / "studies", files=150, seed=5, corrupt=0.2)
    paths = sorted(path for path in (tmp_path / "studies").rglob("*") if path.is_file())
    long = tmp_path / "long"
    long.write_bytes(make_file("9.9", blob=200_000))
    fifo, folder = tmp_path / "fifo", tmp_path / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    paths[40:40] = [long, fifo, tmp_path / "gone", folder, long]
    alone = scan(paths, header__prefix_bytes=2048)
    slow()
    made: list[int] = []
    begin = task.ReadAhead

    def count(*arguments: Any) -> ReadAhead:
        made.append(arguments[1])
        return begin(*arguments)

    monkeypatch.setattr(task, "ReadAhead", count)
    ahead_of = scan(paths, header__prefix_bytes=2048)
    assert made == [1]
    assert alone.rows == ahead_of.rows and alone.ledger == ahead_of.ledger
    assert alone.result.header_bytes == ahead_of.result.header_bytes
    made.clear()
    assert scan(paths, header__read_ahead=0).ledger == alone.ledger and made == []


def test_storage_that_serves_many_at_a_time(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that take 10 ms each come many times sooner; by itself, without a setting."""
    paths = [put(f"f{n:03}", make_file(f"1.{n + 1}")) for n in range(264)]
    real, at_a_time, most = os.open, [0], [0]
    names, lock = {str(path) for path in paths}, threading.Lock()

    def far(path: Any, *arguments: Any) -> int:
        if path not in names:
            return real(path, *arguments)
        with lock:
            at_a_time[0] += 1
            most[0] = max(most[0], at_a_time[0])
        time.sleep(0.01)
        with lock:
            at_a_time[0] -= 1
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", far)
    monkeypatch.setattr(task, "NOTE_SECONDS", 0.1)
    done = scan(paths)
    assert done.result.counts == {("ok", None): 264} and most[0] > 4


def test_a_dead_mount_ends_the_task(
    scan: Scan, put: Put, slow: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that went ahead and do not come back hold up one file; then it is as without them."""
    slow()
    monkeypatch.setattr("dicomflow.worker.watch.CHECK_SECONDS", 0.02)
    monkeypatch.setattr(ahead, "LOOK_SECONDS", 0.02)
    paths = [put(f"f{n:02}", make_file(f"1.{n + 1}")) for n in range(40)]
    dead, free, real = {str(path) for path in paths[10:]}, threading.Event(), os.open

    def hang(path: Any, *arguments: Any) -> int:
        if path in dead:
            free.wait(60)
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", hang)
    with pytest.raises(StorageHangs):
        scan(paths, header__max_seconds=0.05)
    free.set()


def test_one_file_that_hangs(scan: Scan, put: Put, slow: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs itself; all others are read."""
    slow()
    monkeypatch.setattr("dicomflow.worker.watch.CHECK_SECONDS", 0.02)
    monkeypatch.setattr(ahead, "LOOK_SECONDS", 0.02)
    paths = [put(f"f{n:02}", make_file(f"1.{n + 1}")) for n in range(40)]
    free, real = threading.Event(), os.open

    def hang(path: Any, *arguments: Any) -> int:
        if path == str(paths[10]) and threading.current_thread().name == "dicomflow-ahead":
            free.wait(60)
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", hang)
    done = scan(paths, header__max_seconds=0.05)
    assert done.outcome("f10")[:2] == ("failed", "timeout")
    assert done.result.counts == {("ok", None): 39, ("failed", "timeout"): 1}
    free.set()
