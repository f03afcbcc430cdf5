"""What a SOP Class requires at its end: the table against pydicom's list of classes, and the outcome of files."""

import pydicom._uid_dict
import pytest

from dicomflow.dictionary import entry_for_tag
from dicomflow.errors import Code, Status
from dicomflow.header.closing import _CLOSING, _FAMILIES, closing_tag, ends_early
from dicomflow.header.reader import COMPILED
from dicomflow.read import read_headers
from dicomflow.schema.column import STOP_TAG
from tests.dicom_bytes import DEFLATED_UID, EXPLICIT_UID, STOP, deflated, element, file
from tests.scanning import UID, read_one

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, SR, STRUCTURES = (STORAGE + arc for arc in ("2", "88.11", "481.3"))
WITHOUT_PIXELS = ("Raw Data", "Spectroscopy", "Presentation", "Stereometric", "Waveform", "Surface Scan", "Lens")


def classes():
    """Storage classes by UID, as pydicom names them."""
    known = pydicom._uid_dict.UID_dictionary
    return {uid: entry[0] for uid, entry in known.items() if uid.startswith(STORAGE) and entry[1] == "SOP Class"}


def test_every_image_class_requires_pixels():
    """Each class of the standard whose name says image or segmentation; and no other that has none."""
    named = {uid: name for uid, name in classes().items() if "Image Storage" in name}
    missing = {
        name
        for uid, name in named.items()
        if closing_tag(uid) != STOP_TAG and not any(word in name for word in WITHOUT_PIXELS)
    }
    assert len(named) > 60
    assert not missing
    assert closing_tag(STORAGE + "66.4") == STOP_TAG


def test_families():
    """Reports, waveforms, documents and presentation states, by their arc."""
    tags = {
        "88.33": 0x0040A730,
        "9.1.1": 0x54000100,
        "9.100.1": 0x00700083,
        "104.1": 0x00420012,
        "11.1": 0x00700083,
    }
    assert {arc: closing_tag(STORAGE + arc) for arc in tags} == tags
    for name in ("SR Storage", "Waveform Storage"):
        assert all(closing_tag(uid) for uid, found in classes().items() if found.endswith(name))


def test_the_tags_are_those_of_the_dictionary():
    """Each is a known attribute, or the stop tag."""
    tags = {*_CLOSING.values(), *(tag for _, tag in _FAMILIES)} - {STOP_TAG}
    assert all(entry_for_tag(tag) is not None for tag in tags)


@pytest.mark.parametrize("sop_class", ["", "1.2.3", "1.2.840.10008.1.3.10", STORAGE, "garbage"])
def test_an_unknown_class_requires_nothing(sop_class):
    """Nothing is known, so nothing is claimed."""
    assert not ends_early(sop_class, 0x00080018)


def test_pixels_elsewhere():
    """JPIP: a URL stands for the pixels."""
    assert ends_early(CT, 0x00280103, transfer_syntax="1.2.840.10008.1.2.4.94")
    assert not ends_early(CT, 0x00287FE0, transfer_syntax="1.2.840.10008.1.2.4.94")
    assert ends_early(CT, 0x00287FE0, transfer_syntax="1.2.840.10008.1.2.4.50")


def body(sop_class, *elements):
    return element(0x00080016, "UI", sop_class.encode()) + element(UID, "UI", b"1.2.3\0") + b"".join(elements)


ROWS = element(0x00280010, "US", b"\1\0")
SIGNED = element(0x00280103, "US", b"\0\0")


def test_an_image_without_pixels_is_partial_and_says_why():
    """The row is there, with all values; the offset is the end of the file."""
    data = file(body(CT, ROWS))
    read = read_one(data, "Rows")
    assert (read.outcome.status, read.outcome.code, read.outcome.offset) == (
        Status.PARTIAL,
        Code.ENDS_EARLY,
        len(data),
    )
    assert read.raw("Rows") == b"\1\0"


def test_what_is_whole_without_pixels():
    """A report with its content; an image that came to its stop tag, or in a deflated stream that came to its end."""
    content = element(0x0040A730, "SQ")
    for data in (
        file(body(SR, content)),
        file(body(CT) + element(STOP, "OW")),
        file(deflated(body(CT, ROWS)), syntax=DEFLATED_UID),
        file(body("1.2.3", ROWS)),
        file(body(STRUCTURES, element(0x30060080, "SQ"))),
    ):
        assert read_one(data).outcome is None
    for data in (file(body(SR)), file(body(STRUCTURES, element(0x30060039, "SQ"))), file(body("1.2.3", ROWS + SIGNED))):
        assert read_one(data).code == "ends_early"


@pytest.mark.skipif(not COMPILED, reason="pydicom sorts the tags")
def test_tags_out_of_order_are_no_end():
    """The highest tag counts, not the last."""
    assert read_one(file(element(0x0040A730, "SQ") + body(SR))).outcome is None


def test_the_class_of_the_file_meta_stands_in():
    """Cut before SOPClassUID: the media storage class says what is missing."""
    stored = element(0x00020002, "UI", CT.encode() + b"\0") + element(0x00020003, "UI", b"1.2.3\0")
    data = file(element(0x00080008, "CS", b"ORIGINAL"), stored, syntax=EXPLICIT_UID)
    assert read_one(data).code == "ends_early"


def test_archives_of_headers_only():
    """Where pixels were taken out on purpose, an image is whole without them; a report still needs its content."""
    items = [file(body(CT, ROWS)), file(body(CT, element(0x00100020, "LO", b"x", length=9)))]
    assert read_headers(items)["status"].to_pylist() == ["partial", "partial"]
    assert read_headers(items, headers_only=True)["status"].to_pylist() == ["ok", "partial"]
