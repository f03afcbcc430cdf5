"""The value table (design, section 4) as cases: a value field of each VR, and what a scalar and a list column make of it.

Text is bytes; numbers are tuples, packed by the encoding of the file; bytes in a VR of numbers are a field of a wrong length.
"""

import datetime as dt
import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from dicomflow.dictionary import entry_for_keyword
from dicomflow.header.element import Encoding

ATTRIBUTES = {
    "AE": "RetrieveAETitle", "CS": "Modality", "LO": "PatientID", "SH": "AccessionNumber", "UI": "FrameOfReferenceUID",
    "UC": "LongCodeValue", "UR": "RetrieveURL", "LT": "AdditionalPatientHistory", "ST": "InstitutionAddress",
    "UT": "TextValue", "AS": "PatientAge", "PN": "PatientName", "DA": "StudyDate", "TM": "StudyTime",
    "DT": "AcquisitionDateTime", "DS": "PatientWeight", "FD": "DiffusionBValue", "FL": "ExaminedBodyThickness",
    "IS": "InstanceNumber", "SL": "ReferencePixelX0", "UL": "SimpleFrameList", "SV": "SelectorSVValue",
    "UV": "SelectorUVValue", "US": "Rows", "SS": "TagAngleSecondAxis", "AT": "DimensionIndexPointer",
}  # fmt: skip
"""VR -> an attribute of that VR; SQ is apart."""

TAGS = {vr: entry_for_keyword(keyword).tag for vr, keyword in ATTRIBUTES.items()}
FORMATS = {"FD": "d", "FL": "f", "SL": "i", "UL": "I", "SV": "q", "UV": "Q", "US": "H", "SS": "h", "AT": "HH"}

Field = bytes | tuple


class Case(NamedTuple):
    """A value field; the value and issue codes of the scalar column, and of the list column."""

    field: Field
    one: object
    one_codes: list[str]
    many: object
    many_codes: list[str]


def pack(vr: str, field: Field, encoding: Encoding) -> bytes:
    """The bytes of a field in this encoding."""
    if isinstance(field, bytes):
        return field
    order = ">" if encoding.big_endian else "<"
    words = [word for tag in field for word in (tag >> 16, tag & 0xFFFF)] if vr == "AT" else field
    return struct.pack(order + FORMATS[vr] * len(field), *words)


_SAME: object = object()


def case(field: Field, one: object, code: str = "", many: object = _SAME, many_code: str | None = None) -> Case:
    """Without ``many`` the list has that one item, and none where the field is empty."""
    if many is _SAME:
        many = None if one is None and not code else [one]
    codes, many_codes = (text.split() for text in (code, code if many_code is None else many_code))
    return Case(field, one, codes, many, many_codes)


EMPTY = [case(blank, None) for blank in (b"", b" ", b" " * 8, b"\0", b"\0" * 4, b" \0")]


def _texts(*, leading: bool, split: bool) -> list[Case]:
    """What all VRs of text have in common."""
    start = "" if leading else "  "
    parts = [*EMPTY, case(b"A", "A"), case(b"A B ", "A B"), case(b"AB\0\0", "AB"), case(b"AB \0", "AB")]
    parts += [case(b"  AB ", start + "AB"), case(b"A\0B", "A\0B", "embedded_nul"), case(b"X" * 70, "X" * 70)]
    parts += [case(b"A\r\n B", "A\r\n B"), case(b"A^B=C", "A^B=C"), case(b"M\xfc", "Mü", "charset_undeclared")]
    parts += [case("Mü".encode(), "Mü", "charset_undeclared")]
    if not split:
        return [*parts, case(b"A\\ B ", "A\\ B"), case(b"\\", "\\")]
    places = ["A", None, start + "B", None]
    return [
        *parts,
        case(b"A\\B", "A\\B", many=["A", "B"]),
        case(b"A \\B\0", "A \\B", many=["A", "B"]),
        case(b"A\\\\  B\\ ", "A\\\\  B\\", many=places),
        case(b"\\", "\\", many=None),
        case(b"A\\B\0C", "A\\B\0C", "embedded_nul", many=["A", "B\0C"]),
    ]


