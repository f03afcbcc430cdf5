"""The DICOM data dictionary: keyword <-> tag <-> VR <-> VM.

In: keywords or tags.  Out: dictionary entries.  The one door to pydicom's tables (PS3.6); knows no files.

The tables are loaded from pydicom's data module alone: importing the whole of pydicom costs 0.3 s that a run over a few
thousand files would feel, and only the fallback needs it.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


def _load_tables() -> ModuleType:
    """Pydicom's ``_dicom_dict``, which imports nothing itself."""
    if (loaded := sys.modules.get("pydicom._dicom_dict")) is not None:
        return loaded
    package = importlib.util.find_spec("pydicom")
    if package is None or not package.submodule_search_locations:
        raise ImportError("dicomflow needs pydicom")
    path = Path(package.submodule_search_locations[0]) / "_dicom_dict.py"
    spec = importlib.util.spec_from_file_location("dicomflow._dicom_dict", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_TABLES = _load_tables()
_DICTIONARY: dict[int, tuple[str, str, str, str, str]] = _TABLES.DicomDictionary  # VR, VM, name, retired, keyword
_REPEATERS: dict[str, tuple[str, str, str, str, str]] = _TABLES.RepeatersDictionary  # by masks such as "60xx0010"

PYDICOM_VERSION: str = version("pydicom")


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
    row = _DICTIONARY.get(tag) or _repeating_row(tag)
    if row is None:
        return None
    return Entry(tag, tuple(row[0].split(" or ")), row[1], row[4], row[2])


def _repeating_row(tag: int) -> tuple[str, str, str, str, str] | None:
    """The row of a repeating group (50xx, 60xx ...), whose masks have an x where any digit may stand."""
    digits = f"{tag:08X}"
    if (tag >> 16) & 1:
        return None
    for mask, row in _REPEATERS.items():
        if all(digit in ("x", mine) for digit, mine in zip(mask.upper().replace("X", "x"), digits, strict=True)):
            return row
    return None


def entry_for_keyword(keyword: str) -> Entry | None:
    """The dictionary's entry for a keyword such as ``StudyInstanceUID``.

    >>> hex(entry_for_keyword("Modality").tag)
    '0x80060'
    """
    tag = _tags_by_keyword().get(keyword)
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
def _tags_by_keyword() -> dict[str, int]:
    return {row[4]: tag for tag, row in _DICTIONARY.items() if row[4]}


def repeating_mask(keyword: str) -> str | None:
    """``60xx0010`` for the keyword of an attribute in repeating groups, which does not say in which; else None."""
    return next((mask for mask, row in _REPEATERS.items() if row[4] == keyword), None)


def keywords() -> tuple[str, ...]:
    """All keywords of the dictionary, for "did you mean"."""
    return tuple(_tags_by_keyword())


def elements_of_group(group: int) -> tuple[int, ...]:
    """The element numbers that the dictionary knows in a group, ascending."""
    return tuple(sorted(tag & 0xFFFF for tag in _DICTIONARY if tag >> 16 == group))


def format_tag(tag: int) -> str:
    """``(GGGG,EEEE)``, as the standard writes tags.

    >>> format_tag(0x00080018)
    '(0008,0018)'
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
