"""What a column must hold, computed from pydicom's own view of a file.

Text and numbers are what pydicom's elements hold; dates and times what its ``DA``, ``TM`` and ``DT`` make of them.
"""

import datetime as dt
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from dicomflow.schema.column import ALL_ITEMS, Column, Step

TEXT = frozenset(["AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"])
_TEXT_LIKE = TEXT | {"DA", "DS", "DT", "IS", "TM"}


class Unreadable(NamedTuple):
    """An item that pydicom cannot type: its text, or its bytes."""

    text: str | bytes


class Seen(NamedTuple):
    """A value as pydicom holds it: typed items, their texts, and where its bytes stand in the file."""

    items: list[Any]
    texts: list[str]
    place: int | None


class Expected:
    """The values of one file; pydicom converts an element when it is first asked for."""

    def __init__(self, dataset: FileDataset) -> None:
        self.dataset = dataset

    def find(self, column: Column) -> Seen | None:
        """The value of the first path that has one."""
        for path in column.paths:
            source = self.dataset.file_meta if path[0].tag >> 16 == 2 else self.dataset
            holder = _enter(source, path)
            if holder is None or path[-1].tag not in holder:
                continue
            seen = self._see(holder, path[-1].tag, column)
            if any(item is not None for item in seen.items):
                return seen
        return None

    def _see(self, holder: Dataset, tag: int, column: Column) -> Seen:
        raw = holder.get_item(tag)
        try:
            element = holder[tag]
        except Exception:  # of nearly any kind: then its parts, one by one
            return _seen(_parts(raw, column), column, raw.value_tell)
        if isinstance(element.value, Items):
            return Seen([], [], element.file_tell)
        return _seen(_items(element, column), column, element.file_tell)


def find_each(dataset: Dataset, column: Column) -> list[list[Any] | None] | None:
    """For each item of the sequence that ``[*]`` stands for, the values there; None if no item has any."""
    for path in column.paths:
        star = [step.item == ALL_ITEMS for step in path].index(True)
        holder = _enter(dataset, path[: star + 1])
        items = holder[path[star].tag].value if holder is not None and path[star].tag in holder else []
        found = [_find_values(item, path[star + 1 :], column) for item in items]
        if any(values is not None for values in found):
            return found
    return None


def _find_values(item: Dataset, path: Sequence[Step], column: Column) -> list[Any] | None:
    holder = _enter(item, path)
    if holder is None or path[-1].tag not in holder:
        return None
    return [_typed(one, column.vr) for one in _items(holder[path[-1].tag], column)]


def _seen(items: list[Any], column: Column, place: int | None) -> Seen:
    return Seen([_typed(item, column.vr) for item in items], [str(item).strip(" \0") for item in items], place)


def _enter(dataset: Dataset, path: Sequence[Step]) -> Dataset | None:
    for step in path[:-1]:
        items = dataset[step.tag].value if step.tag in dataset else None
        if not isinstance(items, Items) or step.item is None or step.item >= len(items):
            return None
        dataset = items[step.item]
    return dataset


def _items(element: DataElement, column: Column) -> list[Any]:
    value = element.value
    if isinstance(value, bytes) and column.vr in _FORMATS:  # OW, or what pydicom could not choose a VR for
        size = struct.calcsize(_FORMATS[column.vr])
        if len(value) % size == 0:
            return [one for (one,) in struct.iter_unpack(_FORMATS[column.vr], value)]
    items = list(value) if isinstance(value, MultiValue | list) else [value]
    if not column.many and column.vr in TEXT and len(items) > 1:  # a backslash in a VM-1 text is text (PS3.5 6.4)
        items = ["\\".join(str(item) for item in items)]
    return items


def _parts(raw: RawDataElement | DataElement, column: Column) -> list[Any]:
    value = raw.value or b""
    if column.vr not in _TEXT_LIKE or not isinstance(value, bytes) or raw.VR not in (None, "UN", *_TEXT_LIKE):
        return [Unreadable(bytes(value))]
    return list(value.decode("latin-1").split("\\"))


def _typed(item: Any, vr: str) -> Any:
    if item is None or isinstance(item, Unreadable):  # None: an empty number, whatever the column
        return item
    try:
        return _CONVERT.get(vr, _text)(item)
    except Exception:
        return Unreadable(item if isinstance(item, bytes) else str(item).strip(" \0"))


def _text(item: Any) -> str | None:
    if isinstance(item, bytes):
        raise TypeError("bytes are no text")
    return str(item).rstrip(" \0") or None


def _stripped(item: Any) -> str | None:
    return (_text(item) or "").lstrip(" ") or None


def _number(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(item: Any) -> Any:
        text = item.strip(" \0") if isinstance(item, str) else item
        return None if text is None or text == "" else kind(text)

    return convert


def _integer(item: Any) -> int:
    if isinstance(item, float) and not item.is_integer():
        raise ValueError("a fraction")
    return int(pydicom.valuerep.IS(item)) if isinstance(item, str) else int(item)


def _float32(item: Any) -> float:
    """What a float32 column can hold of it."""
    return float(struct.unpack("<f", struct.pack("<f", float(item)))[0])


def _moment(kind: Callable[[str], Any], take: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(item: Any) -> Any:
        text = str(item).strip(" \0")
        return take(kind(text)) if text else None

    return convert


def _datetime(found: dt.datetime) -> dt.datetime:
    parts = (found.year, found.month, found.day, found.hour, found.minute, found.second, found.microsecond)
    return dt.datetime(*parts)


def _tag(item: Any) -> str:
    return f"{int(item):08X}"


_FORMATS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FL": "<f", "FD": "<d"}
_CONVERT: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "SH"), _stripped),
    **dict.fromkeys(("DS", "FD"), _number(float)),
    "FL": _number(_float32),
    **dict.fromkeys(("IS", "SL", "UL", "US", "SS", "SV", "UV"), _number(_integer)),
    "AT": _tag,
    "DA": _moment(pydicom.valuerep.DA, lambda found: dt.date(found.year, found.month, found.day)),
    "TM": _moment(
        pydicom.valuerep.TM, lambda found: dt.time(found.hour, found.minute, found.second, found.microsecond)
    ),
    "DT": _moment(pydicom.valuerep.DT, _datetime),
}