def _bad(*fields: bytes, code: str = "bad_value") -> list[Case]:
    return [case(field, None, code) for field in fields]


def _uids() -> list[Case]:
    good = ["1.2.840.10008.1.2", "0", "0.0", "1." + "2" * 62]
    bad = ["1.2.03", "1..2", "1.2.", ".1", "1.2.a", "1." + "2" * 63, " 1.2", "1.2-3", "A"]
    return [
        *EMPTY,
        *(case(uid.encode(), uid) for uid in good),
        *(case(uid.encode(), uid, "invalid_uid") for uid in bad),
        case(b"1.2\0", "1.2"),
        case(b"1.2 ", "1.2"),
        case(b"1.2\\3.4\0", "1.2\\3.4", "invalid_uid", ["1.2", "3.4"], ""),
        case(b"1.2\0\\\\3.04", "1.2\0\\\\3.04", "invalid_uid", ["1.2", None, "3.04"]),
    ]


def _dates() -> list[Case]:
    day = dt.date(2020, 1, 31)
    good = {b"20200131": day, b"20200131 ": day, b"20200131\0": day, b"2020.01.31": day, b"00010101": dt.date(1, 1, 1)}
    good |= {b"99991231": dt.date(9999, 12, 31), b"20000229": dt.date(2000, 2, 29), b"20240229": dt.date(2024, 2, 29)}
    good |= {b"19000228": dt.date(1900, 2, 28)}
    bad = [
        b"00000000",
        b"00000101",
        b"19000229",
        b"20230229",
        b"20200230",
        b"20201301",
        b"20200100",
        b"2020",
        b"202001",
    ]
    bad += [b" 20200131", b"2020-01-31", b"2020.0131", b"202001.31", b"31.01.2020", b"20200131x", b"20200101-20200131"]
    bad += [b"20200101-", b"TODAY", b"120200131", b"-20200131", b"+2020101"]
    return [
        *EMPTY,
        *(case(raw, value) for raw, value in good.items()),
        *_bad(*bad),
        case(b"20200131\\20200229 ", day, "extra_values", [day, dt.date(2020, 2, 29)], ""),
        case(b"20200131\\\\20200230", day, "extra_values", [day, None, None], "bad_value"),
        case(b"\\20200131", None, "extra_values", [None, day], ""),
        case(b"20200230\\20200131", None, "bad_value extra_values", [None, day], "bad_value"),
    ]


def _times() -> list[Case]:
    half = dt.time(12, 30)
    good = {b"1230": half, b"123000": half, b"1230 ": half, b"123000\0": half, b"12:30:00": half, b"12:30": half}
    good |= {
        b"12": dt.time(12),
        b"000000": dt.time(0),
        b"00": dt.time(0),
        b"235959.999999": dt.time(23, 59, 59, 999_999),
    }
    good |= {b"123000.5": dt.time(12, 30, 0, 500_000), b"123000.000001": dt.time(12, 30, 0, 1)}
    good |= {b"12:30:00.25": dt.time(12, 30, 0, 250_000)}
    bad = [
        b"240000",
        b"24",
        b"2400",
        b"126000",
        b"1260",
        b"123061",
        b"1",
        b"123",
        b"12300",
        b"123000.",
        b"123000.1234567",
    ]
    bad += [b"12:3000", b"1230:00", b"12.5", b" 1230", b"1000-1200", b"24:00", b"12:30:00 PM", b"x", b"-1"]
    return [
        *EMPTY,
        *(case(raw, value) for raw, value in good.items()),
        *_bad(*bad),
        *_bad(b"235960", b"235960.5", b"000060", b"12:30:60", code="out_of_range"),
        case(b"12\\1230 ", dt.time(12), "extra_values", [dt.time(12), half], ""),
        case(b"1230\\24\\235960", half, "extra_values", [half, None, None], "bad_value out_of_range"),
    ]


