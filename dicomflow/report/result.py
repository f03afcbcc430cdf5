"""Lay out the answer to a query as a table of text.

In: names of columns, rows.  Out: ``rich.text.Text``, and what had to be left out.  Knows no SQL.

Numbers stand to the right.  On a terminal, columns that do not fit beside the others are left out, and counted; a cell
is cut before that.  In a pipe nothing is cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from numbers import Number
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from dicomflow.report.text import harmless, pad, shorten

_GAP = 2
_MAX_CELL = 48
_MIN_CELL = 8
_MAX_TEXT = 4096
"""Characters of a cell that are looked at where nothing is cut to fit."""


class Table(NamedTuple):
    """Lines, the heading first, and how many columns did not fit."""

    lines: list[Text]
    left_out: int


def render_result(names: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int | None) -> Table:
    """A heading and a line for each row.

    Args:
        names: of the columns.
        rows: values, in the order of the columns.
        width: cells of the terminal; None for a pipe.

    >>> for line in render_result(["Modality", "n"], [["CT", 3]], width=None).lines:
    ...     print(line)
    Modality  n
    CT        3
    """
    heads = [harmless(name) for name in names]
    cells = [[_format(value) for value in row] for row in rows]
    sizes = [
        max(map(cell_len, (head, *column))) for head, column in zip(heads, _columns(cells, len(heads)), strict=True)
    ]
    if width is not None:
        sizes = _fit(sizes, width)
    right = [_is_numeric(column) for column in _columns(rows, len(heads))]
    lines = [Text(_line(heads, sizes, right), style="bold")]
    lines += [Text(_line(row, sizes, right)) for row in cells]
    return Table(lines, len(heads) - len(sizes))


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(count)]


def _is_numeric(column: Sequence[Any]) -> bool:
    values = [value for value in column if value is not None]
    return bool(values) and all(isinstance(value, Number) and not isinstance(value, bool) for value in values)


def _fit(sizes: list[int], width: int) -> list[int]:
    """Widths of the columns that are shown: wide ones are cut first, then the last ones are left out."""
    sizes = [min(size, _MAX_CELL) for size in sizes]
    while _total(sizes) > width and max(sizes) > 2 * _MIN_CELL:
        widest = max(sizes)
        sizes = [max(2 * _MIN_CELL, widest - 1) if size == widest else size for size in sizes]
    while len(sizes) > 1 and _total(sizes) > width:
        sizes.pop()
    sizes[-1] = max(1, min(sizes[-1], sizes[-1] - (_total(sizes) - width)))
    return sizes


def _total(sizes: Sequence[int]) -> int:
    return sum(sizes) + _GAP * (len(sizes) - 1)


def _line(cells: Sequence[str], sizes: Sequence[int], right: Sequence[bool]) -> str:
    shown = zip(cells, sizes, right, strict=False)  # columns that are left out have no size
    return (" " * _GAP).join(_align(cell, size, to_right) for cell, size, to_right in shown).rstrip()


def _align(cell: str, size: int, to_right: bool) -> str:
    if not to_right:
        return pad(cell, size)
    cell = shorten(cell, size)
    return " " * (size - cell_len(cell)) + cell


def _format(value: Any) -> str:
    """Nothing for null; lists, and what is nested in them, as JSON."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | Mapping | tuple):
        value = json.dumps(value, ensure_ascii=False, default=_plain)
    return harmless(str(_plain(value))[:_MAX_TEXT])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
