"""Ledger rows."""

from __future__ import annotations

import pyarrow as pa

from dicomflow.dataset.ledger import LedgerRows, settled_rows
from dicomflow.errors import Code, Status
from dicomflow.model import SOURCE_FILE_SCHEMA, Outcome


def make_files(count: int) -> pa.Table:
    rows = [{"uri": f"/f{i}", "size": i, "mtime": i} for i in range(count)]
    return pa.Table.from_pylist(rows, SOURCE_FILE_SCHEMA)


def test_one_row_per_file_in_order(files: pa.Schema) -> None:
    """Each file has its row, with its key only where one was read, and the run's time."""
    ledger = LedgerRows(4)
    ledger.add_batch([2], pa.array(["1.2"]), ["d2"])
    ledger.add_batch([0], pa.array(["1.0"]), ["d0"])
    ledger.set(1, Outcome(status=Status.FAILED, code=Code.IO_ERROR, message="m", offset=7))
    ledger.set(3, Outcome(status=Status.NOT_DICOM, code=Code.EMPTY_FILE))
    ledger.by_pydicom.append(0)
    table = ledger.to_table(make_files(4), "run", 1_000_000)
    assert table.column_names == files.names and table.schema.types == files.types
    assert table["uri"].to_pylist() == ["/f0", "/f1", "/f2", "/f3"]
    assert table["status"].to_pylist() == ["ok", "failed", "ok", "not_dicom"]
    assert table["code"].to_pylist() == [None, "io_error", None, "empty_file"]
    assert table["offset"].to_pylist() == [None, 7, None, None]
    assert table["SOPInstanceUID"].to_pylist() == ["1.0", None, "1.2", None]
    assert table["header_digest"].to_pylist() == ["d0", None, "d2", None]
    assert table["reader"].to_pylist() == ["pydicom", None, "fast", None]
    assert table["last_seen"].to_pylist()[0].isoformat() == "1970-01-01T00:00:01"


def test_counts_are_those_of_the_rows() -> None:
    """Counts by status and code add up to the files; what does not occur is not there."""
    ledger = LedgerRows(5)
    ledger.set(0, Outcome(status=Status.OK))
    ledger.set(1, Outcome(status=Status.PARTIAL, code=Code.TRUNCATED))
    ledger.set(2, Outcome(status=Status.PARTIAL, code=Code.TRUNCATED))
    assert ledger.counts() == {("ok", None): 3, ("partial", "truncated"): 2}
    full = LedgerRows(1)
    full.set(0, Outcome(status=Status.FAILED, code=Code.NOT_FOUND))
    assert full.counts() == {("failed", "not_found"): 1}


def test_attempts_and_failures() -> None:
    """A file that was tried again says so; one that failed counts once, however often that is said."""
    ledger = LedgerRows(4)
    ledger.try_again([1, 3])
    ledger.try_again([3])
    failed = Outcome(status=Status.FAILED, code=Code.IO_ERROR)
    for index in (3, 3, 1):
        ledger.set(index, failed)
    ledger.set(1, Outcome(status=Status.NOT_DICOM, code=Code.EMPTY_FILE))
    assert ledger.to_table(make_files(4), "run", 0)["attempts"].to_pylist() == [1, 2, 1, 3] and ledger.failed == 1


def test_no_files() -> None:
    """A task without files has no rows and no counts."""
    assert LedgerRows(0).to_table(make_files(0), "run", 0).num_rows == 0 and LedgerRows(0).counts() == {}


def test_settled_rows_keep_what_listing_found(files: pa.Schema) -> None:
    """What listing settled was attempted zero times and has no reader."""
    listed = pa.Table.from_pylist(
        [{"uri": "/fifo", "status": "skipped", "code": "special_file", "message": "FIFO"}], SOURCE_FILE_SCHEMA
    )
    rows = settled_rows(listed, "run", 5)
    assert rows.column_names == files.names and rows.schema.types == files.types
    (row,) = rows.to_pylist()
    assert (row["status"], row["code"], row["message"], row["attempts"]) == ("skipped", "special_file", "FIFO", 0)
    assert row["reader"] is None and row["SOPInstanceUID"] is None
