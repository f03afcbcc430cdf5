"""The nouns of a header's tree: elements, items, how they are laid out, and what no header may cross.

In: nothing.  Out: frozen values that ``tree`` fills and ``show`` and DICOM JSON read.  Knows no bytes of any file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dicomflow.config import HeaderConfig
from dicomflow.model import Outcome, RawValue

UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_DEPTH = 100
"""Nested sequences that are followed, whatever the limits say: the reader is recursive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What no header may cross (``config.HeaderConfig`` explains each); the tree follows at most ``MAX_DEPTH`` sequences."""

    max_header_bytes: int = 256 << 20
    max_elements: int = 2_000_000
    max_depth: int = 64
    max_inflated_bytes: int = 256 << 20
    max_seconds: float = 60.0

    @classmethod
    def from_config(cls, config: HeaderConfig) -> Limits:
        """The limits of these settings."""
        return cls(**{name: getattr(config, name) for name in cls.__slots__})


class Encoding(NamedTuple):
    """How elements are laid out."""

    implicit: bool
    big_endian: bool


EXPLICIT_LE = Encoding(implicit=False, big_endian=False)
IMPLICIT_LE = Encoding(implicit=True, big_endian=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One data element.

    Attributes:
        tag: 0xGGGGEEEE.
        vr: as in the file; the dictionary's where the file has none, or UN or letters that are no VR for a tag that the
            dictionary knows.
        value: the value field, or the items of a sequence. A sequence that cannot be walked is UN and bytes.
        offset: of the element's first byte.
        length: of the value field as the file says; ``UNDEFINED_LENGTH`` where it is delimited.
        charset: the value field of the SpecificCharacterSet in force.
        private_creator: the owner of a private element's block, where the data set names it.
    """

    tag: int
    vr: str
    value: bytes | tuple[Item, ...]
    offset: int
    length: int
    big_endian: bool = False
    charset: bytes | None = None
    private_creator: str | None = None

    @property
    def raw(self) -> RawValue:
        """The value field for ``header.values``; a sequence has none there."""
        return RawValue(self.value if isinstance(self.value, bytes) else b"", self.vr, self.big_endian, self.charset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a sequence."""

    elements: tuple[Element, ...]
    offset: int
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """All that was read, and how it ended.

    Attributes:
        file_meta: elements of group 0002 before the data set.
        elements: the data set up to the stop tag, in file order; of a repeated tag the last.
        encoding: of the data set, as found.
        syntax_differs: the data set is not encoded as (0002,0010) declares.
        repeated: top-level tags that occur more than once.
        stop_offset: where the header ends: the stop tag, the end, or the fault. After inflating, where deflated.
    """

    outcome: Outcome
    file_meta: tuple[Element, ...] = ()
    elements: tuple[Element, ...] = ()
    encoding: Encoding = EXPLICIT_LE
    deflated: bool = False
    syntax_differs: bool = False
    repeated: frozenset[int] = frozenset()
    stop_offset: int = 0


class Sequence(NamedTuple):
    """The items of one sequence, and how reading them ended."""

    items: tuple[Item, ...]
    outcome: Outcome
