"""Files that do something to the process that opens them: for tests of what a run survives.  Nothing of it is in the product.

    POISON='.kill=KILL,.stop=STOP:1,.flaky=EIO:2' dask worker --preload tests/poison.py tcp://127.0.0.1:8786

or ``LocalCluster(processes=True, preload=[poison.PATH])``, or in this process ``with poisoned(".kill=KILL")``.  Each rule is
``SUFFIX=ACTION[:TIMES]``: what happens when ``os.open`` meets a name with this suffix, for the first TIMES times (always,
without one).  ACTION is a signal that the process gets (``KILL``, ``STOP``), an error of the operating system (``EIO``), or
``MEMORY``, of which there is no more.
TIMES are counted for each file: in one process, or over all that see the same folder ``POISON_FOLDER``.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PATH = os.path.abspath(__file__)


class Rule(NamedTuple):
    suffix: str
    action: str
    times: int | None


def parse_rules(text: str) -> list[Rule]:
    """The rules of ``POISON``.

    >>> parse_rules(".kill=KILL,.flaky=EIO:2")
    [Rule(suffix='.kill', action='KILL', times=None), Rule(suffix='.flaky', action='EIO', times=2)]
    """
    rules = []
    for rule in filter(None, text.split(",")):
        suffix, _, what = rule.partition("=")
        action, _, times = what.partition(":")
        if not suffix or not (action == "MEMORY" or hasattr(signal, f"SIG{action}") or hasattr(errno, action)):
            raise ValueError(f"{rule!r}: expected SUFFIX=ACTION[:TIMES]")
        rules.append(Rule(suffix, action, int(times) if times else None))
    return rules


class Poison:
    """``os.open``, with rules."""

    def __init__(self, rules: list[Rule], real: Callable[..., int], folder: Path | None) -> None:
        self._rules = rules
        self._real = real
        self._folder = folder
        self._met: Counter[str] = Counter()

    def __call__(self, path: Any, *arguments: Any, **options: Any) -> int:
        name = os.fsdecode(path)
        for rule in self._rules:
            if name.endswith(rule.suffix) and (rule.times is None or self._meet(name) <= rule.times):
                _act(rule.action)
        return self._real(path, *arguments, **options)

    def _meet(self, name: str) -> int:
        """How often this file was met, this time included."""
        if self._folder is None:
            self._met[name] += 1
            return self._met[name]
        number = 1
        while True:
            try:
                (self._folder / f"{os.path.basename(name)}.{number}").touch(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return number


def _act(action: str) -> None:
    if action == "MEMORY":
        raise MemoryError
    number = getattr(signal, f"SIG{action}", None)
    if number is None:
        raise OSError(getattr(errno, action), os.strerror(getattr(errno, action)))
    os.kill(os.getpid(), number)


@contextmanager
def poisoned(rules: str, folder: Path | None = None) -> Iterator[None]:
    """This process meets the rules inside the block."""
    real = os.open
    os.open = Poison(parse_rules(rules), real, folder)  # type: ignore[assignment]
    try:
        yield
    finally:
        os.open = real


def dask_setup(_worker: object) -> None:
    """Called by Dask in the worker process, for a preload."""
    folder = os.environ.get("POISON_FOLDER")
    os.open = Poison(parse_rules(os.environ.get("POISON", "")), os.open, Path(folder) if folder else None)  # type: ignore[assignment]
