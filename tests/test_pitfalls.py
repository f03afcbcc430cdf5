"""What real DICOM does: each line of the list of pitfalls, by its number, on literal bytes and through ``read_headers``.

These are promises. The rules behind them have tests of their own beside each module; here each promise stands once.
"""

import datetime as dt
import struct
import tracemalloc

import pytest

from dicomflow.errors import HeaderError
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.read import read_headers
from tests.dicom_bytes import (
    BIG,
    BIG_UID,
    DEFLATED_UID,
    DICOMDIR_UID,
    EXPLICIT,
    EXPLICIT_UID,
    IMPLICIT,
    IMPLICIT_UID,
    STOP,
    SYNTAX,
    deflated,
    element,
    file,
    item,
    item_end,
    sequence,
    sequence_end,
)
from tests.scanning import columns_of, feed, read_one, take_row

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

ENCODINGS = [EXPLICIT, IMPLICIT, BIG]
KEY, MODALITY, NAME, PATIENT, PIXELS = 0x00080018, 0x00080060, 0x00100010, 0x00100020, STOP
BULK = bytes(range(256)) * 400


def key(encoding=EXPLICIT):
    """SOPInstanceUID 1.2.3."""
    return element(KEY, "UI", b"1.2.3\0", encoding)


def plain(encoding=EXPLICIT):
    """Key, Modality and PatientID."""
    modality = element(MODALITY, "CS", b"MR", encoding)
    return key(encoding) + modality + element(PATIENT, "LO", b"P1", encoding)


def short(value, encoding=EXPLICIT):
    """An unsigned 16-bit number."""
    return struct.pack(">H" if encoding.big_endian else "<H", value)


def row_of(data, columns="standard"):
    """The one row of a file."""
    (row,) = read_headers(data, columns=str(columns)).to_pylist()
    return row


def read(*elements, columns="standard"):
    """The row of a file of the key and these elements, and its issue codes by column."""
    row = row_of(file(key() + b"".join(elements)), columns)
    return row, {issue["path"]: issue["code"] for issue in row["issues"] or []}


def typed(tag, vr, raw, name):
    """The value of one column, and its issue code."""
    row, issues = read(element(tag, vr, raw))
    return row[name], issues.get(name)


def outcome(data, *names, **limits):
    """Status and code of one file, as the ledger says them; None for a whole header."""
    found = read_one(data, *names, **limits).outcome
    return None if found is None else (str(found.status), str(found.code))


def profile(folder, *columns):
    """A column profile of these YAML entries."""
    path = folder / "columns.yaml"
    path.write_text("profile: pitfalls\ncolumns:\n" + "".join(f"  - {column}\n" for column in columns))
    return path


# ---- 1-4: where a header begins and ends, and how it is packed -------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_01_a_cut_header_is_partial_with_the_offset_and_gives_no_short_value(encoding):
    """Complete only at the stop tag or the exact end; else ``partial``, with the offset."""
    inner = [item(element(0x00081155, "UI", b"1.2.9\0", encoding), encoding, defined=False)]
    references = sequence(0x00081140, inner, encoding, defined=False)
    last = references + element(PATIENT, "LO", b"PATIENT1", encoding)
    start = file(key(encoding) + element(MODALITY, "CS", b"MR", encoding), syntax=SYNTAX[encoding])
    whole = start + last + element(PIXELS, "OW", b"\1\2", encoding)
    assert row_of(whole)["status"] == "ok" and row_of(whole)["header_bytes"] == len(start + last)
    between = len(start + references)  # a cut between two elements leaves a well-formed file
    for size in {*range(len(start) + 1, len(start + last))} - {between}:
        row = row_of(whole[:size])
        assert (row["status"], row["Modality"], row["PatientID"]) == ("partial", "MR", None), size
        found = read_one(whole[:size], "PatientID").outcome
        assert str(found.code) == "truncated" and found.offset in range(len(start), size + 1)
    assert row_of(start + last)["status"] == "ok"


def test_01_a_length_past_the_end_is_no_value():
    """A short value is never delivered as a value."""
    data = file(plain() + element(0x00200013, "IS", b"12", length=8))
    assert (row_of(data)["status"], row_of(data)["InstanceNumber"]) == ("partial", None)
    assert read_one(data, "InstanceNumber").outcome.offset == len(data) - 10


