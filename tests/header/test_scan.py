"""The compiled scanner on literal bytes: every layout, every fault, every prefix; and the law that the tree agrees."""

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.errors import Code, IssueCode, Status
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.header.tree import read_tree
from dicomflow.header.verdict import NEED_MORE, OK
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
    meta,
    sequence,
    sequence_end,
)
from tests.header.law import COLUMNS, differences, files, mutations
from tests.scanning import UID, columns_of, read_one, scan_all, scanned_values

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

ENCODINGS = [EXPLICIT, IMPLICIT, BIG]
SHARED, PER_FRAME, MEASURES, SPACING = 0x52009229, 0x52009230, 0x00289110, 0x00280030
NAMES = ("Modality", "PatientID", "Rows", "SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing")
PATH = NAMES[-1]
META_SIZE = len(meta())


def key(encoding=EXPLICIT):
    return element(UID, "UI", b"1.2.3\0", encoding)


def simple(encoding=EXPLICIT):
    """Key, Modality, PatientID and Rows."""
    rows = struct.pack(">H" if encoding.big_endian else "<H", 512)
    return (
        key(encoding)
        + element(0x00080060, "CS", b"MR", encoding)
        + element(0x00100020, "LO", b"P1", encoding)
        + element(0x00280010, "US", rows, encoding)
    )


def nested(encoding=EXPLICIT, value=b"0.5\\0.5 ", **layout):
    """SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing."""
    inner_layout = {"defined": layout.get("defined", True)}
    inner = sequence(
        MEASURES, [item(element(SPACING, "DS", value, encoding), encoding, **inner_layout)], encoding, **layout
    )
    return sequence(SHARED, [item(inner, encoding, **inner_layout)], encoding, **layout)


def pixels(encoding=EXPLICIT, size=64):
    return element(STOP, "OW", bytes(size), encoding)


def whole(encoding=EXPLICIT, **layout):
    """A file with everything in NAMES, and pixels."""
    return file(simple(encoding) + nested(encoding, **layout) + pixels(encoding), syntax=SYNTAX[encoding])


WHOLE = {
    "explicit": whole(),
    "implicit": whole(IMPLICIT),
    "big endian": whole(BIG),
    "undefined lengths": whole(defined=False),
    "undefined lengths, implicit": whole(IMPLICIT, defined=False),
    "no preamble": simple() + nested() + pixels(),
    "no preamble, implicit": simple(IMPLICIT) + nested(IMPLICIT) + pixels(IMPLICIT),
    "preamble without DICM": bytes(128) + simple() + nested() + pixels(),
    "meta without preamble": meta()[132:] + simple() + nested() + pixels(),
    "deflated": file(deflated(simple() + nested() + pixels()), syntax=DEFLATED_UID),
    "command set first": file(
        element(0, "UL", b"\x0c\0\0\0", IMPLICIT)
        + element(0x00000002, "UI", b"1.2\0", IMPLICIT)
        + simple()
        + nested()
        + pixels()
    ),
}


def raws(read):
    return [read.raw(name) for name in ("SOPInstanceUID", *NAMES)] if read.values else None


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE)
def test_every_layout_gives_the_same_values(name):
    """Encoding, preamble, kinds of length and compression change where values lie, not what they are."""
    read = read_one(WHOLE[name], *NAMES)
    rows = b"\x02\x00" if name == "big endian" else b"\x00\x02"
    assert (read.outcome, read.issues) == (None, [])
    assert raws(read) == [b"1.2.3\0", b"MR", b"P1", rows, b"0.5\\0.5 "]
    assert read.values["Rows"].vr == "US" and read.values["Rows"].big_endian == (name == "big endian")


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        (IMPLICIT_UID, EXPLICIT),
        (EXPLICIT_UID, IMPLICIT),
        (EXPLICIT_UID, BIG),
        (BIG_UID, EXPLICIT),
        (DEFLATED_UID, EXPLICIT),
    ],
)
def test_what_is_there_wins_over_what_is_declared(declared, encoding):
    """A data set that is encoded otherwise than its transfer syntax says is read as it is, with an issue."""
    read = read_one(file(simple(encoding) + pixels(encoding), syntax=declared), *NAMES)
    assert read.outcome is None and read.raw("Modality") == b"MR"
    assert [(issue.path, issue.code) for issue in read.issues] == [("TransferSyntaxUID", IssueCode.TRANSFER_SYNTAX)]


def test_a_group_that_could_be_either_byte_order_follows_the_declaration():
    """A data set that begins with group 3006 is not taken for big endian."""
    data = file(element(0x30060002, "SH", b"AB"), element(0x00020003, "UI", b"1.2\0"))
    assert read_one(data, "StructureSetLabel").raw("StructureSetLabel") == b"AB"


