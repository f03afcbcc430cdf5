"""pydicom as oracle: what each standard column must hold, computed from pydicom's own view of a file.

``assert_equals_pydicom`` compares one row of ``read_headers`` with it.  Values are compared where both can read them; where
dicomflow is strict on purpose (a value that is null with an issue), the issue is what is asked for.
"""

import datetime as dt
import struct
import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from dicomflow.schema.column import Column, Step

KEPT_WITH_ISSUE = {
    "extra_values",
    "invalid_uid",
    "embedded_nul",
    "repeated_tag",
    "uid_from_file_meta",
    "transfer_syntax",
}
"""Issues beside a value that is delivered all the same; the charset ones are compared as text where pydicom agrees."""


def read_dataset(data: bytes) -> pydicom.FileDataset | None:
    """The header, as pydicom reads it; None where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(BytesIO(data), stop_before_pixels=True, force=True)
        except Exception:  # nearly any kind, on files that are broken on purpose
            return None


def assert_equals_pydicom(row: dict[str, Any], dataset: pydicom.FileDataset | None, columns: Sequence[Column]) -> None:
    """Each column of the row is what pydicom reads, or says why not."""
    assert dataset is not None, "pydicom cannot read this"
    issues = {issue["path"] for issue in row["issues"] or [] if issue["code"] not in KEPT_WITH_ISSUE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = {
            column.name: (row[column.name], expected)
            for column in columns
            if column.name not in issues
            and not _same(_comparable(row[column.name], column), expected := expected_value(dataset, column))
        }
    assert not wrong, wrong


def _comparable(value: Any, column: Column) -> Any:
    """Dicomflow keeps a name as stored; pydicom drops empty component groups at its end (PS3.5 6.2.1.1)."""
    if column.vr != "PN" or value is None:
        return value
    return [_without_end(one) for one in value] if column.many else _without_end(value)


def _without_end(name: str | None) -> str | None:
    return None if name is None else name.rstrip("=")


def expected_value(dataset: pydicom.FileDataset, column: Column) -> Any:
    """The value of the first path that has one, typed by the column's VR; "unreadable" where pydicom raises."""
    for path in column.paths:
        try:
            found = _follow(dataset.file_meta if path[0].tag >> 16 == 2 else dataset, path)
            value = None if found is None else _type(found, column)
        except Exception:  # pydicom raises many kinds; there is nothing to compare then
            return "unreadable"
        if value is not None:
            return value
    return None


def _follow(dataset: Dataset, path: Sequence[Step]) -> Any:
    for step in path[:-1]:
        items = dataset[step.tag].value if step.tag in dataset else None
        if not isinstance(items, Items) or step.item is None or step.item >= len(items):
            return None
        dataset = items[step.item]
    return dataset[path[-1].tag] if path[-1].tag in dataset else None


def _type(element: Any, column: Column) -> Any:
    value = element.value
    if isinstance(value, Items):
        return None
    items = list(value) if isinstance(value, MultiValue | list) else [value]
    if not column.many and column.vr in _TEXT:  # a backslash in a VM-1 text is text
        items = ["\\".join(str(item) for item in items)]
    typed = [_CONVERT.get(column.vr, _text)(item) for item in items]
    if all(item is None for item in typed):
        return None
    return typed if column.many else typed[0]


def _text(item: Any) -> str | None:
    text = str(item).rstrip(" \0")
    return text or None


def _stripped(item: Any) -> str | None:
    return (_text(item) or "").lstrip(" ") or None


def _number(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda item: None if item is None or item == "" else kind(item)


def _float32(item: Any) -> float:
    """What a float32 column can hold of it."""
    return float(struct.unpack("<f", struct.pack("<f", float(item)))[0])


def _date(item: Any) -> dt.date | None:
    text = str(item).strip(" \0")
    return dt.datetime.strptime(text.replace(".", ""), "%Y%m%d").date() if text else None  # noqa: DTZ007


def _time(item: Any) -> dt.time | None:
    text = str(item).strip(" \0")
    if not text:
        return None
    found = pydicom.valuerep.TM(text)
    return dt.time(found.hour, found.minute, found.second, found.microsecond)


def _datetime(item: Any) -> dt.datetime | None:
    text = str(item).strip(" \0")
    if not text:
        return None
    found = pydicom.valuerep.DT(text)
    return dt.datetime(found.year, found.month, found.day, found.hour, found.minute, found.second, found.microsecond)


_TEXT = frozenset(["AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"])
_CONVERT: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "SH"), _stripped),
    **dict.fromkeys(("DS", "FD"), _number(float)),
    "FL": _number(_float32),
    **dict.fromkeys(("IS", "SL", "UL", "US", "SS", "SV", "UV"), _number(int)),
    "DA": _date,
    "TM": _time,
    "DT": _datetime,
}


def _same(mine: Any, expected: Any) -> bool:
    if expected == "unreadable" or (isinstance(expected, str) and "\x1b" in expected):
        return True  # an escape left in the text is one that pydicom could not decode
    if isinstance(expected, list):
        return isinstance(mine, list) and len(mine) == len(expected) and all(map(_same, mine, expected))
    return bool(mine == expected)
