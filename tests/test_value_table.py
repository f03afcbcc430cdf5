"""The whole value table, VR by VR, in every encoding, through ``read_headers``: a file per case, a scalar and a list column."""

import json
import math

import pytest

from dicomflow import batch
from dicomflow.header.reader import COMPILED
from dicomflow.header.vectors import decode_plain
from dicomflow.read import read_headers
from dicomflow.schema.column import ARROW_TYPES, NEVER_SPLIT
from tests.dicom_bytes import (
    BIG,
    DEFLATED_UID,
    EXPLICIT,
    IMPLICIT,
    SYNTAX,
    deflated,
    element,
    file,
    item,
    sequence,
)
from tests.value_cases import ATTRIBUTES, CASES, FORMATS, TAGS, pack, plain_field

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

ENCODINGS = {"implicit": IMPLICIT, "explicit": EXPLICIT, "big_endian": BIG, "deflated": EXPLICIT}
WITH_VR = [name for name in ENCODINGS if name != "implicit"]
SEQUENCE = 0x00081032


def make_file(packing, number, *elements):
    """A file with its own key and these (tag, VR, bytes) in one of the four encodings."""
    encoding = ENCODINGS[packing]
    key = (0x00080018, "UI", f"1.2.{number}".encode())
    body = b"".join(element(tag, vr, raw, encoding) for tag, vr, raw in (key, *elements))
    return file(deflated(body), syntax=DEFLATED_UID) if packing == "deflated" else file(body, syntax=SYNTAX[encoding])


def case_file(packing, number, vr, field, *, letters=None, little=False):
    """A file with one field of a VR; ``letters`` stand in the file instead, ``little`` packs as UN does."""
    raw = pack(vr, field, EXPLICIT if little else ENCODINGS[packing])
    return make_file(packing, number, (TAGS[vr], letters or vr, raw))


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """VR (or "all") -> a profile with a scalar and a list column of each VR."""
    folder, profiles = tmp_path_factory.mktemp("profiles"), {}
    for vr in [*ATTRIBUTES, "all"]:
        wanted = ATTRIBUTES if vr == "all" else [vr]
        lines = [
            f'  - {{name: {one}_{shape}, path: {ATTRIBUTES[one]}, vm: "{vm}"}}\n'
            for one in wanted
            for shape, vm in (("one", "1"), ("many", "1-n"))
        ]
        path = folder / f"{vr}.yaml"
        path.write_text("profile: table\ncolumns:\n" + "".join(lines))
        profiles[vr] = str(path)
    return profiles


def exact(value):
    """Comparable: the type and the sign of a zero count."""
    if isinstance(value, list):
        return [exact(one) for one in value]
    return (type(value), value, math.copysign(1, value) if isinstance(value, float) else 0)


def cells(row, vr):
    """Value and issue codes of both columns."""
    codes = {
        name: [one["code"] for one in row["issues"] or [] if one["path"] == name]
        for name in (f"{vr}_one", f"{vr}_many")
    }
    return [(exact(row[name]), found) for name, found in codes.items()]


def expected(vr, case):
    """What the table says of a case; a VR that is never split has no list."""
    one = (exact(case.one), case.one_codes)
    return [one, one if vr in NEVER_SPLIT else (exact(case.many), case.many_codes)]


def wrong_cells(rows, vr, cases):
    """The cases that came out otherwise."""
    assert len(rows) == len(cases)
    found = [(case.field, cells(row, vr), expected(vr, case)) for row, case in zip(rows, cases, strict=True)]
    return [each for each in found if each[1] != each[2]]


@pytest.mark.parametrize("vr", CASES)
@pytest.mark.parametrize("packing", ENCODINGS)
def test_each_value_of_each_vr_in_each_encoding(packing, vr, columns):
    """Value and issue of the scalar and of the list are what the table says."""
    files = [case_file(packing, number, vr, case.field) for number, case in enumerate(CASES[vr])]
    table = read_headers(files, columns=columns[vr])
    assert table.schema.field(f"{vr}_one").type == ARROW_TYPES[vr]
    assert set(table["status"].to_pylist()) == {"ok"}
    assert not wrong_cells(table.to_pylist(), vr, CASES[vr])


