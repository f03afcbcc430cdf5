"""What a line of the log holds: fields in order, ids of the run, exceptions without their texts.

In: events.  Out: structlog's processors.  Knows neither where lines go nor who configures them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from dicomflow.errors import DicomflowError

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

BOUND: ContextVar[Mapping[str, str]] = ContextVar("dicomflow_log_fields", default={})  # noqa: B039 (never changed)
"""Fields of each line in this context (thread, asyncio task): ids of the run, of the task."""

SERVICE = "dicomflow"
MAX_CAUSES = 8

_FIRST = ("timestamp", "level", "service", "run_id", "trace_id", "task_id", "stage", "event")
"""Fields that each line of JSON has, in this order; null where there is none."""


def make_settings(json: bool, level: str, *, colors: bool) -> dict[str, Any]:
    """What structlog is to be configured with.

    Args:
        json: one JSON object per line instead of lines for people.
        level: the least level that is shown.
        colors: whether the lines go to a terminal that shows them.
    """
    import structlog

    shown = logging.getLevelNamesMapping()[level.upper()]
    settings: dict[str, Any] = {
        "processors": _processors(json, colors),
        "wrapper_class": structlog.make_filtering_bound_logger(shown),
        "context_class": dict,
    }
    return settings


def _processors(json: bool, colors: bool) -> list[Processor]:
    import structlog

    renderer: list[Processor] = [_put_first, structlog.processors.JSONRenderer()]
    if not json:
        renderer = [_escape_text, _console_renderer(colors)]
    return [
        _add_bound_fields,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _add_service,
        _describe_exception,
        *renderer,
    ]


def _add_bound_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in BOUND.get().items():
        event.setdefault(key, value)
    return event


def _add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["service"] = SERVICE
    return event


def _put_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The same fields on each line, for whoever searches them."""
    return {**{key: event.get(key) for key in _FIRST}, **event}


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


def _console_renderer(colors: bool) -> Processor:
    import structlog

    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