@pytest.mark.parametrize(
    "junk",
    [b"Hello, patient. " * 40, b"", bytes(600), b"\x89PNG\r\n\x1a\n" + BULK, b"DICM" + bytes(200)]
    + [b"\x08\0\x77\x77\4\0\0\0" + bytes(200), b"\x08\0\x60\0\xff\xff\xff\x7f" + bytes(200)],
)
def test_02_what_is_not_dicom_is_refused(junk):
    """No ``force``: neither a text nor an empty file is a data set."""
    assert outcome(junk) == ("not_dicom", "no_dicom_header" if junk else "empty_file")
    with pytest.raises(HeaderError, match="bytes:0"):
        read_headers(junk)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_02_a_data_set_without_preamble_is_read(encoding):
    """Group 0002 or 0008 at offset 0 or 128, in all three encodings."""
    meta = file(b"", syntax=SYNTAX[encoding])[132:]
    for data in (
        plain(encoding),
        bytes(128) + plain(encoding),
        meta + plain(encoding),
        bytes(128) + meta + plain(encoding),
    ):
        row = row_of(data)
        assert (row["status"], row["SOPInstanceUID"], row["PatientID"]) == ("ok", "1.2.3", "P1")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("declared", [EXPLICIT_UID, IMPLICIT_UID, BIG_UID, None])
def test_03_what_is_there_wins_over_what_file_meta_declares(declared, encoding):
    """A lying or missing (0002,0010) and a wrong group length cost nothing; a lie is an issue."""
    wrong = element(0x00020000, "UL", b"\xff\xff\xff\x7f")
    row = row_of(file(plain(encoding), wrong, syntax=declared))
    assert (row["status"], row["Modality"], row["PatientID"]) == ("ok", "MR", "P1")
    lies = declared not in (None, SYNTAX[encoding])
    assert [issue["code"] for issue in row["issues"] or []] == ["transfer_syntax"] * lies


def test_03_deflated_is_declared_but_the_data_set_is_plain():
    """The first data element is checked here too."""
    row = row_of(file(plain(), syntax=DEFLATED_UID))
    assert (row["PatientID"], row["issues"][0]["code"]) == ("P1", "transfer_syntax")


def test_03_file_meta_after_the_data_set_began_is_found(tmp_path):
    """Meta elements may stand between data elements; what follows them is read."""
    late = element(0x00020010, "UI", IMPLICIT_UID) + element(0x00020002, "UI", b"1.2.840.10008.5.1.4.1.1.4\0")
    columns = profile(tmp_path, "MediaStorageSOPClassUID", "TransferSyntaxUID", "Modality", "PatientID")
    row = row_of(file(key() + late + plain()[len(key()) :], syntax=None), columns)
    assert (
        row["MediaStorageSOPClassUID"] == "1.2.840.10008.5.1.4.1.1.4"
        and row["TransferSyntaxUID"] == "1.2.840.10008.1.2"
    )
    assert (row["Modality"], row["PatientID"], row["status"]) == ("MR", "P1", "ok")


def test_04_deflated_is_inflated_as_far_as_the_stop_tag():
    """What is damaged behind the stop tag is never seen."""
    noise = b"".join(struct.pack("<I", n * 2654435761 % 2**32) for n in range(400_000))
    stream = bytearray(deflated(plain() + element(PIXELS, "OW", noise)))
    stream[-60_000:] = b"\xff" * 60_000
    row = row_of(file(bytes(stream), syntax=DEFLATED_UID))
    assert (row["status"], row["PatientID"], row["issues"]) == ("ok", "P1", None)


def test_04_a_cut_deflate_stream_is_partial_and_a_bomb_fails():
    """Streamed and bounded; a bomb ends at the limit as ``failed``."""
    noise = b"".join(struct.pack("<I", n * 2654435761 % 2**32) for n in range(5_000))
    whole = file(deflated(plain() + element(0x00291010, "OB", noise)), syntax=DEFLATED_UID)
    assert (row_of(whole)["status"], row_of(whole[:-9])["status"]) == ("ok", "partial")
    bomb = file(deflated(plain() + element(0x00291010, "OB", bytes(9_000_000))), syntax=DEFLATED_UID)
    assert outcome(bomb, max_inflated_bytes=1 << 20) == ("failed", "limit_inflated_bytes")


