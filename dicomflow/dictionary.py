"""The DICOM data dictionary: keyword <-> tag <-> VR <-> VM.

In: keywords or tags.  Out: dictionary entries.  The one door to pydicom's tables (PS3.6); knows no files.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import pydicom
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import mask_match, tag_for_keyword

PYDICOM_VERSION: str = pydicom.__version__


class Entry(NamedTuple):
    """One attribute of PS3.6: ``tag`` as 0xGGGGEEEE, the VRs it may have, its VM, keyword and name."""

    tag: int
    vrs: tuple[str, ...]
    vm: str
    keyword: str
    name: str


@lru_cache(maxsize=8192)
def entry_for_tag(tag: int) -> Entry | None:
    """The dictionary's entry, repeating groups (60xx) included; None for unknown and private tags.

    >>> entry_for_tag(0x00100020).keyword
    'PatientID'
    """
    row = DicomDictionary.get(tag)
    if row is None:
        mask = None if (tag >> 16) & 1 else mask_match(tag)
        row = RepeatersDictionary.get(mask) if mask else None
    if row is None:
        return None
    return Entry(tag, tuple(row[0].split(" or ")), row[1], row[4], row[2])


def entry_for_keyword(keyword: str) -> Entry | None:
    """The dictionary's entry for a keyword such as ``StudyInstanceUID``.

    >>> hex(entry_for_keyword("Modality").tag)
    '0x80060'
    """
    tag = tag_for_keyword(keyword)
    return None if tag is None else entry_for_tag(tag)


def vr_for_tag(tag: int) -> str:
    """The VR that bytes without a VR of their own have (implicit VR, UN).

    The first of several VRs of the dictionary (``US or SS``); group lengths are UL, private creators LO (PS3.5 7.8.1),
    everything unknown UN.
    """
    if tag & 0xFFFF == 0:
        return "UL"
    if (tag >> 16) & 1 and 0x10 <= (tag & 0xFFFF) <= 0xFF:
        return "LO"
    entry = entry_for_tag(tag)
    return "UN" if entry is None else entry.vrs[0]


@lru_cache(maxsize=1)
def keywords() -> tuple[str, ...]:
    """All keywords of the dictionary, for "did you mean"."""
    return tuple(row[4] for row in DicomDictionary.values() if row[4])


def elements_of_group(group: int) -> tuple[int, ...]:
    """The element numbers that the dictionary knows in a group, ascending."""
    return tuple(sorted(tag & 0xFFFF for tag in DicomDictionary if tag >> 16 == group))


def format_tag(tag: int) -> str:
    """``(GGGG,EEEE)``, as the standard writes tags.

    >>> format_tag(0x00080018)
    '(0008,0018)'
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
