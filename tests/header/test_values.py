"""The value table: each rule on literal bytes, any bytes by hypothesis, and pydicom as oracle."""

import datetime as dt
import math
import struct
import time
from pathlib import Path

import pyarrow as pa
import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from dicomflow.errors import IssueCode, Status
from dicomflow.header.tree import read_tree
from dicomflow.header.values import MAX_ISSUES, decode_value, read_items, type_item
from dicomflow.header.vr import KNOWN_VRS
from dicomflow.model import RawValue
from dicomflow.schema.column import ARROW_TYPES


def one(raw, vr, column=None, **rest):
    """Value and issue codes of a scalar."""
    value, issues = decode_value(RawValue(raw, vr, **rest), column or vr, many=False)
    return value, [code.value for code, _ in issues]


def many(raw, vr, column=None, **rest):
    """Value and issue codes of a list."""
    value, issues = decode_value(RawValue(raw, vr, **rest), column or vr, many=True)
    return value, [code.value for code, _ in issues]


@pytest.mark.parametrize("vr", sorted(set(ARROW_TYPES) - {"SQ"}))
@pytest.mark.parametrize("raw", [b"", b" " * 8, b"\0" * 8, b"  \0 "])
def test_empty_text_is_null(vr, raw):
    """Empty and blank values are null without an issue, never 0 or 1900."""
    if raw and vr in {"AT", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"}:
        raw = b""
    assert one(raw, vr) == (None, [])
    assert many(raw, vr) == (None, [])


@pytest.mark.parametrize(
    ("raw", "vr", "text"),
    [(b" A B ", vr, "A B") for vr in ("AE", "CS", "LO", "SH")]
    + [(b" A B \0", vr, " A B") for vr in ("LT", "ST", "UT", "UC", "PN", "UR", "AS")]
    + [(b"1.2.3\0", "UI", "1.2.3"), (b"1.2.3 ", "UI", "1.2.3")],
)
def test_padding_is_stripped_as_the_vr_says(raw, vr, text):
    """Trailing padding goes always, leading spaces where PS3.5 table 6.2-1 calls them insignificant."""
    assert one(raw, vr) == (text, [])


@pytest.mark.parametrize("vr", ["LO", "SH", "PN", "LT", "ST", "UT", "UC", "CS"])
def test_backslash_in_a_text_of_vm_1_is_text(vr):
    """A scalar text is not split."""
    assert one(b"a\\b", vr) == ("a\\b", [])


def test_lists_keep_their_places():
    """An empty item is null in its place; a list of empty items is null."""
    assert many(b"A\\\\ C \\", "CS") == (["A", None, "C", None], [])
    assert many(b"\\ \\", "CS") == (None, [])
    assert many(b"a\\b", "LT", "LO") == (["a\\b"], [])
    assert many(b"0.5\\", "DS") == ([0.5, None], [])


def test_gbk_is_split_after_decoding():
    """A trail byte 0x5C does not split a value."""
    assert many(b"\x95\x5c\\A", "LO", charset=b"GBK")[0] == [b"\x95\x5c".decode("gbk"), "A"]


@pytest.mark.parametrize("name", ["A^B=C^D=E^F", "a^b^c^d^e", "=only^ideographic", "A^B^^^", "A^B=="])
def test_names_are_kept_as_stored(name):
    """No component of a PN is lost or tidied."""
    assert one(name.encode(), "PN") == (name, [])


def test_embedded_nul_is_kept_and_reported():
    """A NUL inside a text stays, with an issue."""
    assert one(b"A\0B\0", "LO") == ("A\0B", ["embedded_nul"])


@pytest.mark.parametrize("uid", ["1.2.03", "1..2", "1.2.", ".1", "1.2.a", "1." + "2" * 63, " 1.2", "1.2\\3.4"])
def test_invalid_uid_is_kept_and_reported(uid):
    """What is no UID by PS3.5 9.1 is delivered as found, with an issue."""
    assert one(uid.encode(), "UI") == (uid, ["invalid_uid"])


def test_uid_of_64_characters_is_valid():
    """64 characters are allowed."""
    assert one(b"1." + b"2" * 62, "UI") == ("1." + "2" * 62, [])


@pytest.mark.parametrize(
    ("raw", "number"),
    [(b"1.5 ", 1.5), (b" 1.5", 1.5), (b"-.5", -0.5), (b"+1.", 1.0), (b"1e3", 1000.0), (b"1E-3 ", 0.001)]
    + [(b"0.123456789012345678", 0.123456789012345678), (b"1.5\0", 1.5)],
)
def test_decimal_strings(raw, number):
    """A DS that is a number is a float, longer than 16 characters or not."""
    assert one(raw, "DS") == (number, [])


@pytest.mark.parametrize(
    ("raw", "code"),
    [(bad, "bad_value") for bad in (b"1,5", b"@", b"1_0", b"0x10", b"1 5", b"1e", b"--1", b".", b"1.2.3", b"1\n2")]
    + [(bad, "not_finite") for bad in (b"nan", b"inf", b"-Infinity", b"NaN")]
    + [(b"1e400", "out_of_range"), ("١".encode(), "charset_undeclared")],
)
def test_bad_decimal_strings_are_null_with_an_issue(raw, code):
    """What is no decimal string is null: a wrong value is worse than a missing one."""
    value, issues = one(raw, "DS")
    assert value is None
    assert code in issues


def test_bad_item_is_null_in_its_place():
    """One bad item costs that item; its text is kept."""
    value, issues = decode_value(RawValue(b"1\\1,5\\3", "DS"), "DS", many=True)
    assert value == [1.0, None, 3.0]
    assert issues == ((IssueCode.BAD_VALUE, "1,5"),)


def test_issues_of_one_value_are_bounded():
    """A list of bad items keeps its length but not one issue for each."""
    value, issues = decode_value(RawValue(b"\\".join([b"@" * 99] * 1000), "DS"), "DS", many=True)
    assert value == [None] * 1000
    assert len(issues) == MAX_ISSUES
    assert {len(raw) for _, raw in issues} == {64}


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        (b"1", (1, [])),
        (b" +12 ", (12, [])),
        (b"-0012", (-12, [])),
        (b"1.0", (1, [])),
        (b"1.", (1, [])),
        (b"99999999999", (99999999999, [])),
        (b"9223372036854775807", (2**63 - 1, [])),
        (b"-9223372036854775808", (-(2**63), [])),
        (b"9223372036854775808", (None, ["out_of_range"])),
        (b"9" * 5000, (None, ["out_of_range"])),
        (b"0" * 5000 + b"7", (7, [])),
        (b"4.1", (None, ["not_integral"])),
        (b"1e3", (None, ["bad_value"])),
        (b"F", (None, ["bad_value"])),
        (b"1_0", (None, ["bad_value"])),
        (b"1\\2", (1, ["extra_values"])),
        (b"0x1F", (None, ["bad_value"])),
    ],
)
def test_integer_strings(raw, result):
    """Only integral values, in 64 bits; never 4 for 4.1."""
    assert one(raw, "IS") == result


