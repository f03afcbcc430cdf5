"""From collected headers to typed, sorted record batches: order, issues and keys stay with their rows."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.errors import IssueCode
from dicomflow.header.reader import COMPILED, HeaderReader
from dicomflow.model import Issue, RawValue
from dicomflow.schema.column import Column, make_column
from tests.dicom_bytes import element, file, item, sequence
from tests.scanning import KEY, build, columns_of, feed

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled modules are missing")

NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "Modality", "PatientAge", "PixelSpacing")


def header(uid, *, study=b"1.1", series=b"2.1", number=b"1 ", modality=b"MR", spacing=b"1\\1 ", extra=b""):
    return file(
        element(0x00080018, "UI", uid)
        + element(0x00080060, "CS", modality)
        + element(0x0020000D, "UI", study)
        + element(0x0020000E, "UI", series)
        + element(0x00200013, "IS", number)
        + element(0x00280030, "DS", spacing)
        + extra
    )


def collect(headers, columns=None):
    reader = HeaderReader(columns or columns_of(*NAMES), rows=len(headers))
    for data in headers:
        feed(reader, data)
    return reader


def test_rows_are_sorted_by_study_series_and_number():
    """As numbers, not as texts; rows without a number come last in their series."""
    rows = [
        header(b"1", study=b"1.2", number=b"10"),
        header(b"2", study=b"1.2", number=b"9 "),
        header(b"3", study=b"1.1", series=b"2.2"),
        header(b"4", study=b"1.1", series=b"2.1", number=b""),
        header(b"5", study=b"1.1", series=b"2.1", number=b"3 "),
    ]
    batch = build(collect(rows), 5)
    assert batch.rows["SOPInstanceUID"].to_pylist() == ["5", "4", "3", "2", "1"]
    assert batch.keys.to_pylist() == ["1", "2", "3", "4", "5"]
    assert batch.rows["source_uri"].to_pylist() == ["file:4", "file:3", "file:2", "file:1", "file:0"]


def test_equal_keys_keep_the_order_of_reading_and_padding_makes_no_difference():
    """A study UID padded otherwise is the same study."""
    rows = [
        header(b"%d" % n, study=b"1.1\0" if n % 2 else b"1.1 ", number=b"7 " if n % 3 else b" 7") for n in range(1, 8)
    ]
    assert build(collect(rows), 7).rows["SOPInstanceUID"].to_pylist() == [str(n) for n in range(1, 8)]


def test_without_sorting_rows_stay_as_read():
    """``sort=False``."""
    rows = [header(b"2", study=b"1.2"), header(b"1", study=b"1.1")]
    assert build(collect(rows), 2, sort=False).rows["SOPInstanceUID"].to_pylist() == ["2", "1"]


def test_a_sort_column_that_is_a_list_is_no_sort_column():
    """A profile may make InstanceNumber a list; rows are then sorted by the others."""
    columns = (KEY, make_column("StudyInstanceUID"), make_column("InstanceNumber", (), None, "1-n"))
    batch = build(collect([header(b"2", study=b"1.2"), header(b"1", study=b"1.1", number=b"1\\2 ")], columns), 2)
    assert batch.rows["SOPInstanceUID"].to_pylist() == ["1", "2"]
    assert batch.rows["InstanceNumber"].to_pylist() == [[1, 2], [1]]


def test_issues_stay_with_their_row_when_it_moves():
    """Value issues, remarks on the header and values that are too long, each in its own row after sorting."""
    long = element(0x00104000, "UT", b"x" * ((1 << 20) + 1))
    rows = [
        header(b"3", number=b"3 ", spacing=b"a\\1 "),
        header(b"2", number=b"2 "),
        header(b"1", number=b"1 ", extra=long),
    ]
    reader = collect(rows, columns_of(*NAMES, "PatientComments"))
    batch = build(
        reader, 3, remarks={1: [Issue("TransferSyntaxUID", IssueCode.TRANSFER_SYNTAX, "")], 0: []}, partial=[1]
    )
    issues = [
        None if found is None else [(one["path"], one["code"]) for one in found]
        for found in batch.rows["issues"].to_pylist()
    ]
    assert issues == [
        [("PatientComments", "out_of_range")],
        [("TransferSyntaxUID", "transfer_syntax")],
        [("PixelSpacing", "bad_value")],
    ]
    assert batch.rows["status"].to_pylist() == ["ok", "partial", "ok"]
    assert batch.rows["PixelSpacing"].to_pylist()[2] == [None, 1.0]
    assert batch.issues == 3


def test_no_issues_are_null_not_an_empty_list():
    """Also where a header was remarkable for a column that nobody asked for."""
    assert build(collect([header(b"1")]), 1, remarks={0: []}).rows["issues"].to_pylist() == [None]


def test_an_issue_of_a_shared_value_is_in_each_row_that_has_it():
    """Decoded once, reported everywhere; many rows without it have none."""
    rows = [header(b"%d" % n, number=b"%d" % n, extra=element(0x00321032, "PN", b"A")) for n in range(10, 60)]
    rows += [header(b"%d" % n, number=b"x%d" % (n % 2)) for n in range(60, 66)]
    batch = build(collect(rows), len(rows))
    found = [
        row["issues"] and [(one["path"], one["code"], one["raw"]) for one in row["issues"]]
        for row in batch.rows.to_pylist()
    ]
    assert found[:50] == [None] * 50
    assert sorted(raw for issues in found[50:] for _, _, raw in issues) == ["x0"] * 3 + ["x1"] * 3


def test_repetitive_text_is_dictionary_encoded_and_typed_as_the_column_says():
    """One modality in many rows is stored once; the values are the same."""
    batch = build(collect([header(b"%d" % n, number=b"%d" % n) for n in range(10, 60)]), 50)
    assert pa.types.is_dictionary(batch.rows["Modality"].type)
    assert batch.rows["Modality"].to_pylist() == ["MR"] * 50
    assert batch.rows["SOPInstanceUID"].type == pa.string()
    assert batch.rows["InstanceNumber"].to_pylist() == list(range(10, 60))
    assert batch.rows["PatientAge"].null_count == 50


def test_vectors_and_careful_decoding_give_the_same_column():
    """One odd value among many plain ones changes nothing for the others."""
    rows = [header(b"%d" % n, number=b"%d" % n, spacing=b"%d\\.5" % n) for n in range(10, 70)]
    plain = build(collect(rows), 60).rows
    odd = build(collect([*rows, header(b"9", number=b"4.1 ", spacing=b"x")]), 61).rows
    for name in ("InstanceNumber", "PixelSpacing"):
        assert odd[name].to_pylist()[:60] == plain[name].to_pylist()
        assert odd[name].to_pylist()[60] in (None, [None])


def test_a_key_that_cannot_be_typed_gives_no_row():
    """It is named by its place in the order of reading; all other rows are there, also where keys repeat."""
    reader = collect([header(b"1") for _ in range(6)])
    reader.batch.drop_row()
    bad = RawValue(b"\7\0", "US")
    reader.batch.add_values([bad, *[None] * (len(reader.columns) - 1)])
    batch = build(reader, 6)
    assert batch.rows_without_key() == [5]
    assert batch.rows["SOPInstanceUID"].to_pylist() == ["1"] * 5
    assert build(collect([header(b"1")]), 1).rows_without_key() == []


def test_a_null_among_repeated_texts_can_be_written(tmp_path):
    """A repeated column goes to Parquet as a dictionary, which must not hold the null of a value that could not be typed."""
    headers = [header(str(number).encode(), modality=b"MR") for number in range(1, 10)]
    headers.append(file(element(0x00080018, "UI", b"10") + element(0x00080060, "OB", b"MR")))
    batch = build(collect(headers), 10)
    table = pa.Table.from_batches([batch.rows])
    pq.write_table(table, tmp_path / "part.parquet")
    found = pq.read_table(tmp_path / "part.parquet").to_pylist()
    assert {row["SOPInstanceUID"]: row["Modality"] for row in found} == {
        **{str(number): "MR" for number in range(1, 10)},
        "10": None,
    }
    assert [issue["code"] for row in found if row["issues"] for issue in row["issues"]] == ["incompatible_vr"]


def test_sequences_are_json_text():
    """An SQ column holds the DICOM JSON of its items."""
    columns = (
        KEY,
        Column("S", "SQ", False, make_column("ReferencedImageSequence").paths, ("ReferencedImageSequence",)),
    )
    data = header(b"1", extra=b"")
    body = sequence(0x00081140, [item(element(0x00081155, "UI", b"1.9\0"))])
    batch = build(collect([data, file(element(0x00080018, "UI", b"2") + body)], columns), 2)
    assert batch.rows["S"].to_pylist() == [None, '[{"00081155":{"vr":"UI","Value":["1.9"]}}]']


def test_a_batch_can_be_built_again_after_a_reset():
    """The next batch knows nothing of the one before."""
    reader = collect([header(b"1"), header(b"2")])
    build(reader, 2)
    reader.batch.reset()
    feed(reader, header(b"3", modality=b"CT"))
    (row,) = build(reader, 1).rows.to_pylist()
    assert (row["SOPInstanceUID"], row["Modality"]) == ("3", "CT")
