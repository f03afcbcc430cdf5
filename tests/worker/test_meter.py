"""A task's time adds up, and each file is counted by how long it took."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dicomflow.errors import Status
from dicomflow.model import LATENCY_BUCKETS, BatchDone
from dicomflow.worker import files, meter, task
from dicomflow.worker.meter import STAGES, FileTimes, Meter
from tests.test_worker import Put, Scan, encode, make_file

TICK = 1e-4


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """A clock that goes on by one tick at each look, and not otherwise."""
    counter = itertools.count(1)

    def clock() -> float:
        return next(counter) * TICK

    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def make_deflated(uid: str) -> bytes:
    meta = encode(0x00020010, "UI", b"1.2.840.10008.1.2.1.99")
    body = make_file(uid)[132:]
    data_set = body[body.index(b"\x08\x00\x18\x00") :]
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    group = encode(0x00020000, "UL", len(meta).to_bytes(4, "little"))
    return bytes(128) + b"DICM" + group + meta + deflate.compress(data_set) + deflate.flush()


def test_stages_add_up_to_the_task(scan: Scan, put: Put, ticks: Callable[[], float], monkeypatch: Any) -> None:
    """Reading, inflating, scanning, decoding, writing, waiting: nothing of a task's time is missing, nothing counted twice."""
    monkeypatch.setattr(task.time, "sleep", lambda _: [ticks() for _ in range(50)])
    paths = [put(f"f{n}", make_file(f"1.{n}", blob=60_000 * (n % 7 == 0))) for n in range(100)]
    paths += [put(f"d{n}", make_deflated(f"2.{n}")) for n in range(20)]
    paths += [put("text", b"no"), paths[0].with_name("gone")]
    real, failed = files.os.readv, []

    def read(descriptor: int, buffers: Any) -> int:
        failed.append(descriptor)
        if len(failed) == 50:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers)

    monkeypatch.setattr(files.os, "readv", read)
    start = ticks()
    done = scan(paths, header__batch_rows=40, header__read_ahead=0)  # by this clock all storage is slow
    whole = ticks() - start
    seconds = done.result.seconds
    assert tuple(seconds) == STAGES and all(spent > 0 for spent in seconds.values()), seconds
    assert 0.99 * whole <= sum(seconds.values()) <= whole
    assert seconds["wait"] == pytest.approx(51 * TICK) and done.result.counts[str(Status.OK), None] == 120


def test_every_file_has_one_latency(scan: Scan, put: Put, ticks: Callable[[], float]) -> None:
    """From the first call to the last."""
    paths = [put(f"f{n}", make_file(f"1.{n}")) for n in range(40)]
    latency = scan(paths, header__read_ahead=0).result.latency
    few_ticks = np.searchsorted(LATENCY_BUCKETS, [TICK, 4 * TICK])
    assert len(latency) == len(LATENCY_BUCKETS) + 1 and sum(latency) == 40
    assert sum(latency[few_ticks[0] : few_ticks[1] + 1]) == 40


def test_buckets_hold_their_upper_bound() -> None:
    """As Prometheus has it; what is slower than the last bound comes behind it."""
    one = Meter()
    one.count(np.array([0.0, *LATENCY_BUCKETS, 11.0, 1e9]))
    assert one.latency == (2, *[1] * (len(LATENCY_BUCKETS) - 1), 2)


def test_scanning_is_measured_by_sample() -> None:
    """The sample stands for all files; what remains of their time was reading."""
    one = Meter()
    begun = [float(second) for second in range(100)]
    one.lap_files(FileTimes(begun=begun, end=100.0, sampled=10, scanning=2.0, scanning_on=5.0, inflating=3.0))
    found = {stage: round(spent, 6) for stage, spent in one.seconds.items()}
    assert (found["scan"], found["inflate"], found["read"]) == (25.0, 3.0, 72.0)
    one.lap_files(FileTimes(begun=[0.0], end=0.1))  # no sample of its own: those from before stand for it
    assert one.seconds["scan"] == pytest.approx(25.1) and one.seconds["read"] == pytest.approx(72.0)
    one.lap_files(FileTimes())
    assert min(one.seconds["read"], one.seconds["scan"], one.seconds["inflate"]) > 0


def test_notes_add_up_to_the_result(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to the files: retries, failures found late, batches; and each note is of some new files."""
    monkeypatch.setattr(task, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(meter, "SAMPLE", 3)
    odd = make_file("1.2").replace(encode(0x00080018, "UI", b"1.2"), encode(0x00080018, "US", b"\x01\x00\x02\x00"))
    paths = [put(f"f{n}", odd if n % 5 == 4 else make_file(f"1.{n}")) for n in range(21)]
    paths += [put("text", b"no"), paths[0].with_name("gone"), put("empty", b"")]
    real, calls = files.os.readv, []

    def read(descriptor: int, buffers: Any) -> int:
        calls.append(descriptor)
        if len(calls) % 6 == 5:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers)

    monkeypatch.setattr(files.os, "readv", read)
    notes: list[BatchDone] = []
    result = scan(paths, note=notes.append, header__batch_rows=6).result
    assert {note.task_id for note in notes} == {"task"} and len(notes) >= 6
    assert all(note.files or note.failed or note.retries for note in notes)
    assert sum(note.files for note in notes) == result.files == 24
    failed = sum(count for (status, _), count in result.counts.items() if status == "failed")
    assert sum(note.failed for note in notes) == failed >= 5
    for name in ("header_bytes", "file_bytes", "retries"):
        assert sum(getattr(note, name) for note in notes) == getattr(result, name) > 0, name
    assert result.file_bytes == 11 * 24


def test_slow_files_are_told_of_early(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so much time, whatever the number of files."""
    monkeypatch.setattr(task, "NOTE_SECONDS", 0.0)
    notes: list[BatchDone] = []
    scan([put(f"f{n}", make_file(f"1.{n}")) for n in range(5)], note=notes.append)
    assert [note.files for note in notes if note.files] == [1] * 5


def test_notes_come_in_the_caller_s_thread(scan: Scan, put: Put) -> None:
    """What tells the cluster of them may depend on it."""
    import threading

    threads: list[threading.Thread] = []
    scan([put("f", make_file("1.1"))], note=lambda _: threads.append(threading.current_thread()))
    assert set(threads) == {threading.current_thread()}