@pytest.mark.parametrize(
    ("vr", "code", "low", "high"),
    [("US", "H", 0, 65535), ("SS", "h", -32768, 32767), ("UL", "I", 0, 2**32 - 1), ("SL", "i", -(2**31), 2**31 - 1)]
    + [("SV", "q", -(2**63), 2**63 - 1), ("UV", "Q", 0, 2**63 - 1)],
)
def test_binary_integers_in_both_byte_orders(vr, code, low, high):
    """Binary integers read by the byte order of the file."""
    assert many(struct.pack("<2" + code, low, high), vr) == ([low, high], [])
    assert many(struct.pack(">2" + code, low, high), vr, big_endian=True) == ([low, high], [])


def test_unsigned_64_bit_beyond_int64_is_null():
    """What does not fit the column's type is null with an issue."""
    assert one(struct.pack("<Q", 2**63), "UV") == (None, ["out_of_range"])


@pytest.mark.parametrize("vr", ["US", "SS", "UL", "SL", "SV", "UV", "FL", "FD", "AT"])
def test_wrong_length_is_null_with_an_issue(vr):
    """A length that is no multiple of the size costs this value only."""
    assert decode_value(RawValue(b"\1\2\3", vr), vr, many=True) == (None, ((IssueCode.BAD_LENGTH, "010203"),))


