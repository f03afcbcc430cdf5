"""Which process is which, and whether it still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from dicomflow.dataset import process
from dicomflow.dataset.process import identify_process, is_alive

NO_PROC = Path("/no/such/proc")


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without ``/proc``."""
    monkeypatch.setattr(process, "_PROC", NO_PROC)


def test_this_process_lives() -> None:
    """Whatever the clock says."""
    assert is_alive(identify_process())


def test_the_clock_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting it moves the start of every process as the time of day, and no start in ticks."""
    own = identify_process()
    if "ticks" not in own:
        pytest.skip("this system has no /proc")
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 0.0)
    assert is_alive(own)


@pytest.mark.parametrize("changed", [{"ticks": 1}, {"boot": "another"}, {"boot": None}, {"pid": 2**40}, {"pid": 2**80}])
def test_another_process(changed: dict[str, Any]) -> None:
    """One that began in another tick, before the system started, or never was."""
    own = identify_process()
    if "ticks" not in own:
        pytest.skip("this system has no /proc")
    assert not is_alive({**own, **changed})


@pytest.mark.parametrize("pid", [None, -1, 0, "1", 1.0, True])
def test_no_process(pid: object) -> None:
    """Signals to process groups are never sent; what names no process is none."""
    assert not is_alive({**identify_process(), "pid": pid})


def test_a_process_that_nobody_waited_for() -> None:
    """It was killed: that its number is still taken means nothing."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        fields = process._read_fields(child.pid)
        if fields is None:
            pytest.skip("this system has no /proc")
        own = {**identify_process(), "pid": child.pid, "ticks": int(fields[process._TICKS])}
        assert is_alive(own)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.pid_exists(child.pid) and not is_alive(own)


def test_a_name_that_looks_like_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may be called anything, and what follows its name is counted from the last parenthesis."""
    monkeypatch.setattr(process, "_PROC", tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(b"7 (a) Z 1 (\xff) S " + b" ".join(b"%d" % n for n in range(4, 50)))
    fields = process._read_fields(7)
    assert (
        fields is not None and fields[process._STATE] == "S" and fields[process._TICKS] == "22"
    )  # proc(5) counts from 1


def test_a_process_that_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's may be there and not be seen; only the right to signal it is missing."""
    own = identify_process()
    monkeypatch.setattr(process, "_read_fields", lambda _: None)
    assert "boot" not in own or not is_alive(own)  # one's own is never hidden

    def deny(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", deny)
    assert is_alive(own)


# ---- without /proc ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_proc")
def test_by_the_time_of_day() -> None:
    """Elsewhere the start is a time."""
    own = identify_process()
    assert set(own) == {"pid", "started"} and is_alive(own)
    assert not is_alive({**own, "started": own["started"] - 3600})
    assert is_alive({"pid": os.getppid()})


@pytest.mark.usefixtures("no_proc")
def test_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """No right to look at a process means that it is there."""

    def deny(_: psutil.Process) -> float:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "create_time", deny)
    assert is_alive({"pid": os.getppid(), "started": 0.0})