def test_file_meta_without_a_transfer_syntax_is_no_lie():
    """Where (0002,0010) is missing, the data set is read as it is, without an issue."""
    for encoding in ENCODINGS:
        read = read_one(file(simple(encoding) + pixels(encoding), syntax=None), *NAMES)
        assert (read.outcome, read.issues, read.raw("PatientID")) == (None, [], b"P1")


@pytest.mark.parametrize("length", [0, 1, 4000, 0xFFFFFFFF])
def test_the_group_length_of_the_file_meta_is_not_trusted(length):
    """A wrong (0002,0000) changes nothing: group 0002 ends where another group begins."""
    group = element(0x00020000, "UL", struct.pack("<I", length))
    assert raws(read_one(bytes(128) + b"DICM" + group + WHOLE["explicit"][132:], *NAMES))[1] == b"MR"


def test_file_meta_elements_are_found_in_any_order():
    """(0002,0003) after (0002,0010) is found."""
    late = element(0x00020003, "UI", b"1.2\0")
    read = read_one(meta() + late + element(0x00080060, "CS", b"MR"), "TransferSyntaxUID")
    assert (read.raw("SOPInstanceUID"), read.raw("TransferSyntaxUID")) == (b"1.2\0", EXPLICIT_UID)


@pytest.mark.parametrize("tag", [0x7FE00008, 0x7FE00009, 0x7FE00010, 0xFFFCFFFC])
def test_the_header_ends_at_the_first_tag_from_7fe00008_on(tag):
    """Float, double float and plain pixel data and trailing padding are stop tags; what follows is not looked at."""
    data = file(simple() + element(tag, "OW", b"abcd") + element(0x00080061, "CS", b"XX"))
    read = read_one(data, *NAMES)
    assert (read.outcome, read.header_bytes) == (None, META_SIZE + len(simple()))


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("tag", [0x7FE10010, 0xFFFAFFFA, 0x80010010])
def test_private_pixels_and_signatures_end_the_header(encoding, tag):
    """Whatever element stands there; above (7FFF,FFFF) it has a VR, or a tag that can be."""
    header = file(simple(encoding), syntax=SYNTAX[encoding])
    read = read_one(header + element(tag, "OB", b"abcd", encoding), *NAMES)
    assert (read.outcome, read.header_bytes) == (None, len(header))


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
@pytest.mark.parametrize("tag", [0x80000010, 0x87001044, 0xFFF00010, 0xFFFFFFFF])
def test_bytes_that_are_no_element_do_not_end_a_header(encoding, tag):
    """A length that is wrong by one leads into the middle of elements; what seems to be a stop tag there is a fault."""
    header = file(simple(encoding), syntax=SYNTAX[encoding])
    data = header + element(tag, "OB", b"", encoding)[:4] + bytes(12) + pixels(encoding)
    read = read_one(data, *NAMES)
    assert (read.outcome.status, read.code, read.outcome.offset) == (Status.PARTIAL, Code.BAD_ELEMENT, len(header))
    assert read.raw("Modality") == b"MR" and not read.by_pydicom
    outcome = read_tree(data).outcome
    assert (outcome.status, outcome.code, outcome.offset) == (Status.PARTIAL, Code.BAD_ELEMENT, len(header))


def test_the_tag_before_the_stop_tags_is_an_element():
    """(7FE0,0001) is read over, not stopped at."""
    data = file(simple() + element(0x7FE00001, "OV", bytes(8)) + pixels())
    assert read_one(data, *NAMES).header_bytes == META_SIZE + len(simple()) + 20


@pytest.mark.parametrize("padding", [0, 2, 7, 8, 9, 100])
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT])
def test_a_file_without_pixels_ends_at_its_end_or_at_trailing_zeros(padding, encoding):
    """The exact end, or zeros up to it, is the end of a whole header."""
    data = file(simple(encoding), syntax=SYNTAX[encoding])
    read = read_one(data + bytes(padding), *NAMES)
    assert (read.outcome, read.header_bytes) == (None, len(data))


def test_zeros_inside_are_no_end():
    """Zeros with an element after them are elements (0000,0000) of no length, walked over in linear time."""
    data = file(key() + bytes(800_000) + element(0x00080060, "CS", b"MR"))
    assert read_one(data, "Modality").raw("Modality") == b"MR"


def test_no_sop_instance_uid_no_row():
    """Without (0008,0018) the file meta's UID is borrowed, with an issue; without both there is no row."""
    stored = element(0x00020003, "UI", b"1.2.9\0")
    borrowed = read_one(file(element(0x00080060, "CS", b"MR"), stored), "Modality")
    assert borrowed.raw("SOPInstanceUID") == b"1.2.9\0"
    assert [issue.code for issue in borrowed.issues] == [IssueCode.UID_FROM_FILE_META]
    none = read_one(file(element(0x00080060, "CS", b"MR")), "Modality")
    assert (none.outcome.status, none.code, none.values) == (Status.FAILED, "missing_sop_instance_uid", {})
    blank = read_one(file(element(UID, "UI", b"\0\0"), stored))
    assert blank.raw("SOPInstanceUID") == b"1.2.9\0"


