"""``read_headers``: from files and bytes to typed rows.  What files hold is in tests/oracle."""

import datetime as dt
import struct

import pytest

from dicomflow.errors import HeaderError
from dicomflow.read import read_headers
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import load_profile
from dicomflow.synth import KINDS, SYNTAXES, make_series
from tests.dicom_bytes import element, file
from tests.oracle.columns import assert_equals_pydicom
from tests.oracle.files import read_dataset

STANDARD = load_profile("standard")
KEY = element(0x00080018, "UI", b"1.2.3\0")
GOOD = file(KEY + element(0x00080060, "CS", b"MR"))


def test_one_file_gives_one_row_with_the_instances_schema(tmp_path):
    """A path and the same bytes give the same row but for where it came from."""
    (tmp_path / "a.dcm").write_bytes(GOOD)
    for item, source in (
        (tmp_path / "a.dcm", str(tmp_path / "a.dcm")),
        (GOOD, "bytes:0"),
        (memoryview(GOOD), "bytes:0"),
    ):
        table = read_headers(item)
        assert table.schema.equals(instances_schema(STANDARD), check_metadata=True)
        (row,) = table.to_pylist()
        assert (row["SOPInstanceUID"], row["Modality"], row["source_uri"]) == ("1.2.3", "MR", source)
        assert (row["source_size"], row["header_bytes"], row["status"], row["issues"]) == (
            len(GOOD),
            len(GOOD),
            "ok",
            None,
        )


def test_rows_come_in_the_order_of_the_items_and_are_not_made_unique():
    """Neither sorted nor deduplicated; more than one batch is no difference."""
    uids = [f"1.2.{5000 - number}" for number in range(4200)]
    items = (file(element(0x00080018, "UI", uid.encode())) for uid in [*uids, uids[0]])
    table = read_headers(items, columns="minimal")
    assert table["SOPInstanceUID"].to_pylist() == [*uids, uids[0]]
    assert table["source_uri"][4200].as_py() == "bytes:4200"


def test_what_gives_no_row_raises_and_names_the_item(tmp_path):
    """Not DICOM, no key, a key that is no text, not there: each is a HeaderError with the item's name."""
    odd = file(element(0x00080018, "US", struct.pack("<H", 7)))
    for item in (b"not DICOM", file(element(0x00080060, "CS", b"MR")), odd, b""):
        with pytest.raises(HeaderError, match=r"bytes:1: "):
            read_headers([GOOD, item])
    with pytest.raises(HeaderError, match="missing.dcm"):
        read_headers(tmp_path / "missing.dcm")


def test_skip_leaves_such_items_out():
    """With ``errors="skip"`` all others come through."""
    odd = file(element(0x00080018, "US", struct.pack("<H", 7)))
    table = read_headers([b"x", GOOD, odd, GOOD, file(b"")], errors="skip")
    assert table["source_uri"].to_pylist() == ["bytes:1", "bytes:3"]
    assert read_headers([], errors="skip").schema.equals(instances_schema(STANDARD))
    with pytest.raises(ValueError, match="raise"):
        read_headers(GOOD, errors="ignore")


def test_a_partial_header_says_so():
    """Cut in an element: ``partial``, with what came before."""
    (row,) = read_headers(
        file(KEY + element(0x00080060, "CS", b"MR") + element(0x00100020, "LO", b"P", length=9))
    ).to_pylist()
    assert (row["status"], row["Modality"], row["PatientID"]) == ("partial", "MR", None)


def test_issues_land_beside_their_row():
    """Issues of values and of the header as a whole are in the row they belong to, and only there."""
    bad = file(
        element(0x00080018, "UI", b"1.2.4\0") + element(0x00080020, "DA", b"20200230"), syntax=b"1.2.840.10008.1.2\0"
    )
    good, issues = read_headers([GOOD, bad])["issues"].to_pylist()
    assert good is None
    assert {(issue["path"], issue["code"]) for issue in issues} == {
        ("TransferSyntaxUID", "transfer_syntax"),
        ("StudyDate", "bad_value"),
    }


def test_values_are_typed():
    """Dates, times, numbers and lists arrive as such."""
    body = (
        KEY
        + element(0x00080020, "DA", b"20200131")
        + element(0x00080030, "TM", b"1230")
        + element(0x00280030, "DS", b"0.5\\.25")
    )
    (row,) = read_headers(file(body)).to_pylist()
    assert (row["StudyDate"], row["StudyTime"], row["PixelSpacing"]) == (
        dt.date(2020, 1, 31),
        dt.time(12, 30),
        [0.5, 0.25],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_series_of_every_kind_equal_pydicom(kind):
    """All standard columns, in each transfer syntax that has a form of its own."""
    for syntax in ("implicit", "explicit", "big-endian", "deflated"):
        for made in make_series(kind, instances=2, seed=KINDS.index(kind), syntax=syntax):
            (row,) = read_headers(made.data).to_pylist()
            assert row["status"] == "ok" and row["SOPInstanceUID"]
            assert_equals_pydicom(row, read_dataset(made.data), STANDARD.columns)


@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_compressed_syntaxes_equal_pydicom(syntax):
    """The stop tag ends the header, however the pixels are packed."""
    (made,) = make_series("us", seed=3, syntax=syntax)
    (row,) = read_headers(made.data).to_pylist()
    assert_equals_pydicom(row, read_dataset(made.data), STANDARD.columns)
