"""Lay out one row of a dataset: names and values for people, plain values for JSON.

In: a row as a dict.  Out: text, or what ``json`` takes.  Knows the types that columns have; no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from typing import Any

from rich.text import Text

from dicomflow.report.text import harmless, shorten

_NAME = 32


def render_instance(row: Mapping[str, Any], *, width: int | None) -> Iterator[Text]:
    """One line for each value that is there.

    Args:
        row: by column.
        width: cells of the terminal; None for a pipe, where nothing is cut to fit.
    """
    for name, value in row.items():
        if value is not None:
            text = harmless(_format_value(value))
            shown = shorten(text, max(_NAME, width - _NAME - 2)) if width else text
            yield Text.assemble((harmless(name).ljust(_NAME), "dim"), "  ", shown)


def _format_value(value: object) -> str:
    """Text as it is; lists, and what is nested in them, as JSON."""
    plain = to_plain(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else str(plain)


def to_plain(value: object) -> object:
    """Dates and times as ISO text; all else as JSON has it.

    >>> to_plain({"StudyDate": date(2026, 1, 31), "Rows": [512]})
    {'StudyDate': '2026-01-31', 'Rows': [512]}
    """
    if isinstance(value, Mapping):
        return {name: to_plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [to_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date | datetime | time) else value