def _moments() -> list[Case]:
    moment = dt.datetime(2020, 1, 31, 12, 30, 59)
    good = {b"20200131123059": moment, b"20200131123059 ": moment, b"20200131123059\0": moment}
    good |= {b"20200131123059.000001": moment.replace(microsecond=1), b"00010101000000": dt.datetime(1, 1, 1)}
    good |= {b"20200131123059.5": moment.replace(microsecond=500_000), b"20200229000000": dt.datetime(2020, 2, 29)}
    good |= {b"99991231235959.999999": dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)}
    part = [b"2020", b"202001", b"20200131", b"2020013112", b"202001311230", b"20200131-20200201", b"2020-"]
    bad = [b"20190229000000", b"20201301", b"20200131240000", b"00000101000000", b"202", b"20200131123059.", b"x"]
    bad += [b"20200131123059.1234567", b" 20200131123059", b"+0100", b"2020-01-31T12:30:59", b"20200131126000"]
    return [
        *EMPTY,
        *(case(raw, value) for raw, value in good.items()),
        *_bad(*part, code="partial_precision"),
        *_bad(
            b"20200131123059+0100", b"20200131123059.5-0500", b"2020+0100", b"20200131123059+0000", code="utc_offset"
        ),
        *_bad(*bad),
        *_bad(b"20161231235960", code="out_of_range"),
        case(b"20200131123059\\2020", moment, "extra_values", [moment, None], "partial_precision"),
    ]


def _decimals() -> list[Case]:
    good = [b"1.5", b"0", b"-0", b"+1", b"1.", b".5", b"-.5", b"1e3", b"1E-05", b"1.7976931348623157e308", b"5e-324"]
    good += [
        b"0.123456789012345678",
        b"123456789012345678",
        b"-1.23456789012e-10",
        b"00012",
        b"1e-400",
        b"3.14159265358979",
    ]
    bad = [
        b"1,5",
        b"@",
        b"0x10",
        b"1_0",
        b"1 5",
        b"1e",
        b"e5",
        b"--1",
        b"+-1",
        b".",
        b"-",
        b"1.2.3",
        b"1\n2",
        b"\0001",
        b"1.5mm",
    ]
    return [
        *EMPTY,
        *(case(raw, float(raw)) for raw in good),
        *(case(raw, 1.5) for raw in (b"1.5 ", b" 1.5", b"  1.5  ", b"1.5\0", b"1.5 \0")),
        *_bad(*bad),
        *_bad("\u0661".encode(), code="charset_undeclared bad_value"),
        *_bad(b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"+INF", code="not_finite"),
        *_bad(b"1e309", b"-1e400", b"9" * 400, code="out_of_range"),
        case(b"1\\-2.5\\ 3e0 ", 1.0, "extra_values", [1.0, -2.5, 3.0], ""),
        case(b"0.5\\", 0.5, "extra_values", [0.5, None], ""),
        case(b"\\0.5", None, "extra_values", [None, 0.5], ""),
        case(b"\\\\ ", None, many=None),
        case(b"1\\1,5\\nan\\1e999", 1.0, "extra_values", [1.0, None, None, None], "bad_value not_finite out_of_range"),
    ]


def _integers() -> list[Case]:
    edge = [
        b"2147483647",
        b"2147483648",
        b"-2147483649",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"99999999999",
    ]
    good = [*edge, b"0", b"-0", b"+5", b"0012", b"-12", b"0" * 40 + b"7"]
    return [
        *EMPTY,
        *(case(raw, int(raw)) for raw in good),
        *(case(raw, 1) for raw in (b"1 ", b" 1", b"1\0", b"1.0", b"1.", b"1.000 ")),
        *_bad(b"4.1", b"-0.5", b".5", b"1.0001", code="not_integral"),
        *_bad(b"1e3", b"F", b"0x1F", b"1_0", b"1 2", b"1,0", b"-", b"--1", b"nan", b"1-2"),
        *_bad(b"9223372036854775808", b"-9223372036854775809", b"9" * 99, code="out_of_range"),
        case(b"1\\2 ", 1, "extra_values", [1, 2], ""),
        case(b"1\\\\4.1\\F", 1, "extra_values", [1, None, None, None], "not_integral bad_value"),
    ]


