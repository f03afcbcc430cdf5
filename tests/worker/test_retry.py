"""Faults that may pass are tried again in rounds; all others are final."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomflow.config import RetryConfig
from dicomflow.worker import files, task
from dicomflow.worker.retry import PASSING, may_pass, try_again
from tests.test_worker import Put, Scan, make_file
from tests.worker.conftest import inode_of


class Flaky:
    """A call that fails a number of times on each of some files."""

    def __init__(self, real: Callable[..., Any], faults: dict[Path, tuple[int, int]]) -> None:
        self._real = real
        self._left = {inode_of(path): list(fault) for path, fault in faults.items()}

    def __call__(self, first: Any, *arguments: Any, **options: Any) -> Any:
        fault = self._left.get(inode_of(first)) if isinstance(first, int) or os.path.exists(first) else None
        if fault and fault[1]:
            fault[1] -= 1
            raise OSError(fault[0], os.strerror(fault[0]))
        return self._real(first, *arguments, **options)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a task would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(task.time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("call", ["open", "readv", "preadv", "fstat"])
def test_a_fault_that_passes(
    scan: Scan, put: Put, waits: list[float], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The file is read after all; the ledger says at which attempt; its neighbours were read once."""
    paths = [put(f"f{n}", make_file(f"1.{n}", blob=50_000, number=n)) for n in range(4)]
    faults = {paths[1]: (errno.ESTALE, 1), paths[2]: (errno.EIO, 2)}
    monkeypatch.setattr(os, call, Flaky(getattr(os, call), faults))
    monkeypatch.setattr(files, "MAX_PREFIX_BYTES", 1 << 14)  # so that each file is read on
    done = scan(paths, header__prefix_bytes=1024)
    assert {outcome["status"] for outcome in done.ledger.values()} == {"ok"}
    assert [done.ledger[f"f{n}"]["attempts"] for n in range(4)] == [1, 2, 3, 1]
    assert [row["InstanceNumber"] for row in done.rows] == [0, 1, 2, 3]
    assert (done.result.retries, sum(done.result.latency), len(waits)) == (3, 4, 2)


def test_a_fault_that_stays(scan: Scan, put: Put, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many attempts the file has failed, with the last fault; a fault of another kind ends it at once."""
    paths = [put(f"f{n}", make_file(f"1.{n}", number=n)) for n in range(3)]
    monkeypatch.setattr(os, "readv", Flaky(os.readv, {paths[0]: (errno.ETIMEDOUT, 99), paths[1]: (errno.EISDIR, 99)}))
    done = scan(paths, retry__attempts=4)
    assert done.outcome("f0") == ("failed", "io_error", os.strerror(errno.ETIMEDOUT))
    assert done.outcome("f1") == ("failed", "io_error", os.strerror(errno.EISDIR))
    assert [done.ledger[f"f{n}"]["attempts"] for n in range(3)] == [4, 1, 1]
    assert (done.result.retries, len(waits), sum(done.result.latency)) == (3, 3, 3)


def test_a_storage_that_is_down_costs_its_rounds(
    scan: Scan, put: Put, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a wait for each file, whatever the number of batches."""
    paths = [put(f"f{n}", make_file(f"1.{n}", number=n)) for n in range(40)]
    monkeypatch.setattr(os, "open", Flaky(os.open, dict.fromkeys(paths[:30], (errno.EHOSTDOWN, 99))))
    done = scan(paths, header__batch_rows=3, retry__base_seconds=1.0, retry__max_seconds=1.5)
    assert done.result.counts == {("failed", "io_error"): 30, ("ok", None): 10}
    assert done.result.retries == 60 and len(waits) == 2
    assert 0.5 <= waits[0] <= 1.0 and 0.75 <= waits[1] <= 1.5


def test_batches_stay_bounded_over_rounds(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read in a later round fills batches like everything else."""
    paths = [put(f"f{n}", make_file(f"1.{n:02}", number=n)) for n in range(10)]
    monkeypatch.setattr(os, "open", Flaky(os.open, dict.fromkeys(paths[:8], (errno.EIO, 1))))
    done = scan(paths, header__batch_rows=3)
    assert [part.num_rows for part in done.parts] == [3, 3, 3, 1] and done.result.counts == {("ok", None): 10}
    assert [done.ledger[f"f{n}"]["SOPInstanceUID"] for n in range(10)] == [f"1.{n:02}" for n in range(10)]


def test_throttled(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN of a regular file may pass; of a FIFO it means that nobody writes."""
    path = put("f", make_file("1.2"))
    monkeypatch.setattr(os, "readv", Flaky(os.readv, {path: (errno.EAGAIN, 1)}))
    assert scan([path]).ledger["f"]["attempts"] == 2


def test_once_is_enough(scan: Scan, put: Put, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """With one attempt nothing is tried again."""
    path = put("f", make_file("1.2"))
    monkeypatch.setattr(os, "readv", Flaky(os.readv, {path: (errno.EIO, 1)}))
    done = scan([path], retry__attempts=1)
    assert done.outcome("f")[:2] == ("failed", "io_error") and (done.ledger["f"]["attempts"], waits) == (1, [])


@pytest.mark.parametrize(
    "name", ["ENOENT", "EACCES", "EPERM", "ENAMETOOLONG", "EISDIR", "ENOTDIR", "ELOOP", "ENXIO", "EINVAL", "EBADF"]
)
def test_what_never_passes(name: str) -> None:
    """These say what the file is, and not how the storage is today."""
    assert getattr(errno, name) not in PASSING and not may_pass(OSError(getattr(errno, name), ""))
    assert not may_pass(OSError("no number")) and not may_pass(ValueError("no path"))


def test_waits_grow_up_to_a_limit() -> None:
    """Twice as long each time, half of it by chance, so that workers do not come back together."""
    config = RetryConfig(attempts=8, base_seconds=2.0, max_seconds=20.0)
    seen = []
    for _ in range(50):
        waited: list[float] = []
        assert try_again([1], lambda left: left, config, waited.append) == [1]
        seen.append(waited)
    for number, most in enumerate([2, 4, 8, 16, 20, 20, 20]):
        column = [waited[number] for waited in seen]
        assert most / 2 <= min(column) < max(column) <= most, number
    assert {len(waited) for waited in seen} == {7}


def test_rounds_end_when_nothing_is_left() -> None:
    """Each round tries what the one before left; an error of the round itself is raised."""
    asked: list[list[int]] = []

    def attempt(left: list[int]) -> list[int]:
        asked.append(left)
        return left[1:]

    config = RetryConfig(attempts=9, base_seconds=0.0)
    assert try_again([3, 2, 1], attempt, config, lambda _: None) == []
    assert asked == [[3, 2, 1], [2, 1], [1]]
    assert try_again([], attempt, config, lambda _: None) == [] and len(asked) == 3
    with pytest.raises(ZeroDivisionError):
        try_again([0], lambda left: [1 // left[0]], config, lambda _: None)