# ---- 5-11: values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value", "code"),
    [(b"1.5 ", 1.5, None), (b" 1.5", 1.5, None), (b"0.12345678901234567 ", 0.12345678901234567, None)]
    + [(bad, None, "bad_value") for bad in (b"1,5 ", b"@ ")]
    + [(b"nan ", None, "not_finite"), (b"inf ", None, "not_finite"), (b"0.5\\", 0.5, "extra_values")],
)
def test_05_a_decimal_string_is_a_number_or_null(raw, value, code):
    """Stripped; NaN, infinity and what is no number are null with an issue."""
    assert typed(0x00101030, "DS", raw, "PatientWeight") == (value, code)


def test_05_a_bad_item_costs_the_item():
    """Per item null and an issue; the list keeps its length."""
    assert typed(0x00280030, "DS", b"0.5\\1,5 ", "PixelSpacing") == ([0.5, None], "bad_value")
    assert typed(0x00280030, "DS", b"0.5\\", "PixelSpacing") == ([0.5, None], None)
    assert typed(0x00200032, "DS", b"1\\nan\\3 ", "ImagePositionPatient") == ([1.0, None, 3.0], "not_finite")


@pytest.mark.parametrize(
    ("raw", "value", "code"),
    [(b"4.1 ", None, "not_integral"), (b"1e3 ", None, "bad_value"), (b"F ", None, "bad_value"), (b"4.0 ", 4, None)]
    + [(b"99999999999 ", 99999999999, None), (b"99999999999999999999", None, "out_of_range"), (b" 7", 7, None)],
)
def test_06_an_integer_string_is_integral_or_null(raw, value, code):
    """Only integral values, in 64 bits; "4.1" is never 4."""
    assert typed(0x00200013, "IS", raw, "InstanceNumber") == (value, code)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_07_a_binary_number_of_a_wrong_length_costs_that_value(encoding, tmp_path):
    """Null and an issue for US, FL and FD; all else is read."""
    names = ["Rows", "ExaminedBodyThickness", "DiffusionBValue", "PatientID"]
    odd = [(0x00109431, "FL", b"\1\2\3\4\5\6"), (0x00189087, "FD", b"\1\2\3\4"), (0x00280010, "US", b"\1\2\3")]
    body = plain(encoding) + b"".join(element(*one, encoding) for one in odd)
    row = row_of(file(body, syntax=SYNTAX[encoding]), profile(tmp_path, *names))
    assert [row[name] for name in names] == [None, None, None, "P1"] and row["status"] == "ok"
    assert {(issue["path"], issue["code"]) for issue in row["issues"]} == {(name, "bad_length") for name in names[:3]}


@pytest.mark.parametrize(
    ("raw", "value", "code"),
    [(b"20200131", dt.date(2020, 1, 31), None), (b"2020.01.31", dt.date(2020, 1, 31), None), (b"", None, None)]
    + [(bad, None, "bad_value") for bad in (b"20200101-20200201 ", b"00000000", b"20200230", b"202001", b"2020-01-31")],
)
def test_08_a_date_is_a_day_or_null(raw, value, code):
    """``YYYYMMDD`` or ``YYYY.MM.DD``; never 1900-01-01."""
    assert typed(0x00080020, "DA", raw, "StudyDate") == (value, code)


@pytest.mark.parametrize(
    ("raw", "value", "code"),
    [(b"12:30:00", dt.time(12, 30), None), (b"1230", dt.time(12, 30), None), (b"12", dt.time(12), None)]
    + [(b"123059.25 ", dt.time(12, 30, 59, 250_000), None), (b"", None, None)]
    + [(b"240000", None, "bad_value"), (b"235960", None, "out_of_range"), (b"1030-1130 ", None, "bad_value")],
)
def test_08_a_time_is_a_time_of_day_or_null(raw, value, code):
    """``HHMM`` are hours and minutes; 24:00 and the leap second are null with an issue."""
    assert typed(0x00080030, "TM", raw, "StudyTime") == (value, code)