def test_what_is_not_dicom_is_told_apart():
    """An empty file, texts, zeros, and 132 bytes with another magic are not DICOM."""
    assert read_one(b"").code == "empty_file"
    for data in (
        b"x",
        b"Hello, world. " * 50,
        bytes(500),
        bytes(128) + b"DICN" + simple(),
        b"\x08\0\xfe\x7fUI\x02\0ab",
    ):
        assert read_one(data).code == "no_dicom_header"


@pytest.mark.parametrize(
    "data",
    [
        file(simple(), element(0x00020002, "UI", DICOMDIR_UID)),
        file(element(0x00041130, "CS", b"AB") + sequence(0x00041220, [item(simple())])),
        file(sequence(0x00041220, [item(simple())], defined=False)),
    ],
)
def test_a_dicomdir_is_skipped(data):
    """By its media storage class, or by its directory records."""
    read = read_one(data)
    assert (read.outcome.status, read.code) == (Status.SKIPPED, "dicomdir")


# ---- truncation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_at_any_byte_never_passes_for_whole(name):
    """Cut anywhere before the stop tag was passed, a header is ``ok`` only between two outermost elements; no value differs."""
    data = WHOLE[name]
    reader = HeaderReader(columns_of(*NAMES), rows=2)
    scan_all(reader, data)
    true, stop = scanned_values(reader), reader.header_bytes
    undetected = 0
    for size in range(len(data) if name == "deflated" else stop + 8):
        verdict = scan_all(reader, data[:size])
        found = scanned_values(reader)
        assert all(value in (None, true[column]) for column, value in found.items()), size
        if verdict == OK and not reader.scanner.stopped:
            undetected += 1
            assert reader.header_bytes == size, "an undetected cut ends exactly between two elements"
    elements = 5  # key, Modality, PatientID, Rows, the sequence
    assert undetected == (0 if name == "deflated" else elements), (
        "a deflate stream says where it ends, all else does not"
    )


def test_a_cut_inside_the_stop_tag_is_a_cut():
    """The header counts as whole only once the stop tag and its length were seen."""
    data = file(simple() + pixels())
    stop = META_SIZE + len(simple())
    assert [read_one(data[:size]).code for size in (stop + 1, stop + 7, stop + 8)] == ["truncated", "truncated", None]
    assert read_one(data[: stop + 3]).outcome.offset == stop


def test_a_zero_that_may_begin_a_tag_is_a_cut():
    """Group 5200, and every big-endian group below 0100, begin with a zero: what looks like padding may be a cut."""
    assert read_one(file(simple() + b"\0")).code == "truncated"
    assert read_one(file(simple(BIG) + b"\0", syntax=BIG_UID)).code == "truncated"
    assert read_one(file(simple(BIG) + bytes(8), syntax=BIG_UID)).code is None


@pytest.mark.parametrize("name", WHOLE)
def test_every_prefix_and_then_the_whole_is_the_same_as_the_whole_at_once(name):
    """NEED_MORE: a scan of any prefix either asks for more, or ends as the scan of the whole does."""
    data = WHOLE[name]
    reader = HeaderReader(columns_of(*NAMES), rows=2)
    expected = (scan_all(reader, data), reader.header_bytes, scanned_values(reader))
    for size in range(len(data)):
        reader.view[:size] = data[:size]
        if reader.scan(size, False) == NEED_MORE:
            assert reader.needed > size
        else:
            assert (reader.verdict, reader.header_bytes, scanned_values(reader)) == expected, size
    assert (scan_all(reader, data), reader.header_bytes, scanned_values(reader)) == expected


