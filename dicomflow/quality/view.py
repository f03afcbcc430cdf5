"""What the page needs of the figures: labels that are safe to show, cells that can be added up, numbers for people.

In: a ``QualityReport``.  Out: plain values for a template, and an object for JSON.  Pure; knows no HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dicomflow.quality.figures import MANUFACTURER, MODALITY, NONE, OTHER, Figure, QualityReport
from dicomflow.quality.sections import SECTIONS, Table
from dicomflow.report.text import format_bytes, format_seconds, harmless

FILTERS = (MODALITY, MANUFACTURER)


# ---- labels ----------------------------------------------------------------------------------------------------------


def show_label(value: object) -> str:
    r"""A stranger's text, fit to be shown: no control characters, and nothing that a chart would take for TeX.

    >>> print(show_label("A\x1b[0m $$x$$"), show_label(None))
    A\x1b[0m $ $x$ $
    """
    if value is None:
        return ""
    text = harmless(str(value))
    for mark in ("$$", r"\[", r"\("):
        text = text.replace(mark, f"{mark[0]} {mark[1]}")
    return text


def list_labels(report: QualityReport, column: str) -> list[str]:
    """Values of a filter, the most frequent first, what has no name last; also those that only other tables have."""
    archive = report.figures["archive"]
    counts: dict[str, int] = {}
    for row in archive.iter_dicts():
        counts[row[column]] = counts.get(row[column], 0) + row["instances"]
    for figure in report.figures.values():
        if is_filtered(figure):
            counts = {**dict.fromkeys(figure.column(column), 0), **counts}
    counts.pop(None, None)  # type: ignore[call-overload]  # of all
    return sorted(counts, key=lambda value: (value == OTHER, value == NONE, -counts[value], value))


def make_unique(labels: Sequence[str]) -> list[str]:
    """Different values stay different, also where they look the same.

    >>> make_unique(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    seen: dict[str, int] = {}
    found: list[str] = []
    for label in map(show_label, labels):
        seen[label] = count = seen.get(label, 0) + 1
        found.append(label if count == 1 else f"{label} ({count})")
    return found


# ---- cells -----------------------------------------------------------------------------------------------------------


def to_json(report: QualityReport) -> dict[str, Any]:
    """What the page's script adds up: rows of figures that can be filtered, with places of labels for the labels."""
    values = {name: list_labels(report, name) for name in FILTERS}
    places = {name: {value: place for place, value in enumerate(found)} for name, found in values.items()}
    figures = {
        figure.name: {"columns": figure.columns, "rows": list(map(partial(_place, places), figure.rows))}
        for figure in report.figures.values()
        if is_filtered(figure)
    }
    tables = {
        table.name: {
            "figure": table.figure,
            "keys": list(table.keys),
            "measures": list(table.measures),
            "isTotal": table.is_total,
            "explained": dict(table.explained),
        }
        for section in SECTIONS
        for table in section.tables
        if table.figure in figures
    }
    return {
        "labels": {name: make_unique(found) for name, found in values.items()},
        "figures": figures,
        "tables": tables,
    }


def is_filtered(figure: Figure) -> bool:
    """Whether its rows say of which modality and manufacturer they are."""
    return figure.columns[:2] == FILTERS


def _place(places: Mapping[str, Mapping[str, int]], row: Sequence[Any]) -> list[Any]:
    """Null, which is of all, is -1."""
    firsts = [-1 if value is None else places[name][value] for name, value in zip(FILTERS, row, strict=False)]
    return firsts + [show_label(value) if isinstance(value, str) else value for value in row[2:]]


def add_up(figure: Figure, table: Table) -> list[tuple[list[str], list[Any]]]:
    """Rows of the table while nothing is filtered: keys and measures."""
    sums: dict[tuple[str, ...], list[Any]] = {}
    other = [name for name in FILTERS if name not in table.keys]
    for row in figure.iter_dicts():
        if table.is_total and (row[other[0]] is not None or row[next(iter(table.keys))] is None):
            continue
        key = tuple(show_label(row[name]) for name in table.keys)
        found = [row[name] for name in table.measures]
        sums[key] = [_add(one, two) for one, two in zip(sums[key], found, strict=True)] if key in sums else found
    rows = [(list(key), values) for key, values in sums.items() if table.figure == "runs" or values[0]]
    return rows if table.figure == "runs" else sorted(rows, key=lambda row: (-(row[1][0] or 0), row[0]))


def _add(one: Any, two: Any) -> Any:
    return one if two is None else two if one is None else one + two


def show_number(name: str, value: float | None) -> str:
    """A number for people.

    >>> show_number("instances", 12345), show_number("bytes", 1_250_000), show_number("seconds", None)
    ('12,345', '1.2 MB', '')
    """
    if value is None:
        return ""
    if name == "bytes":
        return format_bytes(int(value))
    if name == "seconds":
        return format_seconds(value)
    return f"{value:,.0f}"
