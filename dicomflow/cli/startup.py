"""Make a short command short: what its start and end need not cost.

In: nothing.  Out: a process that starts and ends sooner.  Knows quirks of libraries, no command.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn


class _NoPandas:
    """An import hook for which there is no pandas."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse pandas; anything else is for others to find."""
        if name == "pandas":
            raise ImportError(name)
        return None


def spare_pandas() -> None:
    """Keep pyarrow from importing pandas (0.3 s), which it does at the first ``pa.array`` only to look for its types.

    pyarrow looks once and remembers that there was none; whatever really asks for pandas, such as ``to_pandas``, still
    imports it.  Only for a process of our own: in a user's, ``pa.array`` of a pandas Series should know what it gets.
    """
    if "pandas" in sys.modules:
        return
    arrow = importlib.import_module("pyarrow")
    hook = _NoPandas()
    sys.meta_path.insert(0, hook)
    try:
        arrow.array([])
    finally:
        sys.meta_path.remove(hook)


@contextlib.contextmanager
def spare_collector() -> Iterator[None]:
    """Imports make objects that stay: looking through them again and again for garbage is in vain, then and later."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def limit_memory(more: int) -> Iterator[None]:
    """Have the system refuse this process more than so many bytes: an error that can be told.

    There would be nobody to tell one, once the system has to choose whom to kill.  Only for a process of our own; does nothing
    where the system does not count (``RLIMIT_DATA`` counts what is mapped privately and can be written, since Linux 4.7), and
    raises no limit that is there.
    """
    if sys.platform != "linux":
        yield
        return
    resource = importlib.import_module("resource")  # there is none elsewhere
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard, _count_data() + more) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _count_data() -> int:
    """Bytes that are mapped now, as the system counts them."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmData:")), 0)


def leave(code: int) -> NoReturn:
    """End the process at once: what the interpreter would take apart piece by piece (0.2 s), the system takes in one."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
