"""Strangers' text does nothing to a terminal, and numbers read well."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dicomflow.report.text import (
    format_bytes,
    format_seconds,
    format_share,
    harmless,
    harmless_json,
    pad,
    shorten,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Doe^Jane", "Doe^Jane"),
        ("Müller 山田", "Müller 山田"),
        ("全角\u3000", "全角\u3000"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\udcff\u2028", "\\udcff\\u2028"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_harmless(text: str, shown: str) -> None:
    """Letters of all scripts stay; controls, overrides, separators and surrogates become escapes."""
    assert harmless(text) == shown


@given(st.text(st.characters()))
def test_harmless_is_one_line_that_prints(text: str) -> None:
    """Whatever goes in, what comes out is one line that any UTF-8 stream takes, and harmless again."""
    shown = harmless(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert harmless(shown) == shown


@given(st.text(st.characters()))
def test_json_keeps_its_meaning(text: str) -> None:
    """Escaping inside JSON changes how it looks, not what it says."""
    shown = harmless_json(json.dumps({"x": text}, ensure_ascii=False, indent=2))
    assert json.loads(shown) == {"x": text}
    assert "\x1b" not in shown
    shown.encode()


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])), st.integers(1, 60))
def test_widths(text: str, cells: int) -> None:
    """A shortened text fits, a padded one fits exactly, wide letters counted twice."""
    assert cell_len(shorten(text, cells)) <= cells
    assert cell_len(pad(text, cells)) == cells


def test_bytes() -> None:
    """Three digits or so, with the unit that fits."""
    counts = [0, 1, 999, 1000, 9_940, 9_950, 999_499, 999_500, 1_234_567, 5 * 10**12, 10**18]
    assert [format_bytes(count) for count in counts] == [
        "0 bytes", "1 byte", "999 bytes", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "1.2 MB", "5.0 TB", "1000 PB",
    ]  # fmt: skip


def test_seconds() -> None:
    """As precise as it is worth."""
    durations = [0.0123, 0.5, 1.26, 59.4, 59.6, 3599, 3600, 90_000]
    assert [format_seconds(seconds) for seconds in durations] == [
        "0.012 s", "0.5 s", "1.3 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min",
    ]  # fmt: skip


def test_shares() -> None:
    """Something is never 0 %, and less than all never 100 %."""
    shares = [0, 1e-9, 0.001, 0.5, 0.99899, 0.9999, 1]
    assert [format_share(share) for share in shares] == [
        "0 %", "<0.1 %", "0.1 %", "50.0 %", "99.9 %", ">99.9 %", "100 %",
    ]  # fmt: skip