@pytest.mark.parametrize(("vr", "code"), [("FL", "f"), ("FD", "d")])
def test_floats(vr, code):
    """Floats read as they stand; NaN and infinity are null with the bytes in hex."""
    raw = struct.pack("<4" + code, 0.1, math.nan, math.inf, -2.5)
    value, issues = decode_value(RawValue(raw, vr), vr, many=True)
    assert value == [struct.unpack("<" + code, struct.pack("<" + code, 0.1))[0], None, None, -2.5]
    assert issues == (
        (IssueCode.NOT_FINITE, struct.pack("<" + code, math.nan).hex()),
        (IssueCode.NOT_FINITE, struct.pack("<" + code, math.inf).hex()),
    )


def test_tags():
    """AT is GGGGEEEE."""
    assert many(b"\x18\x00\x63\x10\x54\x00\x10\x00", "AT") == (["00181063", "00540010"], [])
    assert one(b"\x00\x18\x10\x63", "AT", big_endian=True) == ("00181063", [])


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        (b"20200131", (dt.date(2020, 1, 31), [])),
        (b"20200229 ", (dt.date(2020, 2, 29), [])),
        (b"2020.01.31", (dt.date(2020, 1, 31), [])),
        *((bad, (None, ["bad_value"])) for bad in (b"00000000", b"20200230", b"2020", b"202001", b"2020-01-31")),
        *((bad, (None, ["bad_value"])) for bad in (b"00010001", b"20200101-20200201", b"2020.0131", b"31.01.2020")),
        (b"20200131\\20200201", (dt.date(2020, 1, 31), ["extra_values"])),
    ],
)
def test_dates(raw, result):
    """YYYYMMDD and the old YYYY.MM.DD; anything else is null with an issue."""
    assert one(raw, "DA") == result


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        (b"10", (dt.time(10), [])),
        (b"1030", (dt.time(10, 30), [])),
        (b"103059", (dt.time(10, 30, 59), [])),
        (b"103059.5", (dt.time(10, 30, 59, 500000), [])),
        (b"103059.123456 ", (dt.time(10, 30, 59, 123456), [])),
        (b"10:30:59", (dt.time(10, 30, 59), [])),
        (b"10:30:59.25", (dt.time(10, 30, 59, 250000), [])),
        (b"235960", (None, ["out_of_range"])),
        *((bad, (None, ["bad_value"])) for bad in (b"240000", b"1", b"103", b"103061", b"1060", b"10:3059", b"10.5")),
        *((bad, (None, ["bad_value"])) for bad in (b"103059.1234567", b"103059.", b"1000-1200", b" 1030", b"24:00")),
    ],
)
def test_times(raw, result):
    """HH to HHMMSS.FFFFFF and the old HH:MM:SS; leap second, 24:00 and anything else are null with an issue."""
    assert one(raw, "TM") == result


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        (b"20200131103059", (dt.datetime(2020, 1, 31, 10, 30, 59), [])),
        (b"20200131103059.000001", (dt.datetime(2020, 1, 31, 10, 30, 59, 1), [])),
        *((part, (None, ["partial_precision"])) for part in (b"2020", b"202001", b"20200131", b"2020013110")),
        (b"202001311030", (None, ["partial_precision"])),
        (b"20200131-20200201", (None, ["partial_precision"])),
        (b"20200131103059+0100", (None, ["utc_offset"])),
        (b"20200131103059.5-0500", (None, ["utc_offset"])),
        (b"2020+0100", (None, ["utc_offset"])),
        (b"20161231235960", (None, ["out_of_range"])),
        *((bad, (None, ["bad_value"])) for bad in (b"20201301", b"00000101000000", b"2020013124", b"+0100", b"x")),
    ],
)
def test_datetimes(raw, result):
    """A DT is naive and complete, or null with its text: nothing is invented and no zone assumed."""
    assert one(raw, "DT") == result