def test_the_table_is_whole():
    """Every VR that can be a column is in it; SQ has tests of its own below."""
    assert set(CASES) == set(ARROW_TYPES) - {"SQ"}


@pytest.mark.parametrize("vr", CASES)
@pytest.mark.parametrize("packing", ["explicit", "big_endian"])
def test_amid_many_plain_values_each_value_is_the_same(packing, vr, columns, monkeypatch):
    """From VECTOR_ROWS distinct values on vectors decode, if all are plain: with no other result."""
    taken = []

    def spy(*args):
        found = decode_plain(*args)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(batch, "decode_plain", spy)
    crowd = [case_file(packing, n, vr, plain_field(vr, n)) for n in range(100, 100 + batch.VECTOR_ROWS + 6)]
    found = []
    for number, case in enumerate(CASES[vr]):
        rows = read_headers([*crowd, case_file(packing, number, vr, case.field)], columns=columns[vr])
        found += wrong_cells(rows.slice(len(crowd)).to_pylist(), vr, [case])
    assert not found
    assert taken
    if vr in ("DS", "IS", "UI", "CS", "SH", "LO", "TM", "US", "SS", "UL", "SL", "FD", "FL"):
        assert 0 < sum(taken) < len(taken)


@pytest.mark.parametrize("vr", CASES)
@pytest.mark.parametrize("packing", WITH_VR)
def test_the_same_value_sent_as_un(packing, vr, columns):
    """Read by the dictionary, little endian in every encoding (PS3.5 6.2.2)."""
    files = [
        case_file(packing, number, vr, case.field, letters="UN", little=True) for number, case in enumerate(CASES[vr])
    ]
    assert not wrong_cells(read_headers(files, columns=columns[vr]).to_pylist(), vr, CASES[vr])


@pytest.mark.parametrize("vr", CASES)
@pytest.mark.parametrize("packing", WITH_VR)
def test_the_same_value_with_letters_that_are_no_vr(packing, vr, columns):
    """Two capitals that nobody knows: a 16-bit length, and the column's VR reads."""
    files = [case_file(packing, number, vr, case.field, letters="ZZ") for number, case in enumerate(CASES[vr])]
    assert not wrong_cells(read_headers(files, columns=columns[vr]).to_pylist(), vr, CASES[vr])


@pytest.mark.parametrize("packing", WITH_VR)
@pytest.mark.parametrize("letters", ["??", "  "])
def test_letters_that_are_no_capitals(packing, letters, columns):
    """``??`` and spaces stand where a VR is not known: the element has a 16-bit length, and what follows is read."""
    last = (TAGS["UV"], "UV", pack("UV", (7,), ENCODINGS[packing]))
    elements = [(TAGS["LO"], letters, b"P1"), (TAGS["US"], letters, pack("US", (512,), ENCODINGS[packing])), last]
    (row,) = read_headers(make_file(packing, 1, *elements), columns=columns["all"]).to_pylist()
    assert (row["LO_one"], row["US_one"], row["UV_one"], row["status"]) == ("P1", 512, 7, "ok")


@pytest.mark.parametrize("packing", WITH_VR)
def test_letters_that_are_no_vr_keep_their_character_set(packing, columns):
    """A name is decoded by the set in force, a UID is a key, whatever letters stand before it."""
    charset = (0x00080005, "CS", b"ISO_IR 144")
    (row,) = read_headers(
        make_file(packing, 1, charset, (TAGS["PN"], "ZZ", b"\xbb\xee\xda\xe1")), columns=columns["PN"]
    ).to_pylist()
    assert (row["PN_one"], row["issues"]) == ("Люкс", None)
    assert read_headers(file(element(0x00080018, "ZZ", b"1.2\0"))).num_rows == 1


