"""pydicom as reader: the same raw values as the scanner's, and whether a header is whole."""

import struct

import pytest

from dicomflow.header.fallback import ReadBounds, read_with_pydicom
from dicomflow.header.reader import COMPILED
from dicomflow.header.values import Decoded, decode_value
from dicomflow.schema.column import NEVER_SPLIT
from tests.dicom_bytes import (
    BIG,
    DEFLATED_UID,
    EXPLICIT,
    IMPLICIT,
    STOP,
    SYNTAX,
    deflated,
    element,
    file,
    item,
    sequence,
)
from tests.scanning import UID, columns_of, read_one
from tests.value_cases import ATTRIBUTES, CASES, TAGS, pack

NAMES = (
    "Modality",
    "PatientName",
    "Rows",
    "SmallestImagePixelValue",
    "ReferencedImageSequence[1].CodeMeaning",
    '(0019,"ACME",0C)',
    "TransferSyntaxUID",
)


def body(encoding):
    order = ">" if encoding.big_endian else "<"
    items = [item(b"", encoding), item(element(0x00080104, "LO", b"AB", encoding), encoding)]
    return (
        element(0x00080005, "CS", b"ISO_IR 100", encoding)
        + element(UID, "UI", b"1.2.3\0", encoding)
        + element(0x00080060, "CS", b"MR", encoding)
        + sequence(0x00081140, items, encoding)
        + element(0x00100010, "PN", b"A^", encoding)
        + element(0x00190010, "LO", b"OTHER ", encoding)
        + element(0x00190011, "LO", b"ACME", encoding)
        + element(0x0019110C, "LO", b"V1", encoding)
        + element(0x00280010, "US", struct.pack(order + "H", 512), encoding)
        + element(0x00280103, "US", struct.pack(order + "H", 1), encoding)
        + element(0x00280106, "SS", struct.pack(order + "h", -5), encoding)
    )


@pytest.mark.skipif(not COMPILED, reason="nothing to compare with")
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
def test_raw_values_are_those_of_the_scanner(encoding):
    """Bytes, VR, byte order of numbers and character set, nested and private ones too."""
    data = file(body(encoding) + element(STOP, "OW", bytes(8), encoding), syntax=SYNTAX[encoding])
    mine = read_one(data, *NAMES)
    theirs = read_with_pydicom(data, columns_of(*NAMES))
    assert (theirs.stop, theirs.complete, theirs.borrowed_key, theirs.is_dicomdir) == (
        mine.header_bytes,
        True,
        False,
        False,
    )
    for name, value in zip(("SOPInstanceUID", *NAMES), theirs.values, strict=True):
        scanned = mine.values[name]
        if name.startswith("(") and encoding is IMPLICIT:
            scanned = scanned._replace(vr=value.vr)  # the column says LO, pydicom UN: read as the column says
        raw = value.raw if name != "TransferSyntaxUID" else value.raw + b"\0"  # pydicom decodes it at once
        assert (raw, value.vr) == (scanned.raw, scanned.vr), name
        if value.vr in ("US", "SS"):
            assert value.big_endian == scanned.big_endian


@pytest.mark.skipif(not COMPILED, reason="nothing to compare with")
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("defined", [(True, True), (True, False), (False, True), (False, False)])
def test_sequences_are_those_of_the_scanner(encoding, defined):
    """The items of a sequence as they stand in the file, whatever its length says and whatever it stands in."""
    deep = sequence(
        0x00081199, [item(element(0x00080100, "SH", b"AB", encoding), encoding)], encoding, defined=defined[0]
    )
    outer = sequence(0x00081140, [item(b"", encoding), item(deep, encoding)], encoding, defined=defined[1])
    key = element(UID, "UI", b"1.2.3\0", encoding)
    data = file(key + outer + element(STOP, "OW", bytes(8), encoding), syntax=SYNTAX[encoding])
    names = ("ReferencedImageSequence[1].ReferencedSOPSequence", "ReferencedImageSequence")
    mine, theirs = read_one(data, *names), read_with_pydicom(data, columns_of(*names))
    for name, value in zip(("SOPInstanceUID", *names), theirs.values, strict=True):
        scanned = mine.values[name]
        assert value.raw == scanned.raw, name
        assert value.vr != "SQ" or value.big_endian == scanned.big_endian