@pytest.mark.parametrize(
    ("raw", "value", "code"),
    [(b"20200131123059", dt.datetime(2020, 1, 31, 12, 30, 59), None), (b"", None, None)]
    + [(b"2020", None, "partial_precision"), (b"202001311230", None, "partial_precision")]
    + [(b"20200131123059+0100 ", None, "utc_offset"), (b"20200230123059", None, "bad_value")],
)
def test_08_a_datetime_is_complete_or_null(raw, value, code):
    """No part is invented, no zone assumed; the text stays in the issue."""
    row, issues = read(element(0x0008002A, "DT", raw))
    assert (row["AcquisitionDateTime"], issues.get("AcquisitionDateTime")) == (value, code)
    assert code is None or row["issues"][0]["raw"] == raw.decode().strip()


@pytest.mark.parametrize(
    "name", ["Yamada^Tarou=Y^T=y^t", "A^B^C^D^E", "=only^ideographic", "Buc^Jerome^^^", "A^B==", "A\\B"]
)
def test_09_a_name_is_kept_as_stored(name):
    """Groups, parts and delimiters at the end are not tidied away."""
    assert typed(NAME, "PN", name.encode(), "PatientName") == (name, None)


def test_09_a_name_is_decoded_group_by_group():
    """Each component group begins in the first set (PS3.5 6.2.1.2)."""
    charset = element(0x00080005, "CS", b"ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 87")
    row, issues = read(charset, element(NAME, "PN", b"J\xe9r\xf4me=\x1b-F\xc4^\xc4\x1b$B;3\x1b(B=\xe9"))
    assert (row["PatientName"], issues) == ("Jérôme=Δ^Ä山=é", {})


@pytest.mark.parametrize(
    ("charset", "raw", "name", "code"),
    [
        (None, "Müller".encode(), "Müller", "charset_undeclared"),
        (None, b"M\xfcller", "Müller", "charset_undeclared"),
        (b"ISO_IR 999", b"M\xfcller", "Müller", "charset_unknown"),
        (b"ISO-IR 192", "Müller".encode(), "Müller", None),
        (b"ISO_IR 192", b"M\xfcller", "M\ufffdller", "charset_replaced"),
        (b"GBK", b"\xcd\xf5^\x95\x5c", "王^昞", None),
        (b"ISO 2022 IR 6\\ISO 2022 IR 126", b"A\x1b-F\xc4^B", "AΔ^B", None),
        (b"ISO 2022 IR 100\\ISO 2022 IR 126", b"\x1b-F\xc4^\xc4=\x1b-F\xc4=\xc4", "Δ^Ä=Δ=Ä", None),
    ],
)
def test_10_the_declared_set_decodes_and_what_is_guessed_is_an_issue(charset, raw, name, code):
    """Absent or unknown: ASCII, else strict UTF-8, else latin-1; escapes reset at the delimiters of a name."""
    declared = b"" if charset is None else element(0x00080005, "CS", charset)
    row, issues = read(declared, element(NAME, "PN", raw))
    assert (row["PatientName"], issues.get("PatientName")) == (name, code)


def test_10_escapes_reset_at_a_backslash(tmp_path):
    """Each value begins in the first set."""
    body = element(0x00080005, "CS", b"ISO 2022 IR 100\\ISO 2022 IR 126") + element(
        0x00081048, "PN", b"\x1b-F\xc4\\\xc4"
    )
    row, issues = read(body, columns=profile(tmp_path, "PhysiciansOfRecord"))
    assert (row["PhysiciansOfRecord"], issues) == (["Δ", "Ä"], {})


def test_10_an_item_has_its_own_set_or_the_one_around_it(tmp_path):
    """PS3.5 7.5.3."""
    meaning = element(0x00080104, "LO", b"\xc4")
    own = element(0x00080005, "CS", b"ISO_IR 126") + meaning
    body = element(0x00080005, "CS", b"ISO_IR 144") + sequence(0x00081032, [item(own), item(meaning)])
    paths = [f"{{name: Code{n}, path: 'ProcedureCodeSequence[{n}].CodeMeaning'}}" for n in (0, 1)]
    row, issues = read(body, columns=profile(tmp_path, *paths))
    assert (row["Code0"], row["Code1"], issues) == ("Δ", "Ф", {})


def test_11_a_list_of_blanks_is_null():
    """No list of nulls."""
    assert typed(0x00200032, "DS", b" \\\\  ", "ImagePositionPatient") == (None, None)


