"""Tell one process from all others, and whether it still runs.

In: what a process of this host said of itself.  Out: whether that one lives.  Knows no locks.

Where the system has ``/proc``, a process is its number, the clock tick in which it began, counted from the start of the system
(proc(5), ``/proc/PID/stat``, field 22), and that start: no clock that is set has a part in it.  Elsewhere it is its number and
the time of day at which it began.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc")
_STATE, _TICKS = 0, 19  # of the fields behind the name, which is in parentheses and may hold anything
_DEAD = frozenset({"Z", "X"})  # killed, and not yet waited for
_SAME_START = 2  # seconds


def identify_process() -> dict[str, Any]:
    """What tells this process from all others of this host, for JSON."""
    boot, fields = _read_boot(), _read_fields(os.getpid())
    if boot is None or fields is None:
        return {"pid": os.getpid(), "started": psutil.Process().create_time()}
    return {"pid": os.getpid(), "boot": boot, "ticks": int(fields[_TICKS])}


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether the process that said this of itself still runs; one of the same number that began later is another.

    >>> is_alive(identify_process()), is_alive({"pid": None})
    (True, False)
    """
    pid, ticks, boot = process.get("pid"), process.get("ticks"), _read_boot()
    if type(pid) is not int or pid <= 0:
        return False
    if boot is None or type(ticks) is not int:
        return _began_at(pid, process.get("started"))
    return process.get("boot") == boot and _began_in(pid, ticks)


def _began_in(pid: int, ticks: int) -> bool:
    fields = _read_fields(pid)
    if fields is None:
        return _is_hidden(pid)
    return fields[_STATE] not in _DEAD and fields[_TICKS] == str(ticks)


def _read_boot() -> str | None:
    """Which start of the system this is; None where it does not say."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def _read_fields(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` behind the name; None where there is no such process, or no such file."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _TICKS else None


def _is_hidden(pid: int) -> bool:
    """Whether it is another user's, whom ``/proc`` may hide (mount option ``hidepid``)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _began_at(pid: int, started: object) -> bool:
    try:
        began = psutil.Process(pid).create_time()
    except (psutil.NoSuchProcess, OverflowError):
        return False
    except psutil.AccessDenied:
        return True
    return not isinstance(started, float) or abs(began - started) < _SAME_START