def test_sequences_of_a_deflated_data_set():
    """Offsets count in what was inflated."""
    inner = item(element(0x00080100, "SH", b"AB"))
    data = element(UID, "UI", b"1.2.3\0") + sequence(0x00081140, [inner], defined=False)
    header = read_with_pydicom(file(deflated(data), syntax=DEFLATED_UID), columns_of("ReferencedImageSequence"))
    assert header.values[1].raw == inner


def test_the_length_of_the_file_meta_information_is_a_number_again():
    """Pydicom decodes it for itself; so does the column."""
    length = element(0x00020000, "UL", struct.pack("<I", 300))
    header = read_with_pydicom(file(body(EXPLICIT), length), columns_of("FileMetaInformationGroupLength"))
    assert header.values[1].raw == struct.pack("<I", 300)


@pytest.mark.parametrize("size", [1, 3, 8, 11, 40])
def test_a_cut_header_is_not_complete(size):
    """Pydicom returns short values without a word: such a value is no value, such a header not whole."""
    data = file(body(EXPLICIT))
    whole, cut = (read_with_pydicom(one, columns_of(*NAMES)) for one in (data, data[:-size]))
    assert whole.complete
    if cut is None:
        return
    assert not cut.complete or len(data) - size == cut.stop
    assert all(one is None or one == two for one, two in zip(cut.values, whole.values, strict=True))


def test_a_borrowed_key_is_marked():
    """MediaStorageSOPInstanceUID stands in where the data set has no SOPInstanceUID."""
    stored = element(0x00020003, "UI", b"1.2.9\0")
    header = read_with_pydicom(file(element(0x00080060, "CS", b"MR"), stored), columns_of("Modality"))
    assert (header.values[0].raw, header.borrowed_key) == (b"1.2.9", True)


def test_two_blocks_of_one_creator_are_one_attribute():
    """The last block that has the element counts, as in the scanner."""
    owners = element(0x00190010, "LO", b"ACME") + element(0x00190011, "LO", b"ACME")
    first, second = element(0x0019100C, "LO", b"V1"), element(0x0019110C, "LO", b"V2")
    for values, expected in ((first, b"V1"), (second, b"V2"), (first + second, b"V2")):
        data = file(element(UID, "UI", b"1.2\0") + owners + values)
        assert read_with_pydicom(data, columns_of('(0019,"ACME",0C)')).values[1].raw == expected


def test_a_dicomdir_is_recognised():
    """By its directory records."""
    data = file(sequence(0x00041220, [item(element(0x00041430, "CS", b"PATIENT "))]))
    assert read_with_pydicom(data, columns_of()).is_dicomdir


@pytest.mark.parametrize("data", [b"", b"\xff" * 300, file(b"\x08\0" + b"\xff" * 40)])
def test_what_pydicom_cannot_read_is_none_or_incomplete(data):
    """Whatever it raises stays inside."""
    header = read_with_pydicom(data, columns_of("Modality"))
    assert header is None or header.values[0] is None


def test_pydicom_is_given_no_more_than_it_may_take():
    """Broken structure can be millions of elements to pydicom: after so many reads it is stopped."""
    broken = file(element(0x00080018, "UI", b"1.2")) + bytes(200_000)
    assert read_with_pydicom(broken, columns_of("SOPInstanceUID"), ReadBounds(5)) is None
    assert read_with_pydicom(broken, columns_of("SOPInstanceUID"), ReadBounds(200_000)) is not None


@pytest.mark.parametrize("letters", [None, "UN", "ZZ"])
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
def test_the_value_table_holds_for_pydicom_as_reader(encoding, letters):
    """Whoever reads the header, each value field of each VR gives the same value and issues."""
    if letters and encoding is IMPLICIT:
        pytest.skip("no VR stands in implicit VR")
    found = []
    for vr, case in [(vr, case) for vr, cases in CASES.items() for case in cases]:
        columns = columns_of(ATTRIBUTES[vr])
        raw = pack(vr, case.field, EXPLICIT if letters == "UN" else encoding)
        data = file(
            element(UID, "UI", b"1.2", encoding) + element(TAGS[vr], letters or vr, raw, encoding),
            syntax=SYNTAX[encoding],
        )
        header = read_with_pydicom(data, columns)
        for many, value, codes in ((False, case.one, case.one_codes), (True, case.many, case.many_codes)):
            if many and vr in NEVER_SPLIT:
                continue
            decoded = Decoded(None) if header.values[1] is None else decode_value(header.values[1], vr, many)
            if (repr(decoded.value), [str(code) for code, _ in decoded.issues]) != (repr(value), codes):
                found.append((vr, case.field, decoded))
    assert not found