@pytest.mark.parametrize("text", [None, b"", b"    ", b"\0\0"])
def test_11_empty_absent_and_blank_are_null(text):
    """Never 0, 1900 or "NaN"; and no issue."""
    wanted = [(0x00080020, "DA"), (0x00080030, "TM"), (MODALITY, "CS"), (NAME, "PN"), (0x00101030, "DS")]
    wanted += [(0x00200013, "IS"), (0x00200032, "DS")]
    names = [
        "StudyDate",
        "StudyTime",
        "Modality",
        "PatientName",
        "PatientWeight",
        "InstanceNumber",
        "ImagePositionPatient",
    ]
    there = [element(tag, vr, text) for tag, vr in wanted] if text is not None else []
    row, issues = read(*there, element(0x00280010, "US", b"") if there else b"")
    assert [row[name] for name in [*names, "Rows"]] == [None] * 8
    assert issues == {}


# ---- 12-18: elements, sequences, padding, bulk -----------------------------------------------------------------------

BVALUE = '{name: BValue, private: {creator: "GEMS_PARM_01", group: "0043", element: "39"}, vr: IS}'


def creator(block, name=b"GEMS_PARM_01"):
    """The owner of a block of group 0043."""
    return element(0x00430000 | block, "LO", name)


def private(block, value):
    """(0043,xx39)."""
    return element(0x00430039 | block << 8, "IS", value)


@pytest.mark.parametrize(
    ("elements", "value"),
    [
        ([creator(0x10), private(0x10, b"7 ")], 7),
        ([creator(0x11), private(0x11, b"7 ")], 7),
        ([creator(0x10, b"OTHER "), creator(0x12), private(0x10, b"1 "), private(0x12, b"7 ")], 7),
        ([creator(0x10), creator(0x11), private(0x11, b"7 ")], 7),
        ([creator(0x10, b"GEMS_PARM_01 \0"), private(0x10, b"7 ")], 7),
        ([private(0x10, b"7 ")], None),
        ([creator(0x10, b"OTHER "), private(0x10, b"7 ")], None),
    ],
)
def test_12_a_private_element_is_found_by_its_creator(elements, value, tmp_path):
    """In whichever block; without its creator, or with another, it is not there."""
    assert read(*elements, columns=profile(tmp_path, BVALUE))[0]["BValue"] == value


@pytest.mark.parametrize("encoding", [EXPLICIT, BIG])
def test_13_a_known_tag_sent_as_un_is_read_by_the_dictionary(encoding, tmp_path):
    """Its bytes are implicit little endian, in a big-endian file too (PS3.5 6.2.2)."""
    body = plain(encoding) + element(0x00280010, "UN", short(512), encoding)
    body += element(0x00280030, "UN", b"0.5\\0.25", encoding)
    row = row_of(file(body, syntax=SYNTAX[encoding]))
    assert (row["Rows"], row["PixelSpacing"], row["issues"]) == (512, [0.5, 0.25], None)


@pytest.mark.parametrize("encoding", [EXPLICIT, BIG])
def test_13_un_of_undefined_length_is_an_implicit_sequence(encoding, tmp_path):
    """Walked so, known or private, wanted or not."""
    inner = [item(element(0x00080100, "", b"CODE", IMPLICIT), IMPLICIT, defined=False)]
    value = b"".join(inner) + sequence_end(IMPLICIT)
    unknown = element(0x00091001, "UN", value, encoding, 0xFFFFFFFF)
    body = key(encoding) + element(0x00081032, "UN", value, encoding, 0xFFFFFFFF) + unknown + plain(encoding)[14:]
    columns = profile(tmp_path, "PatientID", "{name: Code, path: 'ProcedureCodeSequence[0].CodeValue'}")
    row = row_of(file(body, syntax=SYNTAX[encoding]), columns)
    assert (row["status"], row["Code"], row["PatientID"]) == ("ok", "CODE", "P1")


def nest(depth, encoding=EXPLICIT):
    """Sequences of undefined length in each other, private implicit content in the innermost."""
    inner = element(0x00091001, "", b"\1\2\3", IMPLICIT)
    for _ in range(depth):
        inner = sequence(0x00081140, [item(inner, encoding, defined=False)], encoding, defined=False)
    return inner