def _binary(vr: str, *numbers: float) -> list[Case]:
    """Good numbers, alone and in a row; no value, and lengths that are no multiple of the size."""
    size = struct.calcsize("=" + FORMATS[vr])
    values = [struct.unpack("<f", struct.pack("<f", number))[0] if vr == "FL" else number for number in numbers]
    texts = [f"{number:08X}" for number in numbers] if vr == "AT" else values
    return [
        case(b"", None),
        *(case((number,), value) for number, value in zip(numbers, texts, strict=True)),
        case(numbers, texts[0], "extra_values", texts, ""),
        *(case(b"\1" * odd, None, "bad_length", None) for odd in (1, size - 1, size + 1, 2 * size + 1)),
    ]


def _floats(vr: str, largest: float, smallest: float) -> list[Case]:
    return [
        *_binary(vr, 1.5, 0.0, -0.0, 0.1, largest, -largest, smallest),
        *(case((odd,), None, "not_finite") for odd in (math.nan, math.inf, -math.inf)),
        case((1.5, math.nan, -math.inf), 1.5, "extra_values", [1.5, None, None], "not_finite not_finite"),
    ]


def _integer_range(vr: str, low: int, high: int) -> list[Case]:
    return _binary(vr, 1, 0, low, high, high - 1)


CASES: dict[str, list[Case]] = {
    **{vr: _texts(leading=True, split=True) for vr in ("AE", "CS", "LO", "SH")},
    **{vr: _texts(leading=False, split=True) for vr in ("UC", "PN", "AS")},
    **{vr: _texts(leading=False, split=False) for vr in ("LT", "ST", "UT", "UR")},
    "UI": _uids(),
    "DA": _dates(),
    "TM": _times(),
    "DT": _moments(),
    "DS": _decimals(),
    "IS": _integers(),
    "FD": _floats("FD", 1.7976931348623157e308, 5e-324),
    "FL": _floats("FL", 3.4028234663852886e38, 1e-45),
    "US": _integer_range("US", 0, 2**16 - 1),
    "SS": _integer_range("SS", -(2**15), 2**15 - 1),
    "UL": _integer_range("UL", 0, 2**32 - 1),
    "SL": _integer_range("SL", -(2**31), 2**31 - 1),
    "SV": _integer_range("SV", -(2**63), 2**63 - 1),
    "UV": [
        *_integer_range("UV", 0, 2**63 - 1),
        *(case((big,), None, "out_of_range") for big in (2**63, 2**64 - 1)),
        case((7, 2**63), 7, "extra_values", [7, None], "out_of_range"),
    ],
    "AT": _binary("AT", 0x00181063, 0x00000000, 0xFFFFFFFF, 0x7FE00010),
}
"""VR -> its cases."""

_TEXT_PLAIN: dict[str, Callable[[int], str]] = {
    "UI": "1.2.{}".format,
    "DA": lambda n: f"2020{n % 12 + 1:02d}{n % 28 + 1:02d}",
    "TM": lambda n: f"12{n % 60:02d}{n % 59:02d}",
    "DT": lambda n: f"2020{n % 12 + 1:02d}{n % 28 + 1:02d}1230{n % 60:02d}",
    "DS": lambda n: f"{n}.25",
    "IS": str,
}


def plain_field(vr: str, number: int) -> Field:
    """A field that nothing is wrong with, another one for each number."""
    return (number,) if vr in FORMATS else _TEXT_PLAIN.get(vr, "P{}".format)(number).encode()
