"""Decoding text by SpecificCharacterSet, on literal bytes and against pydicom."""

from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicomflow.errors import IssueCode
from dicomflow.header.charset import decode_text
from dicomflow.header.tree import read_tree
from dicomflow.header.vr import CHARSET_VRS

JAPANESE = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        (b"Buc^J\xe9r\xf4me", b"ISO_IR 100", "Buc^Jérôme"),
        (b"W\xb3\xb1cz", b"ISO_IR 101", "Włącz"),
        (b"\xa1", b"ISO_IR 109", "Ħ"),
        (b"\xa2", b"ISO_IR 110", "ĸ"),
        (b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", b"ISO_IR 126", "Διονυσιος"),
        (b"\xe2\xc8\xc7\xe6\xea", b"ISO_IR 127", "قباني"),
        (b"\xf9\xf8\xe5\xef", b"ISO_IR 138", "שרון"),
        (b"\xbb\xee\xda\xe1", b"ISO_IR 144", "Люкс"),
        (b"\xd0", b"ISO_IR 148", "Ğ"),
        (b"\xa1\xd2", b"ISO_IR 166", "กา"),
        (b"\xa4", b"ISO_IR 203", "€"),
        (b"\xd4\xcf\xc0\xde", b"ISO_IR 13", "ﾔﾏﾀﾞ"),
        ("Wang^XiaoDong=王^小東".encode(), b"ISO_IR 192", "Wang^XiaoDong=王^小東"),
        (b"\xcd\xf5^\xd0\xa1\xb6\xab", b"GB18030", "王^小东"),
        (b"\xcd\xf5^\xd0\xa1\xb6\xab", b"GBK ", "王^小东"),
        (JAPANESE, b"ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (KOREAN, b"\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        (b"Z=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1", b"\\ISO 2022 IR 58", "Z=王^小"),
        (b"\x1b$(D0!", b"\\ISO 2022 IR 159", b"\x1b$(D0!".decode("iso2022_jp_2")),
        (b"\x1b-F\xc4", b"ISO 2022 IR 100\\ISO 2022 IR 126", "Δ"),
        (b"\x1b-b\xa4", b"ISO 2022 IR 6\\ISO 2022 IR 203", "€"),
    ],
)
def test_declared_set_decodes(raw, charset, text):
    """Each defined term of PS3.3 C.12.1.1.2 decodes, without an issue."""
    assert decode_text(raw, charset, "PN") == (text, None)


@pytest.mark.parametrize(
    "spelling",
    [b"ISO-IR 100", b"ISO IR 100", b"ISO_IR_100", b"iso_ir 100", b"ISO_IR100", b"ISO 2022 IR 100", b"ISO 2022_IR_100"]
    + [b"latin1", b"latin-1", b"ISO-8859-1", b"ISO8859-1 ", b" ISO_IR 100\0", b"ISO_IR 100\\ISO_IR 192"],
)
def test_misspelled_terms_are_understood(spelling):
    """What writers really put into (0008,0005) for Latin-1 means Latin-1."""
    assert decode_text(b"M\xfcller", spelling, "LO") == ("Müller", None)


@pytest.mark.parametrize("spelling", [b"ISO-IR 192", b"ISO_IR_192", b"UTF-8", b"utf8", b"ISO 2022 IR 192"])
def test_misspelled_utf8_is_understood(spelling):
    """What writers really put into (0008,0005) for UTF-8 means UTF-8."""
    assert decode_text("Müller".encode(), spelling, "LO") == ("Müller", None)


@pytest.mark.parametrize(
    ("charset", "issue"),
    [
        (None, IssueCode.CHARSET_UNDECLARED),
        (b"", IssueCode.CHARSET_UNDECLARED),
        (b"ISO_IR 6", IssueCode.CHARSET_UNDECLARED),
        (b"ISO_IR 999", IssueCode.CHARSET_UNKNOWN),
        (b"rot13", IssueCode.CHARSET_UNKNOWN),
        (b"zlib", IssueCode.CHARSET_UNKNOWN),
        (b"x" * 5000, IssueCode.CHARSET_UNKNOWN),
    ],
)
def test_without_a_known_set_utf8_then_latin1(charset, issue):
    """Absent or unknown: ASCII says nothing, strict UTF-8 comes next, then latin-1, with an issue."""
    assert decode_text(b"plain", charset, "LO") == ("plain", None)
    assert decode_text("Müller".encode(), charset, "LO") == ("Müller", issue)
    assert decode_text(b"M\xfcller", charset, "LO") == ("Müller", issue)