def test_14_nested_sequences_are_walked_to_skip():
    """Undefined lengths, implicit content, fragments in an icon, delimiters in items of defined length."""
    icon = element(PIXELS, "OB", item(b"\xfe\xff\xdd\xe0") + item(bytes(8)) + sequence_end(), length=0xFFFFFFFF)
    odd = sequence(0x52009230, [item(element(0x00081155, "UI", b"1.2\0") + item_end() + b"anything")])
    body = key() + nest(8) + odd + sequence(0x00880200, [item(icon, defined=False)], defined=False)
    row = row_of(file(body + element(PATIENT, "LO", b"P1")))
    assert (row["status"], row["PatientID"], row["issues"]) == ("ok", "P1", None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (sequence(0x00081140, [item(plain())], defined=False)[:-8], "truncated"),
        (
            element(
                0x00081140, "SQ", item(plain(), defined=False)[:-8] + element(MODALITY, "CS", b"CT"), length=0xFFFFFFFF
            ),
            "truncated",
        ),
        (element(0x00081140, "SQ", b"no item here", length=0xFFFFFFFF), "bad_sequence"),
    ],
)
def test_14_a_sequence_that_cannot_be_walked_makes_the_file_partial(body, code):
    """A missing delimiter is no endless loop, and no whole header."""
    row = row_of(file(plain() + body))
    assert (row["status"], row["PatientID"]) == ("partial", "P1")
    assert outcome(file(plain() + body)) == ("partial", code)


def test_14_depth_and_elements_are_limited():
    """Each limit is an outcome."""
    assert outcome(file(plain() + nest(9)), max_depth=10) is None
    assert outcome(file(plain() + nest(11)), max_depth=10) == ("partial", "limit_depth")
    assert outcome(file(plain() + element(0x00091001, "OB", b"") * 99), max_elements=50) == (
        "partial",
        "limit_elements",
    )


@pytest.mark.parametrize("tag", [0x7FE00008, 0x7FE00009, 0x7FE00010, 0x7FE10010])
def test_15_the_header_ends_at_the_first_tag_from_7fe00008_on(tag):
    """Float pixels too; what stands behind the pixels is not looked at."""
    data = file(plain())
    row = row_of(data + element(tag, "OW", b"\1\2") + element(0x00100040, "CS", b"F ") + b"junk")
    assert (row["status"], row["header_bytes"], row["PatientSex"]) == ("ok", len(data), None)


def test_15_without_pixels_the_header_ends_with_the_file():
    """Complete at its end."""
    assert (row_of(file(plain()))["status"], row_of(file(plain()))["header_bytes"]) == ("ok", len(file(plain())))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_15_tags_out_of_order_are_found_and_the_last_of_a_repeated_one_wins(encoding):
    """The repeated one with an issue."""
    late = element(0x00100040, "CS", b"F ", encoding) + element(MODALITY, "CS", b"CT", encoding)
    row = row_of(
        file(plain(encoding) + late + element(0x00080020, "DA", b"20200131", encoding), syntax=SYNTAX[encoding])
    )
    assert (row["PatientSex"], row["Modality"], row["StudyDate"]) == ("F", "CT", dt.date(2020, 1, 31))
    assert [(issue["path"], issue["code"]) for issue in row["issues"]] == [("Modality", "repeated_tag")]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", ["zeros", "element", "none"])
def test_16_group_lengths_padding_and_odd_lengths_are_no_fault(encoding, padding):
    """Ignored; an odd length is read as it stands."""
    number = struct.pack(">I" if encoding.big_endian else "<I", 12345)
    body = element(0x00080000, "UL", number, encoding) + key(encoding)
    body += element(MODALITY, "CS", b"OPT", encoding) + element(0x00100000, "UL", number, encoding)
    body += element(PATIENT, "LO", b"P", encoding)
    end = {"zeros": bytes(333), "element": element(0xFFFCFFFC, "OB", bytes(64), encoding), "none": b""}[padding]
    row = row_of(file(body + end, syntax=SYNTAX[encoding]))
    assert (row["status"], row["Modality"], row["PatientID"], row["issues"]) == ("ok", "OPT", "P", None)


