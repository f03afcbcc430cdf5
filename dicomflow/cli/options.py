"""Kinds of option values that click does not have.

In: text from the command line.  Out: values, or a usage error.  Pure.
"""

from __future__ import annotations

import click


def parse_share(text: str) -> float:
    """A share of a whole, ``0.05`` or ``5%``, as a number from 0 to 1; for click's ``type``.

    Raises:
        click.BadParameter: it is none.

    >>> parse_share("5%"), parse_share("0.05")
    (0.05, 0.05)
    """
    text = str(text).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise click.BadParameter(f"{text[:64]!r} is no share; write 0.05 or 5%.") from None
    if not 0 <= share <= 1:  # NaN neither
        raise click.BadParameter(f"{text[:64]!r} is not between 0 and 1 (0% and 100%).")
    return share