OTHER_VRS = [
    ("SS", "US", (-5,), -5, ""),
    ("US", "SS", (65535,), 65535, ""),
    ("UL", "US", (2**31 - 1,), 2**31 - 1, ""),
    ("UL", "US", (2**31,), None, "out_of_range"),
    ("US", "UL", (512,), 512, ""),
    ("SL", "US", (-7,), -7, ""),
    ("FL", "FD", (1.5,), 1.5, ""),
    ("FD", "FL", (1.5,), 1.5, ""),
    ("FD", "FL", (1e39,), None, "out_of_range"),
    ("FD", "DS", (0.1,), 0.1, ""),
    ("FD", "IS", (4.0,), 4, ""),
    ("FD", "IS", (4.1,), None, "not_integral"),
    ("UV", "DS", (2**62 + 1,), None, "out_of_range"),
    ("US", "LO", (7,), "7", ""),
    ("US", "DS", (7,), 7.0, ""),
    ("US", "DA", (7,), None, "incompatible_vr"),
    ("AT", "LO", (0x00181063,), "00181063", ""),
    ("LT", "ST", b"Street\\1 ", "Street\\1", ""),
    ("ST", "LT", b"History ", "History", ""),
    ("SH", "LO", b"P1", "P1", ""),
    ("LO", "PN", b"A^B ", "A^B", ""),
    ("UN", "UT", b"text", "text", ""),
    ("DS", "IS", b"12.0", 12, ""),
    ("IS", "DS", b"12", 12.0, ""),
    ("IS", "US", b"70000000000 ", None, "out_of_range"),
    ("LO", "DA", b"20200131", CASES["DA"][6].one, ""),
    ("DA", "LO", b"20200131", "20200131", ""),
    ("DA", "TM", b"20200131", None, "incompatible_vr"),
    ("UI", "DS", b"1.2 ", None, "incompatible_vr"),
    ("OB", "LO", b"abcd", None, "incompatible_vr"),
    ("OW", "PN", b"abcd", None, "incompatible_vr"),
    ("SQ", "LO", b"", None, ""),
]
"""VR in the file, VR of the column, field, value, issue."""


@pytest.mark.parametrize("packing", WITH_VR)
def test_another_plausible_vr(packing, columns):
    """The VR in the file decides how bytes are read, the column what is delivered."""
    encoding = ENCODINGS[packing]
    files = [
        make_file(packing, number, (TAGS[vr], letters, pack(letters, field, encoding)))
        for number, (letters, vr, field, _, _) in enumerate(OTHER_VRS)
    ]
    rows = read_headers(files, columns=columns["all"]).to_pylist()
    found = [cells(row, vr)[0] for row, (_, vr, *_) in zip(rows, OTHER_VRS, strict=True)]
    assert found == [(exact(value), code.split()) for *_, value, code in OTHER_VRS]


@pytest.mark.parametrize("packing", WITH_VR)
@pytest.mark.parametrize("letters", ["OB", "OW"])
def test_numbers_sent_as_bytes_or_words(packing, letters, columns):
    """Only the label is wrong: the order is that of the file, the column says how wide a number is."""
    for vr in FORMATS:
        files = [case_file(packing, number, vr, case.field, letters=letters) for number, case in enumerate(CASES[vr])]
        assert not wrong_cells(read_headers(files, columns=columns[vr]).to_pylist(), vr, CASES[vr])


@pytest.mark.parametrize("packing", ENCODINGS)
def test_repeated_elements(packing, columns):
    """The last one wins, with an issue, whatever the VR."""
    files = [
        make_file(
            packing, n, *((TAGS[vr], vr, pack(vr, plain_field(vr, value), ENCODINGS[packing])) for value in (5, 6))
        )
        for n, vr in enumerate(CASES)
    ]
    alone = [case_file(packing, n, vr, plain_field(vr, 6)) for n, vr in enumerate(CASES)]
    twice, once = (read_headers(each, columns=columns["all"]).to_pylist() for each in (files, alone))
    for vr, row, wanted in zip(CASES, twice, once, strict=True):
        assert wanted[f"{vr}_one"] is not None and wanted["issues"] is None
        assert [value for value, _ in cells(row, vr)] == [value for value, _ in cells(wanted, vr)]
        assert [codes for _, codes in cells(row, vr)] == [["repeated_tag"]] * 2