def test_17_bulk_is_skipped_by_its_length_and_never_copied(tmp_path):
    """CSA headers, profiles, tables, overlays, contours: a longer prefix is read, no value is kept."""
    bulk = [(0x00282000, "OB"), (0x00291010, "OB"), (0x54001010, "OW"), (0x60003000, "OW"), (0x30060050, "UT")]
    body = plain() + b"".join(element(tag, vr, BULK) for tag, vr in bulk) + element(0x70010010, "LO", b"END ")
    path = tmp_path / "bulk.dcm"
    path.write_bytes(file(body + element(PIXELS, "OW", BULK * 9)))
    columns = profile(
        tmp_path, "PatientID", '{name: End, private: {creator: "END", group: "7001", element: "01"}, vr: LO}'
    )
    row = row_of(path, columns)
    assert (row["status"], row["PatientID"], row["header_bytes"]) == ("ok", "P1", len(file(body)))
    reader = HeaderReader(columns_of("PatientID"), rows=1)
    assert feed(reader, path.read_bytes()) is None
    assert reader.scanner.elements < 12 and reader.batch.arena_bytes < 32


def test_17_a_segmentation_of_12000_frames_is_read_in_bounded_memory(tmp_path):
    """Per-frame functional groups of megabytes cost their bytes once, not an object per element."""
    position = sequence(0x00209113, [item(element(0x00200032, "DS", b"1.0\\2.0\\3.0 "), defined=False)], defined=False)
    frames = sequence(0x52009230, [item(position * 4, defined=False)] * 12_000, defined=False)
    path = tmp_path / "seg.dcm"
    path.write_bytes(file(plain() + frames + element(PIXELS, "OB", b"\0\0")))
    row_of(file(plain()))  # what is loaded once is not counted
    tracemalloc.start()
    row = row_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (row["status"], row["ImagePositionPatient"]) == ("ok", [1.0, 2.0, 3.0])
    assert peak < 7 * len(frames)  # the position of each frame is kept, too


@pytest.mark.parametrize(
    ("raw", "uid", "code"),
    [(b"1.2.3\0", "1.2.3", None), (b"1.2.3 ", "1.2.3", None), (b"1.2.3\0\0\0", "1.2.3", None)]
    + [(b"1.2.03", "1.2.03", "invalid_uid"), (b"1." + b"2" * 63, "1." + "2" * 63, "invalid_uid")],
)
def test_18_a_uid_loses_its_padding_and_nothing_else(raw, uid, code):
    """Padding stripped for the key; leading zeros and 65 characters as found, with an issue."""
    row = row_of(file(element(KEY, "UI", raw)))
    assert (row["SOPInstanceUID"], row["issues"] and row["issues"][0]["code"]) == (uid, code)


def test_18_a_nul_inside_a_text_stays():
    """As found, with an issue."""
    assert typed(PATIENT, "LO", b"A\0B\0", "PatientID") == ("A\0B", "embedded_nul")


# ---- 20-24: keys, frames, directories, VRs, lengths ------------------------------------------------------------------


def test_20_file_meta_stands_in_for_a_missing_key():
    """With an issue; none at all is ``failed``."""
    stored = element(0x00020003, "UI", b"1.2.4\0")
    for body in (plain()[len(key()) :], element(KEY, "UI", b"\0\0") + plain()[len(key()) :]):
        row = row_of(file(body, stored))
        assert (row["SOPInstanceUID"], row["issues"][0]["code"]) == ("1.2.4", "uid_from_file_meta")
        assert outcome(file(body)) == ("failed", "missing_sop_instance_uid")
    with pytest.raises(HeaderError, match="neither SOPInstanceUID"):
        read_headers(file(plain()[len(key()) :]))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("defined", [True, False])
def test_21_enhanced_objects_have_their_values_from_the_functional_groups(encoding, defined):
    """The attribute itself if it has a value, else shared, else the first frame's."""

    def group(outer, spacing):
        measures = item(element(0x00280030, "DS", spacing, encoding), encoding, defined=defined)
        inner = sequence(0x00289110, [measures], encoding, defined=defined)
        return sequence(outer, [item(inner, encoding, defined=defined)], encoding, defined=defined)

    top = element(0x00280030, "DS", b"9\\9 ", encoding)
    blank = element(0x00280030, "DS", b"  ", encoding)
    shared, frame = group(0x52009229, b"1\\2 "), group(0x52009230, b"3\\4 ")
    for body, spacing in ((top + shared + frame, [9, 9]), (blank + shared + frame, [1, 2]), (frame, [3, 4])):
        assert row_of(file(plain(encoding) + body, syntax=SYNTAX[encoding]))["PixelSpacing"] == spacing


