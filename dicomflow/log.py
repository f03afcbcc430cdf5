"""Structured logs: one event per line on standard error, for people or as JSON.

In: a stage's name, the ids of the run.  Out: loggers whose lines carry ``timestamp, level, service, run_id, trace_id,
task_id, stage, event``.  Knows nothing of DICOM, and keeps what exceptions say out of the log: the text of a stranger's
exception may quote a patient's value, so only its type and place are written.

A run's tasks may be in other processes, on other machines.  The driver sends a ``LogContext`` along with the job; a task works
inside ``joined(context)``, so that its lines carry the ids of the run, in the form and from the level that the driver shows.
Warnings and worse go to the driver where ``relay`` takes them there: above its progress bar, and once.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dicomflow.errors import ConfigError
from dicomflow.loglines import BOUND, make_settings

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LEVELS = ("debug", "info", "warning", "error", "critical")
MAX_RELAYED = 1 << 14
"""Characters of a line that another process sent."""

Relay = Callable[[str], None]
"""Takes a line to the driver of the run."""

_RELAY: ContextVar[Relay | None] = ContextVar("dicomflow_log_relay", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogContext:
    """What a process needs to log as another one does: a few words that travel with a job.

    Attributes:
        run_id: of the run.
        trace_id: the same on all lines of a run, wherever they are written; 32 hex digits.
        json: JSON lines, not lines for people.
        level: the least level that is shown; None where nobody configured anything, and only warnings are.
        process: where it comes from: host and process id.
    """

    run_id: str
    trace_id: str
    json: bool = False
    level: str | None = None
    process: str = ""


def configure_logging(*, json: bool, level: str) -> None:
    """Send the log of this process to standard error.

    For programs: the command line calls it, and each worker process of a run.  A library that calls dicomflow need
    not; until somebody does, only warnings and worse are shown.

    Args:
        json: one JSON object per line instead of lines for people.
        level: the least level to show: debug, info, warning, error or critical.

    Raises:
        ConfigError: there is no such level.
    """
    if level not in LEVELS:
        raise ConfigError(f"log level {level[:64]!r}: expected one of {', '.join(LEVELS)}")
    _configure(json, level, colors=_stderr_has_colors())


def get_logger(stage: str) -> FilteringBoundLogger:
    """The logger of one stage, such as ``sources`` or ``compute``.

    It looks up the configuration at each call, so it may be made before ``configure_logging``.
    """
    return cast("FilteringBoundLogger", _StageLogger(stage))


def bind_run(run_id: str, trace_id: str) -> None:
    """Put the ids of the run on every later line of this context (thread, asyncio task)."""
    BOUND.set({**BOUND.get(), "run_id": run_id, "trace_id": trace_id})


def log_context() -> LogContext:
    """What tasks of this run need to log as this process does, wherever they are."""
    bound, ours = BOUND.get(), _configured()
    return LogContext(
        run_id=bound.get("run_id", ""),
        trace_id=bound.get("trace_id", ""),
        json=ours.json if ours else False,
        level=ours.level if ours else None,
        process=_this_process(),
    )


@contextmanager
def joined(context: LogContext, relay: Relay | None = None) -> Iterator[None]:
    """Log as the process does that the context comes from, inside a ``with`` block.

    A process that has no configuration of its own gets that of the context; that of a program which uses structlog stays.

    Args:
        context: from ``log_context``.
        relay: takes warnings and worse to that process, which gives them to ``write_relayed``; not used within that process.
    """
    abroad = context.process != _this_process()
    if abroad and context.level is not None:
        _adopt(context.json, context.level)
    bound = BOUND.set({**BOUND.get(), "run_id": context.run_id, "trace_id": context.trace_id})
    relayed = _RELAY.set(relay if abroad else None)
    try:
        yield
    finally:
        _RELAY.reset(relayed)
        BOUND.reset(bound)


def write_relayed(line: str) -> None:
    """Write a line that another process logged: one line, and nothing in it that a terminal acts on."""
    line = line[:MAX_RELAYED]
    _write(line if line.isprintable() else line.encode("unicode_escape").decode("ascii"))


@contextmanager
def bound_task(task_id: str) -> Iterator[None]:
    """Put the id of a task on every line inside a ``with`` block."""
    token = BOUND.set({**BOUND.get(), "task_id": task_id})
    try:
        yield
    finally:
        BOUND.reset(token)


class _StageLogger:
    """Hands each call to structlog as it is configured at that moment."""

    __slots__ = ("_stage",)

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        if name in ("debug", "info") and "structlog" not in sys.modules:
            return _ignore  # nobody configured logging: spare the import, 0.1 s of a short run
        import structlog

        if structlog.is_configured():
            return getattr(structlog.get_logger(stage=self._stage), name)
        colors = _RELAY.get() is None and _stderr_has_colors()
        quiet = structlog.wrap_logger(_Sink(), **make_settings(False, "warning", colors=colors))
        return getattr(quiet.bind(stage=self._stage), name)

    def __reduce__(self) -> tuple[type[_StageLogger], tuple[str]]:
        return _StageLogger, (self._stage,)


def _ignore(_event: str, **_fields: object) -> None:
    """A line below the level that is shown."""


class _Sink:
    """Where finished lines go: standard error as it is at that moment, since a progress bar puts its own in its place."""

    __slots__ = ()

    def info(self, line: str) -> None:
        """Stays in this process."""
        _write(line)

    def warning(self, line: str) -> None:
        """Goes to the driver of the run, if there is a way."""
        relay = _RELAY.get()
        if relay is None:
            return _write(line)
        try:
            relay(line)
        except Exception:  # noqa: BLE001  whatever is wrong with the way, the line must not be lost
            _write(line)

    debug = info
    error = critical = exception = fatal = warn = warning


class _Factory:
    """Makes sinks for structlog, and remembers how it was asked to."""

    def __init__(self, json: bool, level: str) -> None:
        self.json = json
        self.level = level

    def __call__(self, *_: object) -> _Sink:
        return _Sink()


_WRITING = threading.Lock()


def _write(line: str) -> None:
    stream = sys.stderr
    if stream is not None:
        with _WRITING:
            stream.write(f"{line}\n")
            stream.flush()


def _configured() -> _Factory | None:
    """How ``configure_logging`` was called last; None where it was not, or somebody else has been there since."""
    if "structlog" not in sys.modules:
        return None
    import structlog

    factory = structlog.get_config()["logger_factory"]
    return factory if isinstance(factory, _Factory) else None


def _adopt(json: bool, level: str) -> None:
    import structlog

    ours = _configured()
    if ours is None and structlog.is_configured():
        return
    if ours is None or (ours.json, ours.level) != (json, level):
        _configure(json, level, colors=False)  # the lines may be relayed to who knows where


def _configure(json: bool, level: str, *, colors: bool) -> None:
    import structlog

    settings = make_settings(json, level, colors=colors)
    structlog.configure(logger_factory=_Factory(json, level), cache_logger_on_first_use=False, **settings)


def _stderr_has_colors() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and "NO_COLOR" not in os.environ


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