@pytest.mark.parametrize(
    ("raw", "vr", "column", "result"),
    [
        (struct.pack("<d", 1.5), "FD", "DS", (1.5, [])),
        (struct.pack("<f", 1.5), "FL", "FD", (1.5, [])),
        (struct.pack("<d", 1e39), "FD", "FL", (None, ["out_of_range"])),
        (b"1.5", "DS", "FD", (1.5, [])),
        (b"1e39", "DS", "FL", (None, ["out_of_range"])),
        (struct.pack("<h", -5), "SS", "US", (-5, [])),
        (struct.pack("<H", 65535), "US", "SS", (65535, [])),
        (struct.pack("<I", 2**31), "UL", "US", (None, ["out_of_range"])),
        (struct.pack("<H", 7), "US", "LO", ("7", [])),
        (struct.pack("<d", 1.5), "FD", "LO", ("1.5", [])),
        (struct.pack("<d", math.nan), "FD", "LO", (None, ["not_finite"])),
        (struct.pack("<d", 4.0), "FD", "IS", (4, [])),
        (struct.pack("<d", 4.1), "FD", "IS", (None, ["not_integral"])),
        (struct.pack("<d", 1e300), "FD", "IS", (None, ["out_of_range"])),
        (struct.pack("<Q", 2**62 + 1), "UV", "DS", (None, ["out_of_range"])),
        (struct.pack("<H", 7), "US", "DS", (7.0, [])),
        (b"12 ", "LO", "IS", (12, [])),
        (b"1.5", "LO", "DS", (1.5, [])),
        (b"12", "IS", "US", (12, [])),
        (b"70000000000", "IS", "US", (None, ["out_of_range"])),
        (b"20200131", "LO", "DA", (dt.date(2020, 1, 31), [])),
        (b"20200131", "DA", "LO", ("20200131", [])),
        (b"abc ", "ST", "LT", ("abc", [])),
        (b"\x18\x00\x63\x10", "AT", "LO", ("00181063", [])),
        (struct.pack("<H", 7), "US", "DA", (None, ["incompatible_vr"])),
        (b"1.2", "UI", "DS", (None, ["incompatible_vr"])),
        (b"2020", "DT", "TM", (None, ["incompatible_vr"])),
        (b"abcd", "SQ", "LO", (None, ["incompatible_vr"])),
        (b"abcd", "OB", "LO", (None, ["incompatible_vr"])),
        (b"", "SQ", "LO", (None, [])),
        (b"abcd", "LO", "SQ", (None, ["incompatible_vr"])),
        (struct.pack("<H", 7), "OW", "US", (7, [])),
        (struct.pack("<d", 1.5), "OB", "FD", (1.5, [])),
        (b"\1\2\3", "OB", "US", (None, ["bad_length"])),
    ],
)
def test_vr_in_the_file_reads_and_the_column_delivers(raw, vr, column, result):
    """Bytes are read by the file's VR and delivered as the column's type, or null where that is impossible."""
    assert one(raw, vr, column) == result


@pytest.mark.parametrize("vr", ["UN", "??", "  ", "", "ZZ", "\0\0"])
def test_without_a_vr_the_column_reads(vr):
    """UN and unknown letters are read by the column's VR."""
    assert one(struct.pack("<H", 7), vr, "US") == (7, [])
    assert one(b"M\xfcller ", vr, "PN", charset=b"ISO_IR 100") == ("Müller", [])


def test_un_is_little_endian_in_a_big_endian_file():
    """PS3.5 6.2.2: what UN holds is little endian."""
    assert one(b"\7\0", "UN", "US", big_endian=True) == (7, [])
    assert one(b"\0\7", "??", "US", big_endian=True) == (7, [])


def test_extra_number_is_reported():
    """Of several numbers in a scalar the first is kept."""
    assert one(b"0.5\\", "DS") == (0.5, ["extra_values"])
    assert one(b"\\1", "DS") == (None, ["extra_values"])
    assert one(struct.pack("<2H", 1, 2), "US") == (1, ["extra_values"])


