"""Decoding text by SpecificCharacterSet: spellings, what is undeclared, escapes, items, and pydicom as oracle."""

import json
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
from dicomflow.read import read_headers
from tests.dicom_bytes import BIG, EXPLICIT, IMPLICIT, SYNTAX, element, file, item, sequence


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


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("defined", [True, False])
def test_each_item_has_its_own_set_or_that_of_the_data_set_around_it(encoding, defined, tmp_path):
    """One level down and two; an empty set is the default one (PS3.5 7.5.3)."""
    meaning = element(0x00080104, "LO", b"\xc4", encoding)

    def data_set(charset, content=meaning):
        own = b"" if charset is None else element(0x00080005, "CS", charset, encoding)
        return item(own + content, encoding, defined=defined)

    nested = sequence(0x00080121, [data_set(None), data_set(b"ISO_IR 148")], encoding, defined=defined)
    items = [data_set(b"ISO_IR 126"), data_set(None), data_set(b""), data_set(b"ISO_IR 166", meaning + nested)]
    body = element(0x00080005, "CS", b"ISO_IR 144", encoding) + element(0x00080018, "UI", b"1.2", encoding)
    body += sequence(0x00081032, items, encoding, defined=defined)
    inner = "ProcedureCodeSequence[3].EquivalentCodeSequence"
    paths = [f"ProcedureCodeSequence[{n}].CodeMeaning" for n in range(4)] + [
        f"{inner}[{n}].CodeMeaning" for n in (0, 1)
    ]
    profile = tmp_path / "items.yaml"
    columns = [f"{{name: Code{n}, path: '{path}'}}" for n, path in enumerate(paths)]
    lines = [f"  - {column}\n" for column in columns]
    profile.write_text("profile: items\ncolumns:\n" + "".join(lines))
    (row,) = read_headers(file(body, syntax=SYNTAX[encoding]), columns=str(profile)).to_pylist()
    assert [row[f"Code{n}"] for n in range(6)] == ["Δ", "Ф", "Ä", "ฤ", "ฤ", "Ä"]
    assert [issue["path"] for issue in row["issues"]] == ["Code2"]


def test_a_sequence_as_json_knows_the_set_around_it(tmp_path):
    """What an item inherits, and an issue for what had to be guessed."""
    profile = tmp_path / "json.yaml"
    profile.write_text("profile: json\ncolumns:\n  - ProcedureCodeSequence\n")
    meaning = element(0x00080104, "LO", b"\xc4")
    items = [item(meaning), item(element(0x00080005, "CS", b"ISO_IR 126") + meaning)]
    start = [element(0x00080005, "CS", charset) for charset in (b"ISO_IR 144", b"ISO_IR 148", b"")]
    rest = element(0x00080018, "UI", b"1.2") + sequence(0x00081032, items)
    rows = read_headers([file(one + rest) for one in start], columns=str(profile)).to_pylist()
    models = [json.loads(row["ProcedureCodeSequence"]) for row in rows]
    texts = [[each["00080104"]["Value"] for each in model] for model in models]
    assert texts == [[["Ф"], ["Δ"]], [["Ä"], ["Δ"]], [["Ä"], ["Δ"]]]
    codes = [[issue["code"] for issue in row["issues"] or []] for row in rows]
    assert codes == [[], [], ["charset_undeclared"]]


CHARSET_FILES = sorted((Path(pydicom.data.__file__).parent / "charset_files").glob("*.dcm"))


def texts_of(elements, dataset):
    """(tag, our text, our issue, pydicom's text) of every text in a data set and in its items."""
    for found in elements:
        theirs = dataset[found.tag]
        if found.vr == "SQ":
            for ours, item_of_theirs in zip(found.value, theirs.value, strict=True):
                yield from texts_of(ours.elements, item_of_theirs)
        elif found.vr in CHARSET_VRS:
            many = theirs.value if theirs.VM > 1 else [theirs.value]
            yield found.tag, *decode_text(found.raw.raw, found.charset, found.vr), "\\".join(map(str, many))


@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda path: path.name)
def test_equals_pydicom_on_its_charset_files(path):
    """Every text of pydicom's charset files, in sequences too, reads as pydicom reads it, with no issue."""
    dataset = dcmread(path)
    dataset.decode()
    found = list(texts_of(read_tree(path.read_bytes()).elements, dataset))
    assert found
    for tag, text, issue, theirs in found:
        assert text.rstrip(" \0=") == theirs.rstrip(" \0="), f"{tag:08X}"  # pydicom drops empty groups at the end
        assert issue is None