def test_replaced_characters_are_reported():
    """Bytes that the declared set cannot decode become U+FFFD and an issue."""
    assert decode_text(b"M\xfcller", b"ISO_IR 192", "LO") == ("M�ller", IssueCode.CHARSET_REPLACED)
    assert decode_text(b"\x1b$B\x7f\x7f", b"\\ISO 2022 IR 87", "LO")[1] == IssueCode.CHARSET_REPLACED


@pytest.mark.parametrize(
    ("vr", "delimiter", "resets"),
    [("PN", b"^", True), ("PN", b"=", True), ("PN", b"\\", True), ("LO", b"\\", True), ("SH", b"\\", True)]
    + [("LT", b"\r\n", True), ("ST", b"\t", True), ("UT", b"\f", True)]
    + [("LO", b"^", False), ("LT", b"\\", False), ("UT", b"=", False)],
)
def test_escapes_reset_at_the_delimiters_of_the_vr(vr, delimiter, resets):
    """After a delimiter the first set is active again (PS3.5 6.1.2.5.3); what is none for the VR resets nothing."""
    text, issue = decode_text(b"\x1b-F\xc4" + delimiter + b"\xc4", b"ISO 2022 IR 100\\ISO 2022 IR 126", vr)
    assert text == "Δ" + delimiter.decode() + ("Ä" if resets else "Δ")
    assert issue is None


def test_half_that_is_not_redesignated_stays():
    """A return to ASCII in G0 leaves the set in G1 (ISO 2022)."""
    assert decode_text(b"\x1b$B;3\x1b(B\xe6", b"ISO 2022 IR 101\\ISO 2022 IR 87", "LO") == ("山ć", None)


def test_undeclared_escape_is_kept_and_reported():
    """An escape to a set that is not declared is text as found, with an issue."""
    assert decode_text(b"\x1b-F\xc4", b"ISO 2022 IR 100", "LO") == ("\x1b-FÄ", IssueCode.CHARSET_UNDECLARED)


def test_trail_byte_that_looks_like_a_backslash():
    """0x5C inside a GBK or Shift-JIS character is no backslash."""
    assert decode_text(b"\x95\x5c", b"GBK", "LO")[0] == b"\x95\x5c".decode("gbk")
    assert "\\" not in decode_text(b"\x83\x5c", b"ISO_IR 13", "LO")[0]


def test_default_repertoire_vrs_ignore_the_charset():
    """A CS is not subject to SpecificCharacterSet (PS3.5 6.1.2.2)."""
    assert decode_text(b"\xc4", b"ISO_IR 126", "CS") == ("Ä", IssueCode.CHARSET_UNDECLARED)


@given(
    st.binary(max_size=60),
    st.none() | st.binary(max_size=40),
    st.sampled_from([*sorted(CHARSET_VRS), "CS", "UI", "??"]),
)
def test_never_raises(raw, charset, vr):
    """Any bytes under any declaration give a string that UTF-8 can hold."""
    decode_text(raw, charset, vr)[0].encode()


@given(
    st.lists(st.sampled_from([b"\x1b$B", b"\x1b(J", b"\x1b-F", b"\x1b)I", b"\x1b$)C", b"^", b"\\", b";3", b"\xb1\xb2"]))
)
def test_any_mix_of_escapes_decodes(parts):
    """Escapes in any order never raise."""
    declared = b"ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 126\\ISO 2022 IR 149"
    decode_text(b"".join(parts), declared, "PN")[0].encode()


CHARSET_FILES = sorted((Path(pydicom.data.__file__).parent / "charset_files").glob("*.dcm"))
PYDICOM_KEEPS_ESCAPES = {
    "chrGB2312.dcm"
}  # pydicom leaves ESC $)A in the text: PS3.5 6.1.2.5, escapes are no characters


@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda path: path.name)
def test_equals_pydicom_on_its_charset_files(path):
    """Names in pydicom's charset files read as pydicom reads them."""
    if path.name in PYDICOM_KEEPS_ESCAPES:
        pytest.skip("pydicom is wrong here")
    elements = {element.tag: element for element in read_tree(path.read_bytes()).elements}
    dataset = dcmread(path)
    names = [element for element in dataset if element.VR == "PN" and element.VM == 1]
    assert names or "PatientName" not in dataset
    for name in names:
        found = elements[int(name.tag)]
        text, issue = decode_text(found.raw.raw, found.charset, "PN")
        assert text.rstrip(" \0=") == str(name.value)  # pydicom drops empty component groups at the end
        assert issue is None
