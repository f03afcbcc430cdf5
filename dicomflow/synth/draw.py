"""Repeatable chance: random draws and UIDs that depend on a key and on nothing else.

In: a key such as ``(seed, "study", 3)``.  Out: numbers, choices, bytes, UIDs.  Knows no DICOM beyond the form of a UID.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

Key = str | int

_UID_FLOOR = 10**37
_UID_SPAN = 9 * 10**37


class Draw:
    """A stream of draws that is the same on every machine and for every run.

    Only ``random()`` and ``getrandbits()`` of the Mersenne Twister are used, the methods that newer versions of Python
    have never changed.

    >>> Draw(7, "demo").integer(1, 6) == Draw(7, "demo").integer(1, 6)
    True
    """

    def __init__(self, *key: Key) -> None:
        """Start the stream that belongs to ``key``."""
        self._random = random.Random(_digest(key, 32))  # noqa: S311 (repeatable by seed, which is the point)

    def unit(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return low + int(self.unit() * (high - low + 1))

    def real(self, low: float, high: float, digits: int = 2) -> float:
        """A number from ``low`` to ``high`` with few decimals, so that its text is short and exact."""
        return round(low + self.unit() * (high - low), digits)

    def pick(self, choices: Sequence[T]) -> T:
        """One of ``choices``."""
        return choices[int(self.unit() * len(choices))]

    def blob(self, size: int) -> bytes:
        """``size`` random bytes."""
        return self._random.getrandbits(8 * size).to_bytes(size, "little") if size else b""


def make_uid(*key: Key) -> str:
    """The UID that belongs to ``key``: 43 characters under the root 2.25 (PS3.5 B.2), always the same width.

    >>> len(make_uid(0, "study", 1))
    43
    """
    return f"2.25.{_UID_FLOOR + _digest(key, 16) % _UID_SPAN}"


def _digest(key: tuple[Key, ...], size: int) -> int:
    text = "/".join(map(str, key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big")