@given(
    raw=st.binary(max_size=40) | st.text("0123456789.eE+-:\\ \0aN", max_size=30).map(str.encode),
    vr=st.sampled_from([*sorted(KNOWN_VRS), "??", ""]),
    column=st.sampled_from(sorted(ARROW_TYPES)),
    big_endian=st.booleans(),
    charset=st.none()
    | st.sampled_from([b"ISO_IR 100", b"ISO 2022 IR 13\\ISO 2022 IR 87", b"GBK"])
    | st.binary(max_size=9),
    as_list=st.booleans(),
)
@settings(max_examples=600, deadline=None)
def test_never_raises_and_fits_arrow(raw, vr, column, big_endian, charset, as_list):
    """Any bytes under any VR give what Arrow takes, without a further conversion."""
    value, issues = decode_value(RawValue(raw, vr, big_endian, charset), column, as_list)
    item = ARROW_TYPES[column]
    kept = pa.array([value], pa.list_(item) if as_list else item).to_pylist()[0]
    assert kept == value or column == "FL"
    assert all(len(text) <= 64 for _, text in issues)
    assert value is not None or not as_list or raw == b"" or issues or kept is None


@pytest.mark.parametrize("vr", ["DS", "IS", "UI", "DA", "TM", "DT"])
@pytest.mark.parametrize("text", [b"1" * 300_000 + b"x", b"0" * 300_000 + b"x", b"1." * 150_000, b"1" * 300_000])
def test_long_texts_take_linear_time(vr, text):
    """A hostile text of any length is refused at once."""
    start = time.perf_counter()
    assert decode_value(RawValue(text, vr), vr, many=True).issues
    assert time.perf_counter() - start < 2


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_decimal_string_round_trip(number):
    """Every finite float survives as DS text."""
    assert one(repr(number).encode(), "DS") == (number, [])


@given(st.datetimes())
def test_datetime_round_trip(moment):
    """Every moment survives as DT, DA and TM text."""
    text = f"{moment.year:04d}{moment:%m%d%H%M%S.%f}".encode()
    assert one(text, "DT") == (moment, [])
    assert one(text[:8], "DA") == (moment.date(), [])
    assert one(text[8:], "TM") == (moment.time(), [])


def test_items_can_be_read_and_typed_alone():
    """The two steps are usable on their own."""
    assert read_items(RawValue(b"1\\x", "DS"), "DS").values == ("1", "x")
    assert [type_item(item, "DS") for item in ("1", "x", None)] == [1.0, None, None]


CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
SAMPLE = sorted(CORPUS.rglob("*.dcm"))[::12] if CORPUS.is_dir() else []
BUNDLED = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))  # no download of pydicom-data
FILES = BUNDLED + SAMPLE
COMPARED = {
    "AE",
    "AS",
    "CS",
    "LO",
    "SH",
    "LT",
    "ST",
    "UT",
    "UC",
    "UI",
    "UR",
    "PN",
    "DS",
    "IS",
    "FL",
    "FD",
    "SL",
    "UL",
    "US",
    "SS",
}


def expected_of(value, vr):
    """What pydicom reads, in our types; raises ValueError where pydicom has no value of the VR."""
    if value is None or value == "":
        return None
    if vr in {"DS", "FL", "FD"}:
        return float(value)
    if vr in {"IS", "SL", "UL", "US", "SS"}:
        return int(value)
    return str(value).strip(" \0") or None


def same(ours, theirs):
    """Equal, leading spaces apart: pydicom keeps those that PS3.5 table 6.2-1 calls insignificant."""
    return ours == theirs or (isinstance(ours, str) and ours.strip(" ").rstrip("=") == theirs)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_top_level_values_equal_pydicom(path):
    """Text and numbers of real files equal what pydicom reads."""
    header = read_tree(path.read_bytes())
    if header.outcome.status != Status.OK:
        pytest.skip("not a readable header")
    dataset = dcmread(path, stop_before_pixels=True, force=True)
    for element in header.elements:
        if element.vr not in COMPARED or element.tag >> 16 & 1:
            continue
        value, issues = decode_value(element.raw, element.vr, many=element.vr not in {"LT", "ST", "UT", "UR"})
        if issues:
            continue  # reported, so not silently different
        theirs = dataset[element.tag].value
        theirs = list(theirs) if hasattr(theirs, "append") else [theirs]
        ours = value if isinstance(value, list) else [value]
        theirs = [expected_of(item, element.vr) for item in theirs]
        if all(item is None for item in theirs):
            theirs = [None]
        assert len(ours) == len(theirs), hex(element.tag)
        assert all(map(same, ours, theirs)), hex(element.tag)
