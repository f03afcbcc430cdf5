"""The kinds of objects that can be made, and the facts about each that need no building.

In: nothing.  Out: ``IODS``, ``KINDS``.  Knows Modality, SOP class and fitting transfer syntaxes; builds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

from dicomflow.errors import ConfigError

# The order in which series of a kind take their transfer syntax: the share of each is about what archives hold.
_IMAGE_SYNTAXES = (
    *("explicit", "implicit", "jpeg-lossless", "explicit", "deflated", "j2k-lossless", "implicit", "big-endian"),
    *("explicit", "rle", "implicit", "jpeg-ls", "explicit", "j2k", "explicit", "implicit"),
)
_NATIVE_SYNTAXES = ("explicit", "implicit", "explicit", "deflated", "implicit", "big-endian")
_LOOP_SYNTAXES = ("jpeg", "jpeg", "rle")
_BENCHMARK_SYNTAXES = ("explicit", "explicit", "explicit", "implicit")


class Iod(NamedTuple):
    """One kind: Modality, SOP Class UID (PS3.4 B.5), the transfer syntaxes that its series take in turn.

    ``vendors`` says whose scanners make it; empty for all.
    """

    modality: str
    sop_class_uid: str
    syntaxes: tuple[str, ...]
    vendors: tuple[str, ...] = ()


IODS: MappingProxyType[str, Iod] = MappingProxyType(
    {
        "ct": Iod("CT", "1.2.840.10008.5.1.4.1.1.2", _IMAGE_SYNTAXES),
        "mr": Iod("MR", "1.2.840.10008.5.1.4.1.1.4", _IMAGE_SYNTAXES),
        "mr-long": Iod("MR", "1.2.840.10008.5.1.4.1.1.4", _BENCHMARK_SYNTAXES, ("ge", "siemens")),
        "pet": Iod("PT", "1.2.840.10008.5.1.4.1.1.128", _IMAGE_SYNTAXES),
        "cr": Iod("CR", "1.2.840.10008.5.1.4.1.1.1", _IMAGE_SYNTAXES),
        "dx": Iod("DX", "1.2.840.10008.5.1.4.1.1.1.1", _IMAGE_SYNTAXES),
        "mg": Iod("MG", "1.2.840.10008.5.1.4.1.1.1.2", _IMAGE_SYNTAXES),
        "us": Iod("US", "1.2.840.10008.5.1.4.1.1.3.1", _LOOP_SYNTAXES),
        "enhanced-mr": Iod("MR", "1.2.840.10008.5.1.4.1.1.4.1", _IMAGE_SYNTAXES),
        "rtstruct": Iod("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3", _NATIVE_SYNTAXES),
        "sr": Iod("SR", "1.2.840.10008.5.1.4.1.1.88.33", _NATIVE_SYNTAXES),
        "seg": Iod("SEG", "1.2.840.10008.5.1.4.1.1.66.4", _NATIVE_SYNTAXES),
    }
)

KINDS: tuple[str, ...] = tuple(IODS)
"""Names of the kinds, in a fixed order."""

REFERABLE = frozenset({"ct", "mr", "mr-long", "pet", "cr", "dx", "mg", "us", "enhanced-mr"})
"""Kinds that reports, structure sets and segmentations refer to."""


def check_kinds(kinds: Sequence[str] | None) -> tuple[str, ...]:
    """The kinds asked for, in the order of ``KINDS``; all of them for None.

    Raises:
        ConfigError: a name is unknown, or none is given.
    """
    wanted = KINDS if kinds is None else tuple(kinds)
    unknown = sorted(set(wanted) - set(KINDS))
    if unknown or not wanted:
        raise ConfigError(f"unknown kinds {unknown}; choose from: {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in wanted)
