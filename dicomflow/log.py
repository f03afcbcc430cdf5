"""Structured logs: one event per line on standard error, for people or as JSON.

In: a stage's name, the ids of the run.  Out: loggers whose lines carry ``timestamp, level, service, run_id, trace_id,
task_id, stage, event``.  Knows nothing of DICOM, and keeps what exceptions say out of the log: the text of a stranger's
exception may quote a patient's value, so only its type and place are written.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from dicomflow.errors import ConfigError, DicomflowError

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

_BOUND: ContextVar[Mapping[str, str]] = ContextVar("dicomflow_log_fields", default={})  # noqa: B039 (never changed)

LEVELS = ("debug", "info", "warning", "error", "critical")
SERVICE = "dicomflow"
MAX_CAUSES = 8


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
    import structlog

    factory = structlog.WriteLoggerFactory(file=sys.stderr)
    structlog.configure(logger_factory=factory, cache_logger_on_first_use=False, **_settings(json, level))


def get_logger(stage: str) -> FilteringBoundLogger:
    """The logger of one stage, such as ``sources`` or ``compute``.

    It looks up the configuration at each call, so it may be made before ``configure_logging``.
    """
    return cast("FilteringBoundLogger", _StageLogger(stage))


def bind_run(run_id: str, trace_id: str) -> None:
    """Put the ids of the run on every later line of this context (thread, asyncio task)."""
    _BOUND.set({**_BOUND.get(), "run_id": run_id, "trace_id": trace_id})


@contextmanager
def bound_task(task_id: str) -> Iterator[None]:
    """Put the id of a task on every line inside a ``with`` block."""
    token = _BOUND.set({**_BOUND.get(), "task_id": task_id})
    try:
        yield
    finally:
        _BOUND.reset(token)


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
        quiet = structlog.wrap_logger(structlog.WriteLogger(sys.stderr), **_settings(False, "warning"))
        return getattr(quiet.bind(stage=self._stage), name)

    def __reduce__(self) -> tuple[type[_StageLogger], tuple[str]]:
        return _StageLogger, (self._stage,)


def _ignore(_event: str, **_fields: object) -> None:
    """A line below the level that is shown."""


def _settings(json: bool, level: str) -> dict[str, Any]:
    import structlog

    shown = logging.getLevelNamesMapping()[level.upper()]
    settings: dict[str, Any] = {
        "processors": _processors(json),
        "wrapper_class": structlog.make_filtering_bound_logger(shown),
        "context_class": dict,
    }
    return settings


def _processors(json: bool) -> list[Processor]:
    import structlog

    renderer: list[Processor] = [structlog.processors.JSONRenderer()] if json else [_escape_text, _console_renderer()]
    return [
        _add_bound_fields,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _add_service,
        _describe_exception,
        *renderer,
    ]


def _add_bound_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in _BOUND.get().items():
        event.setdefault(key, value)
    return event


def _add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["service"] = SERVICE
    return event


def _describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """``exc_info`` -> ``exception``: types and frames; the text only where dicomflow itself wrote it."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    causes: list[str] = []
    while error is not None and len(causes) < MAX_CAUSES:
        said = f": {error}" if isinstance(error, DicomflowError) else ""
        frames = "".join(traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__)).format())
        causes.append(f"{type(error).__name__}{said}\n{frames}".rstrip())
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if causes:
        event["exception"] = "\nbecause of ".join(causes)
    return event


def _escape_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """File names are hostile text too: no control character reaches a terminal."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event


def _console_renderer() -> Processor:
    import structlog

    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