@pytest.mark.parametrize("packing", ENCODINGS)
def test_a_repeated_element_whose_last_is_empty_is_null_with_an_issue(packing, columns):
    """The last one wins, and what it replaced is not lost in silence."""
    repeated = [(TAGS["LO"], "LO", b"P1"), (TAGS["LO"], "LO", b"")]
    (row,) = read_headers(make_file(packing, 1, *repeated), columns=columns["LO"]).to_pylist()
    assert cells(row, "LO") == [(exact(None), ["repeated_tag"])] * 2


@pytest.mark.parametrize("packing", ENCODINGS)
def test_elements_out_of_order(packing, columns):
    """Descending, or in any order: every value is found."""
    elements = [(TAGS[vr], vr, pack(vr, plain_field(vr, 6), ENCODINGS[packing])) for vr in CASES]
    ascending = sorted(elements)
    orders = [ascending, ascending[::-1], ascending[1::2] + ascending[::2], elements]
    rows = read_headers([make_file(packing, 1, *each) for each in orders], columns=columns["all"]).to_pylist()
    names = [f"{vr}_{shape}" for vr in CASES for shape in ("one", "many")]
    assert all(rows[0][name] is not None for name in names)
    for row in rows:
        assert [row[name] for name in names] == [rows[0][name] for name in names]
        assert (row["status"], row["issues"]) == ("ok", None)


# ---- sequences -------------------------------------------------------------------------------------------------------


def code_item(text, encoding, *, defined=True):
    return item(element(0x00080100, "SH", text, encoding), encoding, defined=defined)


def code_json(*texts):
    return [{"00080100": {"vr": "SH", "Value": [text]}} for text in texts]


@pytest.mark.parametrize("packing", ENCODINGS)
@pytest.mark.parametrize("defined", [True, False])
def test_a_sequence_is_dicom_json(packing, defined, tmp_path):
    """PS3.18 annex F: of one item, several, none; of defined and undefined length, and in UN."""
    path = tmp_path / "sq.yaml"
    path.write_text("profile: sq\ncolumns:\n  - ProcedureCodeSequence\n")
    encoding = ENCODINGS[packing]
    contents = [[b"A"], [b"A", b"B "], []]
    made = [
        sequence(SEQUENCE, [code_item(text, encoding, defined=defined) for text in texts], encoding, defined=defined)
        for texts in contents
    ]
    if packing != "implicit":
        items = [code_item(b"A", IMPLICIT, defined=defined)]
        un = sequence(SEQUENCE, items, IMPLICIT, defined=defined)[8:]
        made.append(element(SEQUENCE, "UN", un, encoding, None if defined else 0xFFFFFFFF))
        contents.append([b"A"])
    key = element(0x00080018, "UI", b"1.2", encoding)
    wrap = deflated if packing == "deflated" else bytes
    syntax = DEFLATED_UID if packing == "deflated" else SYNTAX[encoding]
    rows = read_headers([file(wrap(key + one), syntax=syntax) for one in made], columns=str(path)).to_pylist()
    found = [row["ProcedureCodeSequence"] for row in rows]
    wanted = [code_json(*(text.decode().strip() for text in texts)) or None for texts in contents]
    assert [one and json.loads(one) for one in found] == wanted
    assert [row["issues"] for row in rows] == [None] * len(rows)


def test_a_sequence_that_cannot_be_walked_is_null_with_an_issue(tmp_path):
    """Half a sequence is a wrong value."""
    path = tmp_path / "sq.yaml"
    path.write_text("profile: sq\ncolumns:\n  - ProcedureCodeSequence\n  - PatientID\n")
    broken = element(SEQUENCE, "SQ", code_item(b"A", EXPLICIT) + b"junk and more junk")
    (row,) = read_headers(
        file(element(0x00080018, "UI", b"1.2") + broken + element(TAGS["LO"], "LO", b"P1")), columns=str(path)
    ).to_pylist()
    assert (row["ProcedureCodeSequence"], row["PatientID"], row["issues"][0]["code"]) == (None, "P1", "bad_value")
