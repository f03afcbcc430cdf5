"""Shares are written as people write them."""

from __future__ import annotations

import click
import pytest

from dicomflow.cli.options import parse_share


@pytest.mark.parametrize(
    ("text", "share"),
    [("0", 0), ("1", 1), ("0.05", 0.05), ("5%", 0.05), ("100%", 1), (" 2.5 % ", 0.025), ("1e-3", 0.001)],
)
def test_shares(text: str, share: float) -> None:
    """Per cent or a number from 0 to 1."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "five", "5", "101%", "-0.1", "nan", "inf", "nan%"])
def test_no_shares(text: str) -> None:
    """Everything else is a usage error: 5 could mean 5 % or five times all."""
    with pytest.raises(click.BadParameter):
        parse_share(text)
