"""Kinds of option values that click does not have.

In: text from the command line.  Out: values, or a usage error.  Pure.
"""

from __future__ import annotations

import re

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


def parse_range(text: str) -> dict[str, int]:
    """``MIN:MAX`` as the two ends of a range; for click's ``type``.

    Raises:
        click.BadParameter: it is none.

    >>> parse_range("2:40")
    {'minimum': 2, 'maximum': 40}
    """
    found = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", str(text).strip())
    if found is None:
        raise click.BadParameter(f"{str(text)[:64]!r} is not MIN:MAX; write 2:40.")
    minimum, maximum = int(found[1]), int(found[2])
    if minimum > maximum or maximum < 1:
        raise click.BadParameter(
            f"{minimum}:{maximum} has no workers; write the smaller number first, and at least 1 as the other."
        )
    return {"minimum": minimum, "maximum": maximum}