def test_22_a_dicomdir_is_no_instance():
    """``skipped``, code ``dicomdir``: by its class, or by its records."""
    by_class = file(plain(), element(0x00020002, "UI", DICOMDIR_UID))
    by_records = file(element(0x00041220, "SQ", b"") + plain())
    for data in (by_class, by_records):
        assert outcome(data) == ("skipped", "dicomdir")
        assert read_headers(data, errors="skip").num_rows == 0


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "name", "value"),
    [
        (0x00280106, "SS", struct.pack("<h", -5), "SmallestImagePixelValue", -5),
        (0x00280106, "US", struct.pack("<H", 65535), "SmallestImagePixelValue", 65535),
        (0x00280010, "UL", struct.pack("<I", 512), "Rows", 512),
        (0x00280010, "OW", struct.pack("<H", 512), "Rows", 512),
        (0x00280010, "OB", struct.pack("<H", 512), "Rows", 512),
        (0x00280010, "ZZ", struct.pack("<H", 512), "Rows", 512),
        (0x00080081, "LT", b"Street 1", "InstitutionAddress", "Street 1"),
        (0x001021B0, "ST", b"History ", "AdditionalPatientHistory", "History"),
        (PATIENT, "ZZ", b"P1", "PatientID", "P1"),
        (0x00080020, "LO", b"20200131", "StudyDate", dt.date(2020, 1, 31)),
    ],
)
def test_23_the_vr_in_the_file_reads_and_the_column_delivers(tag, vr, raw, name, value, tmp_path):
    """US for SS, LT for ST, OB for OW, letters that nobody knows."""
    row, issues = read(
        element(tag, vr, raw),
        element(0x00321060, "LO", b"NEXT"),
        columns=profile(tmp_path, name, "RequestedProcedureDescription"),
    )
    assert (row[name], row["RequestedProcedureDescription"], issues, row["status"]) == (value, "NEXT", {}, "ok")


def test_23_a_vr_that_cannot_mean_the_column_is_null_with_an_issue():
    """A number is no date."""
    assert typed(0x00080020, "US", b"\1\2", "StudyDate") == (None, "incompatible_vr")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("length", [1 << 31, (1 << 32) - 2, 0x7FFFFFFF, 99_999])
def test_24_every_length_is_bounded_by_what_remains(encoding, length):
    """No allocation, no loop: ``partial`` at that element."""
    start = file(plain(encoding), syntax=SYNTAX[encoding])
    data = start + element(0x00291010, "OB", bytes(64), encoding, length)
    found = read_one(data, "PatientID").outcome
    assert (str(found.status), str(found.code), found.offset) == ("partial", "truncated", len(start))
    assert row_of(data)["PatientID"] == "P1"


def test_24_a_bogus_length_inside_a_sequence_does_not_leave_it():
    """It reaches past what holds it: a fault of the sequence, not of what follows."""
    inner = item(element(0x00289110, "SQ", item(element(0x00280030, "DS", b"1\\2 ")), length=1 << 31))
    data = file(key() + sequence(0x52009229, [inner]) + plain()[len(key()) :])
    assert outcome(data, "SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing") == (
        "partial",
        "bad_length",
    )
    row = row_of(data)
    assert (row["PatientID"], row["Modality"], row["PixelSpacing"], row["status"]) == ("P1", "MR", None, "partial")


@pytest.mark.parametrize("unit", [element(0x00091001, "OB", b""), item(b""), b"\x09\0\1\x10OB\0\0\0\0\0\x80", nest(3)])
def test_24_work_is_linear_in_the_bytes(unit):
    """Never more than one element for eight bytes, however the lengths lie (pydicom #1274)."""
    for count in (100, 10_000):
        data = file(plain() + unit * count)
        reader = HeaderReader(columns_of("PatientID"), rows=1)
        feed(reader, data)
        assert reader.scanner.elements <= len(data) / 8
        assert take_row(reader)["PatientID"].raw == b"P1"
