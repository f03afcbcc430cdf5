"""Turn the bytes of one value into what its column holds.

In: a RawValue (bytes, VR of the file, byte order, charset), the column's VR, list or scalar.  Out: Decoded: plain Python
objects that Arrow takes for ``ARROW_TYPES``, and issues.  Knows no tags, no paths, no files, and never raises for data.

Two steps: the VR in the file decides how bytes are read into items; the column's VR decides how items are delivered.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from dicomflow.errors import IssueCode
from dicomflow.header.charset import decode_text
from dicomflow.header.vr import STRING_VRS
from dicomflow.model import RawValue
from dicomflow.schema.column import NEVER_SPLIT

MAX_RAW = 64
"""Characters of a bad value that an issue keeps."""

MAX_ISSUES = 64
"""Issues that one value can have; a list of a million bad items is null in a million places, but says so 64 times."""

Item = str | int | float | None


class Decoded(NamedTuple):
    """A typed value (None: null) and what was wrong with it: (code, raw text of the bad item)."""

    value: object | None
    issues: tuple[tuple[IssueCode, str], ...] = ()


class Items(NamedTuple):
    """A value field as read, before any column types it: text parts, or numbers; None for an empty item.

    ``width`` is the size in bytes of one binary item, 0 for text.
    """

    values: tuple[Item, ...]
    issues: tuple[tuple[IssueCode, str], ...] = ()
    width: int = 0


class _Typed(NamedTuple):
    value: object | None
    issue: IssueCode | None = None


_BAD = _Typed(None, IssueCode.BAD_VALUE)
_OUT_OF_RANGE = _Typed(None, IssueCode.OUT_OF_RANGE)
_NOT_FINITE = _Typed(None, IssueCode.NOT_FINITE)

_FORMATS = {
    "FL": "f",
    "FD": "d",
    "SS": "h",
    "US": "H",
    "SL": "i",
    "UL": "I",
    "SV": "q",
    "UV": "Q",
    "OF": "f",
    "OD": "d",
    "OL": "I",
    "OV": "Q",
}
"""VR -> struct format of one item."""

_FREE_TEXT = frozenset({"LO", "SH", "CS", "LT", "ST", "UT", "UC"})
_NUMBERS = frozenset(_FORMATS)
_BINARY_COLUMNS = frozenset({"FL", "FD", "SS", "US", "SL", "UL", "SV", "UV", "AT"})
_TEXT_COLUMNS = STRING_VRS - {"DA", "DS", "DT", "IS", "TM"}
_LEADING_SPACES = frozenset({"AE", "CS", "LO", "SH", "DS", "IS"})
"""VRs whose leading spaces are insignificant (PS3.5 table 6.2-1)."""


def decode_value(value: RawValue, vr: str, many: bool) -> Decoded:
    r"""The value of a column (design, value table).

    Empty, absent and blank values are None; an empty or bad item of a list is None in its place; of several values in a
    scalar number, date or time the first is kept. A text of VM 1 keeps its backslashes.

    Args:
        value: the bytes, and what their meaning depends on.
        vr: the column's VR.
        many: whether the column is a list.

    >>> decode_value(RawValue(b"0.5\\0.25 ", "DS"), "DS", many=True)
    Decoded(value=[0.5, 0.25], issues=())
    >>> decode_value(RawValue(b"4.1 ", "IS"), "IS", many=False).value is None
    True
    """
    source = _source_vr(value.vr, vr)
    if source is None or source not in _ACCEPTED.get(vr, frozenset()):
        return Decoded(None, ((IssueCode.INCOMPATIBLE_VR, value.raw[: MAX_RAW // 2].hex()),) if value.raw else ())
    if value.vr == "UN":
        value = value._replace(big_endian=False)  # PS3.5 6.2.2: UN is always little endian
    items = read_items(value, source, split=many or vr not in _TEXT_COLUMNS)
    if all(item is None for item in items.values):
        return Decoded(None, items.issues)
    return _deliver_list(value, items, _DELIVER[vr]) if many else _deliver_first(value, items, _DELIVER[vr])


def _source_vr(found: str, column: str) -> str | None:
    """The VR to read bytes by: the file's; the column's where the file does not say; None where it cannot be."""
    if found in _READERS:
        return found
    if found in ("OB", "OW"):
        return column if column in _BINARY_COLUMNS else None
    return None if found == "SQ" else column


def _deliver_list(value: RawValue, items: Items, deliver: _Deliver) -> Decoded:
    typed = [_Typed(None) if item is None else deliver(item) for item in items.values]
    bad = [(one.issue, _item_raw(value, items, place)) for place, one in enumerate(typed) if one.issue]
    return Decoded([one.value for one in typed], (items.issues + tuple(bad))[:MAX_ISSUES])


def _deliver_first(value: RawValue, items: Items, deliver: _Deliver) -> Decoded:
    first = items.values[0]
    typed = _Typed(None) if first is None else deliver(first)
    issues = list(items.issues)
    if typed.issue:
        issues.append((typed.issue, _item_raw(value, items, 0)))
    if len(items.values) > 1:
        issues.append((IssueCode.EXTRA_VALUES, _whole_raw(value, items)))
    return Decoded(typed.value, tuple(issues))


def _item_raw(value: RawValue, items: Items, place: int) -> str:
    if items.width:
        return value.raw[place * items.width : (place + 1) * items.width].hex()
    return str(items.values[place])[:MAX_RAW]


def _whole_raw(value: RawValue, items: Items) -> str:
    if items.width:
        return value.raw[: MAX_RAW // 2].hex()
    return "\\".join(str(item or "") for item in items.values[:MAX_RAW])[:MAX_RAW]


def read_items(value: RawValue, vr: str, *, split: bool = True) -> Items:
    r"""Read a value field by a VR, without typing it: parts of text, or numbers.

    Padding is stripped as the VR says (PS3.5 6.2). A binary field whose length is no multiple of the item's size has no
    items and the issue BAD_LENGTH.

    Args:
        value: the bytes; their own ``vr`` is not looked at.
        vr: a string VR, a binary number VR or AT.
        split: whether a backslash separates values; never for LT, ST, UT and UR.

    >>> read_items(RawValue(b"A\\ \\C ", "CS"), "CS").values
    ('A', None, 'C')
    """
    return _READERS[vr](value, vr, split)


def type_item(item: Item, vr: str) -> object | None:
    """One item as a column of that VR holds it; None where it cannot.

    >>> type_item("1.50", "DS")
    1.5
    """
    return None if item is None else _DELIVER[vr](item).value


def _read_text(value: RawValue, vr: str, split: bool) -> Items:
    text, code = decode_text(value.raw, value.charset, vr)
    text = text.rstrip(" \0")
    issues = ((code, text[:MAX_RAW]),) if code else ()
    parts = text.split("\\") if split and vr not in NEVER_SPLIT else [text]
    leading = " " if vr in _LEADING_SPACES else ""
    return Items(tuple(part.rstrip(" \0").lstrip(leading) or None for part in parts), issues)


def _read_numbers(value: RawValue, vr: str, split: bool) -> Items:
    code = _FORMATS[vr]
    width = struct.calcsize("=" + code)
    count, rest = divmod(len(value.raw), width)
    if rest:
        return _bad_length(value)
    return Items(struct.unpack(f"{'>' if value.big_endian else '<'}{count}{code}", value.raw), (), width)


def _read_tags(value: RawValue, vr: str, split: bool) -> Items:
    count, rest = divmod(len(value.raw), 4)
    if rest:
        return _bad_length(value)
    words = struct.unpack(f"{'>' if value.big_endian else '<'}{2 * count}H", value.raw)
    pairs = zip(words[::2], words[1::2], strict=True)
    return Items(tuple(f"{group:04X}{element:04X}" for group, element in pairs), (), 4)


def _bad_length(value: RawValue) -> Items:
    return Items((), ((IssueCode.BAD_LENGTH, value.raw[: MAX_RAW // 2].hex()),))


_Reader = Callable[[RawValue, str, bool], Items]
_READERS: dict[str, _Reader] = {
    **dict.fromkeys(STRING_VRS, _read_text),
    **dict.fromkeys(_NUMBERS, _read_numbers),
    "AT": _read_tags,
}
"""VR -> how its bytes are read; OB, OW, UN, SQ and unknown letters are not here."""


def _to_text(item: Item) -> _Typed:
    if isinstance(item, float) and not math.isfinite(item):
        return _NOT_FINITE
    text = item if isinstance(item, str) else repr(item)
    return _Typed(text, IssueCode.EMBEDDED_NUL if "\0" in text else None)


_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
MAX_UID = 64


def _to_uid(item: Item) -> _Typed:
    """Kept as found; reported where it is not a UID (PS3.5 9.1)."""
    text = str(item)
    valid = len(text) <= MAX_UID and _UID.fullmatch(text)
    return _Typed(text, None if valid else IssueCode.INVALID_UID)


# Each pattern has one way to match a text, or none: the time is linear, whatever the text.
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
_FLOAT32_MAX = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_FLOAT64_MAX = math.inf


def _to_float(largest: float, item: Item) -> _Typed:
    if isinstance(item, str):
        text = item.strip(" ")
        if not _DECIMAL.fullmatch(text):
            return _NOT_FINITE if _NO_NUMBER.fullmatch(text) else _BAD
        number = float(text)
        return _OUT_OF_RANGE if math.isinf(number) or abs(number) > largest else _Typed(number)
    number = float(0 if item is None else item)  # not ``item or 0``: -0.0 keeps its sign
    if not math.isfinite(number):
        return _NOT_FINITE
    # A 64-bit integer that no float64 equals would be delivered as its neighbour.
    return _OUT_OF_RANGE if number != item or abs(number) > largest else _Typed(number)


_INTEGER = re.compile(r"([+-]?)([0-9]+)(?:\.0*)?")
_MAX_DIGITS = 19  # of 2**63


def _to_integer(low: int, high: int, item: Item) -> _Typed:
    if isinstance(item, str):
        return _parse_integer(low, high, item.strip(" "))
    number = item or 0
    if not math.isfinite(number):
        return _NOT_FINITE
    if number != int(number):
        return _Typed(None, IssueCode.NOT_INTEGRAL)
    return _Typed(int(number)) if low <= number <= high else _OUT_OF_RANGE


def _parse_integer(low: int, high: int, text: str) -> _Typed:
    """``1`` and ``1.0`` are 1; ``4.1`` has a fraction; ``1e3`` is no IS at all."""
    found = _INTEGER.fullmatch(text)
    if not found:
        fraction = _DECIMAL.fullmatch(text) and "e" not in text.lower()
        return _Typed(None, IssueCode.NOT_INTEGRAL) if fraction else _BAD
    digits = found[2].lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:  # also spares int() a text of a million digits
        return _OUT_OF_RANGE
    number = int(found[1] + digits)
    return _Typed(number) if low <= number <= high else _OUT_OF_RANGE


_DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})")


def _to_date(item: Item) -> _Typed:
    """``YYYYMMDD``, or ``YYYY.MM.DD`` of ACR-NEMA (PS3.5 6.2, note on DA)."""
    found = _DATE.fullmatch(str(item))
    try:
        return _Typed(dt.date(int(found[1]), int(found[3]), int(found[4]))) if found else _BAD
    except ValueError:
        return _BAD


_TIME = re.compile(r"([0-9]{2})(?:(:?)([0-9]{2})(?:\2([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_LEAP_SECOND = 60


def _to_time(item: Item) -> _Typed:
    """``HH``, ``HHMM``, ``HHMMSS.FFFFFF``, or ``HH:MM:SS.FFFFFF`` of ACR-NEMA (PS3.5 6.2, note on TM)."""
    found = _TIME.fullmatch(str(item))
    if not found:
        return _BAD
    hour, minute, second = int(found[1]), int(found[3] or 0), int(found[4] or 0)
    try:
        time = dt.time(hour, minute, _LEAP_SECOND - 1 if second == _LEAP_SECOND else second, _microseconds(found[5]))
    except ValueError:
        return _BAD
    return _OUT_OF_RANGE if second == _LEAP_SECOND else _Typed(time)


def _microseconds(fraction: str | None) -> int:
    return int((fraction or "").ljust(6, "0"))


_DATETIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"([+-][0-9]{4})?"
)
_FIRST_MOMENT = [0, 1, 1, 0, 0, 0]  # what a missing part is tried as, to tell 20201399 from a valid partial DT


def _to_datetime(item: Item) -> _Typed:
    """``YYYYMMDDHHMMSS.FFFFFF`` in full and without offset (PS3.5 6.2, DT): nothing is invented, no zone assumed."""
    text = str(item)
    found = _DATETIME.fullmatch(text)
    if not found:
        return _Typed(None, IssueCode.PARTIAL_PRECISION) if _is_range(text) else _BAD
    parts = [int(part) for part in found.groups()[:6] if part is not None]
    leap = parts[5:] == [_LEAP_SECOND]
    year, month, day, hour, minute, second = (
        [*parts[:5], _LEAP_SECOND - 1] if leap else parts + _FIRST_MOMENT[len(parts) :]
    )
    try:
        moment = dt.datetime(year, month, day, hour, minute, second, _microseconds(found[7]))
    except ValueError:
        return _BAD
    if found[8]:
        return _Typed(None, IssueCode.UTC_OFFSET)
    if len(parts) < len(_FIRST_MOMENT):
        return _Typed(None, IssueCode.PARTIAL_PRECISION)
    return _OUT_OF_RANGE if leap else _Typed(moment)


def _is_range(text: str) -> bool:
    """A DT range of a query: ``A-B``, ``A-`` or ``-B``."""
    first, dash, last = text.partition("-")
    ends = [end for end in (first, last) if end]
    return bool(dash and ends) and all(_DATETIME.fullmatch(end) for end in ends)


def _to_tag(item: Item) -> _Typed:
    return _Typed(item)


_Deliver = Callable[[Item], _Typed]
_INT32 = partial(_to_integer, -(2**31), 2**31 - 1)
_INT64 = partial(_to_integer, -(2**63), 2**63 - 1)

_DELIVER: dict[str, _Deliver] = {
    **dict.fromkeys(_TEXT_COLUMNS, _to_text),
    "UI": _to_uid,
    "DA": _to_date,
    "TM": _to_time,
    "DT": _to_datetime,
    **dict.fromkeys(["DS", "FD"], partial(_to_float, _FLOAT64_MAX)),
    "FL": partial(_to_float, _FLOAT32_MAX),
    **dict.fromkeys(["IS", "SL", "UL", "SV", "UV"], _INT64),
    **dict.fromkeys(["US", "SS"], _INT32),
    "AT": _to_tag,
}
"""Column VR -> how one item is typed."""

_ACCEPTED: dict[str, frozenset[str]] = {
    **dict.fromkeys(_TEXT_COLUMNS, STRING_VRS),
    **dict.fromkeys(_FREE_TEXT, STRING_VRS | _NUMBERS | {"AT"}),
    "DA": _FREE_TEXT | {"DA", "DT"},
    "TM": _FREE_TEXT | {"TM"},
    "DT": _FREE_TEXT | {"DT", "DA"},
    **dict.fromkeys(["DS", "IS", *(_BINARY_COLUMNS - {"AT"})], _FREE_TEXT | _NUMBERS | {"DS", "IS"}),
    "AT": frozenset({"AT"}),
}
"""Column VR -> VRs in the file that can mean the same; a UID is no number, a number no date."""