def test_need_more_asks_for_what_the_element_needs():
    """A long element is asked for at once, not in steps."""
    data = file(key() + element(0x00080070, "UT", bytes(50_000)) + simple()[len(key()) :] + pixels())
    reader = HeaderReader(columns_of(*NAMES), rows=2)
    reader.view[:400] = data[:400]
    assert reader.scan(400, False) == NEED_MORE
    assert 50_000 < reader.needed < 50_300


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFE])
def test_a_length_past_the_end_is_truncation_and_gives_no_value(encoding, length):
    """Every length is bounded by what remains; a short value is never delivered."""
    bad = element(0x00204000, "UT", b"short", encoding, length)
    read = read_one(file(simple(encoding) + bad, syntax=SYNTAX[encoding]), *NAMES, "ImageComments")
    assert (read.code, read.raw("PatientID"), read.raw("ImageComments")) == ("truncated", b"P1", None)
    assert read.outcome.offset == len(meta(syntax=SYNTAX[encoding])) + len(simple(encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("wrong", [1, -1, 1000])
def test_a_wrong_length_in_a_wanted_sequence_costs_the_sequence_only(encoding, wrong):
    """A value that reaches past its item: the row is partial, nothing of the sequence is kept, what follows is."""
    value = b"0.5\\0.5 "
    spacing = element(SPACING, "DS", value, encoding, len(value) + wrong)
    inner = sequence(MEASURES, [item(spacing, encoding)], encoding)
    broken = sequence(SHARED, [item(inner, encoding)], encoding)
    read = read_one(file(simple(encoding) + broken + pixels(encoding), syntax=SYNTAX[encoding]), *NAMES)
    assert (read.code, read.raw(PATH), read.raw("Modality")) == ("bad_length", None, b"MR")
    assert (read.by_pydicom, read.header_bytes) == (
        False,
        len(meta(syntax=SYNTAX[encoding]) + simple(encoding) + broken),
    )


def test_what_follows_a_broken_sequence_is_read():
    """A sequence of defined length that holds no items makes the row partial; elements after it are found."""
    broken = element(0x00082112, "SQ", b"this is no item at all")
    data = file(key() + broken + simple()[len(key()) :] + pixels())
    read = read_one(data, "Modality", "PatientID", "SourceImageSequence[0].ReferencedSOPInstanceUID")
    assert (read.outcome.status, read.code) == (Status.PARTIAL, "bad_sequence")
    assert read.outcome.offset == META_SIZE + len(key()) + 12
    assert (read.raw("PatientID"), read.by_pydicom) == (b"P1", False)
    assert read.header_bytes == len(data) - len(pixels())


def test_something_else_than_items_in_an_undefined_sequence_goes_to_pydicom():
    """Where the walk cannot go on, pydicom reads what it can; the row stays partial, at the fault's offset."""
    broken = element(0x00082112, "SQ", element(0x00080060, "CS", b"XX") + sequence_end(), length=0xFFFFFFFF)
    read = read_one(file(simple() + broken + pixels()), *NAMES)
    assert (read.outcome.status, read.code) == (Status.PARTIAL, "bad_sequence")
    assert read.outcome.offset == META_SIZE + len(simple()) + 12
    assert read.raw("PatientID") == b"P1"


@pytest.mark.parametrize("stray", [item_end(), sequence_end(), item(b"")])
def test_a_stray_delimiter_is_a_bad_element(stray):
    """Item and sequence delimiters are no elements of the outermost data set."""
    read = read_one(file(simple() + stray + pixels()), *NAMES)
    assert (read.code, read.outcome.offset) == ("bad_element", META_SIZE + len(simple()))


def test_a_first_element_without_sense_is_unreadable():
    """Neither byte order nor VR fits: pydicom is asked, and the outcome says so."""
    read = read_one(file(b"\x20\x00\x10\x00\xff\xff\xff\xf0" + b"?" * 20, syntax=None))
    assert read.outcome.status == Status.FAILED


def deep(levels, tag=0x00082112):
    content = element(0x00080060, "CS", b"MR")
    for _ in range(levels):
        content = sequence(tag, [item(content, defined=False)], defined=False)
    return file(key() + content + element(0x00100020, "LO", b"P1") + pixels())


def test_sequences_are_followed_to_the_limit_of_depth():
    """``max_depth`` nested sequences are walked, one more is a fault."""
    assert read_one(deep(5), *NAMES, max_depth=5).code is None
    read = read_one(deep(6), *NAMES, max_depth=5)
    assert (read.outcome.status, read.code, read.raw("SOPInstanceUID")) == (Status.PARTIAL, "limit_depth", b"1.2.3\0")
    assert read_one(deep(256), *NAMES, max_depth=256).code is None


def test_elements_are_counted_to_the_limit():
    """Elements and items count, nested ones too; one too many is a fault."""
    data = file(simple() + nested(defined=False) + pixels())
    reader = HeaderReader(columns_of(*NAMES), rows=2)
    scan_all(reader, data)
    count = reader.scanner.elements
    assert count == 1 + 4 + 1 + 1 + 1 + 1 + 1  # meta, simple, sequence, item, sequence, item, spacing
    assert read_one(data, *NAMES, max_elements=count).code is None
    read = read_one(data, *NAMES, max_elements=count - 1)
    assert (read.code, read.raw("Rows")) == ("limit_elements", b"\x00\x02")


def test_a_damaged_deflate_stream_keeps_what_came_before():
    """Damage ends as ``inflate_error``; a damaged stream never passes for whole."""
    body = simple() + b"".join(element(0x00204000 + 2 * n, "UT", random.Random(n).randbytes(997)) for n in range(60))
    packed = bytearray(deflated(body))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    read = read_one(file(bytes(packed), syntax=DEFLATED_UID), *NAMES)
    assert (read.outcome.status, read.code) == (Status.PARTIAL, "inflate_error")


def test_a_cut_deflate_stream_is_truncated_wherever_it_is_cut():
    """Even where the inflated bytes end between two elements: the stream has an end of its own."""
    packed = deflated(simple())
    for size in range(len(packed)):
        assert read_one(file(packed[:size], syntax=DEFLATED_UID), *NAMES).code == "truncated", size


def test_a_deflate_bomb_is_no_row():
    """Beyond the limit the outcome is ``failed``; the limit does not touch what is whole before it."""
    bomb = file(deflated(simple() + element(0x00204000, "UT", bytes(3_000_000))), syntax=DEFLATED_UID)
    read = read_one(bomb, *NAMES, max_inflated_bytes=1 << 20)
    assert (read.outcome.status, read.code, read.values) == (Status.FAILED, "limit_inflated_bytes", {})
    assert read_one(bomb, *NAMES, max_inflated_bytes=1 << 22).code is None


def test_a_zlib_header_before_the_deflate_stream_is_tolerated():
    """Some writers put a zlib stream where a raw deflate stream belongs."""
    assert read_one(file(zlib.compress(simple() + pixels()), syntax=DEFLATED_UID), *NAMES).raw("PatientID") == b"P1"


# ---- sequences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT])
def test_a_missing_sequence_delimiter_at_the_end_of_what_holds_it_is_tolerated(encoding):
    """The item's length says where its last sequence ends."""
    inner = element(MEASURES, "SQ", item(element(SPACING, "DS", b"1\\2 ", encoding), encoding), encoding, 0xFFFFFFFF)
    data = file(
        key(encoding) + sequence(SHARED, [item(inner, encoding)], encoding) + pixels(encoding), syntax=SYNTAX[encoding]
    )
    assert (read_one(data, PATH).outcome, read_one(data, PATH).raw(PATH)) == (None, b"1\\2 ")


def test_an_item_delimiter_in_an_item_of_defined_length_ends_it():
    """What follows the delimiter inside the item is skipped, and the item's length still holds."""
    first = item(element(SPACING, "DS", b"1\\2 ") + item_end())
    data = file(key() + sequence(SHARED, [item(sequence(MEASURES, [first]))]) + pixels())
    assert (read_one(data, PATH).outcome, read_one(data, PATH).raw(PATH)) == (None, b"1\\2 ")


def test_an_implicit_item_in_an_explicit_data_set_is_recognised():
    """Its first element has no VR; the next item is looked at anew."""
    inner = item(element(SPACING, "DS", b"1\\2 ", IMPLICIT))
    data = file(
        key() + sequence(SHARED, [item(sequence(MEASURES, [inner, item(element(SPACING, "DS", b"3 "))]))]) + pixels()
    )
    second = PATH.replace("PixelMeasuresSequence[0]", "PixelMeasuresSequence[1]")
    read = read_one(data, PATH, second)
    assert (read.outcome, read.raw(PATH), read.raw(second)) == (None, b"1\\2 ", b"3 ")


def test_a_length_that_looks_like_a_vr_is_a_length_unless_it_reaches_past_the_end():
    """In an implicit item a first length of 0x5343 bytes spells ``CS``: whatever prefix is at hand, it is a length."""
    long = element(0x00080104, "LO", b"x" * 0x5343, IMPLICIT)
    inner = item(long + element(0x00081155, "UI", b"1.9\0", IMPLICIT), IMPLICIT, defined=False)
    data = file(
        key(IMPLICIT) + sequence(0x00081140, [inner], IMPLICIT, defined=False) + pixels(IMPLICIT), syntax=IMPLICIT_UID
    )
    name = "ReferencedImageSequence[0].ReferencedSOPInstanceUID"
    assert read_one(data, name).raw(name) == b"1.9\0"
    reader = HeaderReader(columns_of(name), rows=2)
    for size in range(140, len(data) - 80, 101):
        reader.view[:size] = data[:size]
        assert reader.scan(size, False) == NEED_MORE


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("vr", ["SQ", "UN"])
def test_items_are_counted(defined, vr):
    """``[1]`` is the second item, in SQ and in UN, whose content is implicit little endian; ``[3]`` is not there."""
    inner = IMPLICIT if vr == "UN" else EXPLICIT
    items = [item(element(0x00081155, "UI", b"1.%d" % n, inner), inner, defined=defined) for n in range(3)]
    content = b"".join(items) + (b"" if defined else sequence_end(inner))
    data = file(key() + element(0x00081140, vr, content, length=None if defined else 0xFFFFFFFF) + pixels())
    names = [f"ReferencedImageSequence[{n}].ReferencedSOPInstanceUID" for n in range(4)]
    read = read_one(data, *names)
    assert (read.outcome, [read.raw(name) for name in names]) == (None, [b"1.0", b"1.1", b"1.2", None])


def test_undefined_length_un_of_a_private_tag_is_skipped():
    """An undefined-length UN is a sequence in implicit VR (PS3.5 6.2.2), with whatever nested inside."""
    inner = sequence(
        0x00191002, [item(element(0x00191003, "LO", b"x", IMPLICIT), IMPLICIT, defined=False)], IMPLICIT, defined=False
    )
    private = element(0x00191001, "UN", item(inner, IMPLICIT) + sequence_end(), length=0xFFFFFFFF)
    read = read_one(file(key() + private + element(0x00100020, "LO", b"P1") + pixels()), "PatientID")
    assert (read.outcome, read.raw("PatientID")) == (None, b"P1")


def test_items_are_no_value_of_a_text_column():
    """A text attribute that was written as a sequence of undefined length is not delivered as text."""
    odd = element(
        0x00100020, "UN", item(element(0x00080060, "CS", b"MR", IMPLICIT), IMPLICIT) + sequence_end(), length=0xFFFFFFFF
    )
    assert read_one(file(key() + odd + pixels()), "PatientID").values["PatientID"].vr == "SQ"


def test_encapsulated_pixels_in_an_icon_are_skipped():
    """Fragments inside IconImageSequence are walked over, whatever they contain."""
    fragments = item(b"") + item(b"\xfe\xff\x0d\xe0" * 8) + sequence_end()
    icon = item(element(0x00280010, "US", b"\x40\0") + element(STOP, "OB", fragments, length=0xFFFFFFFF), defined=False)
    rows = "IconImageSequence[0].Rows"
    for columns in (("PatientID",), ("PatientID", rows)):
        data = file(
            simple()[:-10] + sequence(0x00880200, [icon], defined=False) + element(0x20500020, "CS", b"AB") + pixels()
        )
        read = read_one(data, *columns, "PresentationLUTShape")
        assert (read.outcome, read.raw("PresentationLUTShape")) == (None, b"AB")
    assert read.raw(rows) == b"\x40\0"


def test_the_first_path_with_a_value_wins():
    """An empty first path falls through to the next; a blank text counts as empty."""
    columns = [column for column in COLUMNS if column.name in ("SOPInstanceUID", "PixelSpacing")]
    for value, expected in ((None, b"7\\7 "), (b"", b"7\\7 "), (b"  ", b"7\\7 "), (b"1\\1 ", b"1\\1 ")):
        own = b"" if value is None else element(SPACING, "DS", value)
        data = file(key() + own + nested(value=b"7\\7 ") + pixels())
        assert read_one(data, columns=columns).raw("PixelSpacing") == expected


def test_the_shared_functional_group_comes_before_the_per_frame_one():
    """Paths are tried in their order, not in the order of tags or of the file."""
    columns = [column for column in COLUMNS if column.name in ("SOPInstanceUID", "PixelSpacing")]
    per_frame = sequence(PER_FRAME, [item(sequence(MEASURES, [item(element(SPACING, "DS", b"9\\9 "))]))])
    shared = nested(value=b"7\\7 ")
    assert read_one(file(key() + per_frame + shared), columns=columns).raw("PixelSpacing") == b"7\\7 "
    assert read_one(file(key() + per_frame), columns=columns).raw("PixelSpacing") == b"9\\9 "


# ---- repeated and out of order ---------------------------------------------------------------------------------------


def test_the_last_of_a_repeated_tag_wins_with_an_issue():
    """Wherever the second one stands."""
    for data in (
        key() + element(0x00080060, "CS", b"CT") + element(0x00080060, "CS", b"MR"),
        key() + element(0x00080060, "CS", b"CT") + element(0x00100020, "LO", b"P1") + element(0x00080060, "CS", b"MR"),
    ):
        read = read_one(file(data + pixels()), "Modality", "PatientID")
        assert read.raw("Modality") == b"MR"
        assert [(issue.path, issue.code) for issue in read.issues] == [("Modality", IssueCode.REPEATED_TAG)]


@pytest.mark.parametrize("second", [[], [item()], [item(sequence(MEASURES, []))]])
def test_a_repeated_sequence_replaces_all_that_the_first_one_held(second):
    """Even where the second one is empty: nothing of the first remains."""
    data = file(key() + nested() + sequence(SHARED, second) + pixels())
    assert read_one(data, PATH).raw(PATH) is None
    again = read_one(file(key() + nested() + nested(value=b"2\\2 ") + pixels()), PATH)
    assert again.raw(PATH) == b"2\\2 "
    assert [issue.code for issue in again.issues] == [IssueCode.REPEATED_TAG]


def test_tags_out_of_order_are_found():
    """Tags need not ascend below the stop tag."""
    body = (
        element(0x00280010, "US", b"\1\0") + element(0x00100020, "LO", b"P1") + key() + element(0x00080060, "CS", b"MR")
    )
    for data in (meta() + body, meta() + body + pixels()):
        read = read_one(data, "Modality", "PatientID", "Rows")
        assert [read.raw(name) for name in ("Modality", "PatientID", "Rows")] == [b"MR", b"P1", b"\1\0"]


# ---- private elements, character sets, ambiguous VRs -----------------------------------------------------------------

PRIVATE = '(0019,"ACME",0C)'


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("block", [0x10, 0x11, 0xFF])
def test_a_private_element_is_found_by_its_creator(encoding, block):
    """Whichever block the creator reserved in this file."""
    owner = element(0x00190000 | block, "LO", b"ACME", encoding)
    value = element(0x0019000C | block << 8, "LO", b"V1", encoding)
    read = read_one(file(key(encoding) + owner + value + pixels(encoding), syntax=SYNTAX[encoding]), PRIVATE)
    assert (read.raw(PRIVATE), read.issues) == (b"V1", [])


def test_a_private_element_without_its_creator_is_not_found():
    """Not under no creator, another one, or another block's."""
    value = element(0x0019100C, "LO", b"V1")
    for owner in (
        b"",
        element(0x00190010, "LO", b"OTHER "),
        element(0x00190011, "LO", b"ACME"),
        element(0x00290010, "LO", b"ACME"),
    ):
        assert read_one(file(key() + owner + value + pixels()), PRIVATE).raw(PRIVATE) is None


def test_creators_are_compared_without_their_padding():
    """Spaces and NULs around a creator mean nothing."""
    for owner in (b"ACME  ", b" ACME\0", b"ACME"):
        data = file(key() + element(0x00190010, "LO", owner) + element(0x0019100C, "LO", b"V1") + pixels())
        assert read_one(data, PRIVATE).raw(PRIVATE) == b"V1"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_creator_after_its_elements_still_owns_them(encoding):
    """Out of order, or at the very end; whoever had no owner before is not taken for another's."""
    value = element(0x0019100C, "LO", b"V1", encoding)
    owner = element(0x00190010, "LO", b"ACME", encoding)
    other = element(0x00190010, "LO", b"OTHER ", encoding)
    rest = simple(encoding)[len(key(encoding)) :]
    for body, expected in ((value + owner + rest, b"V1"), (value + rest + owner, b"V1"), (value + other + rest, None)):
        read = read_one(file(key(encoding) + body + pixels(encoding), syntax=SYNTAX[encoding]), PRIVATE, "Modality")
        assert (read.raw(PRIVATE), read.raw("Modality"), read.outcome, read.issues) == (expected, b"MR", None, [])


def test_two_blocks_of_one_creator_are_one_attribute():
    """The element is found in either block; in both, the last is kept, with an issue."""
    owners = element(0x00190010, "LO", b"ACME") + element(0x00190011, "LO", b"ACME")
    first, second = element(0x0019100C, "LO", b"V1"), element(0x0019110C, "LO", b"V2")
    assert read_one(file(key() + owners + first), PRIVATE).raw(PRIVATE) == b"V1"
    assert read_one(file(key() + owners + second), PRIVATE).raw(PRIVATE) == b"V2"
    both = read_one(file(key() + owners + first + second), PRIVATE)
    assert (both.raw(PRIVATE), [issue.code for issue in both.issues]) == (b"V2", [IssueCode.REPEATED_TAG])


def test_a_block_belongs_to_the_creator_named_last():
    """A repeated creator element gives the block away."""
    owners = element(0x00190010, "LO", b"ACME") + element(0x00190010, "LO", b"OTHER ")
    assert read_one(file(key() + owners + element(0x0019100C, "LO", b"V1")), PRIVATE).raw(PRIVATE) is None


@pytest.mark.parametrize("defined", [True, False])
def test_private_sequences_are_entered(defined):
    """Of defined and of undefined length."""
    name = '(0019,"ACME",0C)[0].CodeValue'
    inner = sequence(0x0019100C, [item(element(0x00080100, "SH", b"V1"))], defined=defined)
    assert read_one(file(key() + element(0x00190010, "LO", b"ACME") + inner + pixels()), name).raw(name) == b"V1"


def test_creators_count_only_in_their_own_data_set():
    """A creator inside an item owns nothing outside it, and the other way round."""
    name = f"ReferencedImageSequence[0].{PRIVATE}"
    owner, value = element(0x00190010, "LO", b"ACME"), element(0x0019100C, "LO", b"V1")
    inside = file(key() + sequence(0x00081140, [item(owner + value)]) + value + pixels())
    read = read_one(inside, name, PRIVATE)
    assert (read.raw(name), read.raw(PRIVATE)) == (b"V1", None)
    outside = file(key() + sequence(0x00081140, [item(value)]) + owner + value + pixels())
    read = read_one(outside, name, PRIVATE)
    assert (read.raw(name), read.raw(PRIVATE)) == (None, b"V1")


def test_each_data_set_has_its_own_character_set_or_that_of_the_one_around_it():
    """SpecificCharacterSet of an item counts in the item; without one, the data set's counts (PS3.5 7.5.3)."""
    inner, outer = "ReferencedImageSequence[0].CodeMeaning", "ReferencedImageSequence[1].CodeMeaning"
    items = [
        item(element(0x00080005, "CS", b"ISO_IR 192") + element(0x00080104, "LO", b"AB")),
        item(element(0x00080104, "LO", b"AB")),
    ]
    data = file(
        element(0x00080005, "CS", b"ISO_IR 100")
        + key()
        + sequence(0x00081140, items)
        + element(0x00100010, "PN", b"A^")
    )
    read = read_one(data, inner, outer, "PatientName")
    charsets = [read.values[name].charset for name in (inner, outer, "PatientName")]
    assert charsets == [b"ISO_IR 192", b"ISO_IR 100", b"ISO_IR 100"]


@pytest.mark.parametrize(("signed", "vr"), [(b"\1\0", "SS"), (b"\0\0", "US"), (None, "US")])
def test_pixel_representation_decides_between_us_and_ss(signed, vr):
    """Where the file has no VR, US or SS is what PixelRepresentation says."""
    name = "SmallestImagePixelValue"
    flag = b"" if signed is None else element(0x00280103, "US", signed, IMPLICIT)
    data = file(
        key(IMPLICIT) + flag + element(0x00280106, "US", b"\xff\xff", IMPLICIT) + pixels(IMPLICIT), syntax=IMPLICIT_UID
    )
    assert read_one(data, name).values[name].vr == vr
    hidden = file(
        key() + ((signed and element(0x00280103, "US", signed)) or b"") + element(0x00280106, "UN", b"\xff\xff")
    )
    assert read_one(hidden, name).values[name].vr == vr
    told = file(key() + element(0x00280103, "US", b"\1\0") + element(0x00280106, "US", b"\xff\xff"))
    assert read_one(told, name).values[name].vr == "US"


# ---- the law ---------------------------------------------------------------------------------------------------------

READER = HeaderReader(COLUMNS, rows=2, headers_only=True)


@settings(max_examples=250)
@given(files())
def test_scanner_and_tree_agree_on_generated_headers(data):
    """Outcome, stop offset and the bytes, VR, byte order and character set of every standard column are the same."""
    assert differences(READER, data) == []


@settings(max_examples=400)
@given(mutations())
def test_scanner_and_tree_agree_on_mutated_headers(data):
    """However a header is damaged, both end alike and deliver the same values (named exceptions in ``law``)."""
    assert differences(READER, data) == []


@settings(max_examples=200)
@given(mutations(), st.data())
def test_a_prefix_never_ends_otherwise_than_the_whole(data, choose):
    """A final verdict on a prefix (more to come) is the verdict on the whole."""
    expected = (scan_all(READER, data), READER.scanner.offset)
    size = choose.draw(st.integers(0, len(data)))
    READER.view[:size] = data[:size]
    if READER.scan(size, False) != NEED_MORE:
        assert (READER.verdict, READER.scanner.offset) == expected


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", meta(), meta(syntax=IMPLICIT_UID), meta(syntax=DEFLATED_UID), simple()]),
)
def test_arbitrary_bytes_end_in_an_outcome(data, start):
    """No bytes raise, none loop: every input has an outcome."""
    read = read_one(start + data, *NAMES)
    assert read.outcome is None or read.outcome.code in Code


# ---- what is left where a sequence was cut out -----------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_stray_item_is_read_over(encoding):
    """An item whose sequence is gone has a length: what follows is read, the row is partial, nothing of it is delivered."""
    stray = item(element(0x00100020, "LO", b"NOT IT", encoding), encoding)
    data = file(
        key(encoding) + stray + simple(encoding)[len(key(encoding)) :] + pixels(encoding), syntax=SYNTAX[encoding]
    )
    read = read_one(data, *NAMES)
    assert (read.outcome.status, read.code, read.by_pydicom) == (Status.PARTIAL, "bad_element", False)
    assert read.outcome.offset == len(meta(syntax=SYNTAX[encoding])) + len(key(encoding))
    assert (read.raw("PatientID"), read.raw("Modality"), read.issues) == (b"P1", b"MR", [])


@pytest.mark.parametrize("stray", [item(), item(b"", defined=False), item_end(), sequence_end()])
def test_a_stray_item_without_a_length_ends_the_header(stray):
    """Its elements would pass for the data set's own: neither the scanner nor pydicom delivers them."""
    inner = element(0x00100020, "LO", b"NOT IT")
    read = read_one(file(key() + element(0x00080060, "CS", b"MR") + stray + inner + item_end() + pixels()), *NAMES)
    assert (read.code, read.raw("Modality"), read.raw("PatientID")) == ("bad_element", b"MR", None)
