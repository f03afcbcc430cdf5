"""A table of text: aligned, as wide as there is room, harmless."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal

import pytest
from rich.cells import cell_len

from dicomflow.report.result import render_result


def lines(names: list[str], rows: list[list[object]], width: int | None = None) -> list[str]:
    return [line.plain for line in render_result(names, rows, width=width).lines]


def test_columns_are_aligned() -> None:
    """Numbers to the right, text to the left; nothing for null."""
    assert lines(["name", "n"], [["CT", 5], ["日本", 1234], [None, None]]) == [
        "name     n",
        "CT       5",
        "日本  1234",
        "",
    ]


def test_values() -> None:
    """As people write them; what is nested as JSON."""
    row = [
        1.5,
        1e-9,
        True,
        date(2024, 1, 2),
        datetime(2024, 1, 2, 3, 4),
        time(5, 6),
        ["a", None],
        {"t": date(2024, 1, 2)},
        Decimal("2.50"),
        b"\x01",
        (1, 2),
    ]
    shown = lines([f"c{place}" for place in range(len(row))], [row])[1].split("  ")
    shown = [text.strip() for text in shown if text.strip()]
    assert shown == [
        "1.5",
        "1e-09",
        "True",
        "2024-01-02",
        "2024-01-02 03:04:00",
        "05:06:00",
        '["a", null]',
        '{"t": "2024-01-02"}',
        "2.50",
        "01",
        "[1, 2]",
    ]


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80, 200])
def test_width(width: int) -> None:
    """No line is longer than the terminal is wide; what does not fit is counted."""
    names = [f"column{place}" for place in range(30)]
    table = render_result(names, [["x" * 100] * 30, ["日本" * 40] * 30], width=width)
    assert all(cell_len(line.plain) <= width for line in table.lines)
    assert 0 < table.left_out < 30 and len(table.lines) == 3


def test_nothing_is_cut_in_a_pipe() -> None:
    """However long it is."""
    table = render_result(["a", "b"], [["x" * 1000, 1]], width=None)
    assert table.left_out == 0 and "x" * 1000 in table.lines[1].plain


def test_harmless() -> None:
    """Names and values cannot act on a terminal, nor break a line."""
    for text in lines(["a\x1b[2J\n"], [["b\x1b]0;x\x07\r\n\u202e"], [["\x1b"]]]):
        assert text.isprintable()


def test_no_rows_and_one_name_twice() -> None:
    """The heading stands alone; two columns may have one name."""
    assert lines(["a", "bb"], []) == ["a  bb"]
    assert lines(["a", "a"], [[1, 2]]) == ["a  a", "1  2"]
