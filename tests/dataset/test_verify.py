"""A whole dataset passes every check; each kind of damage is named by the check that is for it, and never raised."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.config import DatasetConfig
from dicomflow.dataset import verify
from dicomflow.dataset.keyfilter import KeyFilter
from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.parts import describe_part
from dicomflow.dataset.verification import CHECKS, MAX_FAULTS, Verification
from dicomflow.dataset.verify import verify_dataset
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import DatasetError
from tests.dicom_bytes import STOP, element, file

QUIET: dict[str, Any] = {"compute__dashboard_address": "", "columns": "minimal", "scheduler": "threads"}
BEGIN = 1_700_000_000


def write(path: Path, uid: str, instance: int, *, name: str = "A", written: int = 0, cut: bool = False) -> None:
    """A small DICOM file; a cut one ends inside an element."""
    text = [value + "\0" * (len(value) % 2) for value in (uid, "1.2.3", "1.2.3.4")]
    body = element(0x00080018, "UI", text[0].encode()) + element(0x00100010, "PN", f"{name}{name}".encode())
    body += element(0x0020000D, "UI", text[1].encode()) + element(0x0020000E, "UI", text[2].encode())
    body += element(0x00200013, "IS", f"{instance:04}".encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        file(body + (element(0x00200020, "CS", b"L ", length=400) if cut else element(STOP, "OW", bytes(8))))
    )
    os.utime(path, (BEGIN + written, BEGIN + written))


def extract(source: Path, dest: Path, **options: Any) -> None:
    dicomflow.extract(source, dest, **{**QUIET, **options})


def fill(source: Path) -> None:
    """Files of each outcome."""
    for number in range(30):
        write(source / f"{number:02}", f"1.9.{number}", number)
    write(source / "copy", "1.9.3", 3, written=-5)
    write(source / "other", "1.9.4", 4, name="B", written=-5)
    write(source / "cut", "1.9.99", 99, cut=True)
    write(source / "cut-other", "1.9.5", 5, name="B", cut=True, written=50)
    (source / "text").write_bytes(b"no DICOM" * 40)
    (source / "empty").write_bytes(b"")
    (source / "keyless").write_bytes(file(element(0x00080060, "CS", b"MR") + element(STOP, "OW", bytes(8))))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two runs, with files of each outcome: two parts of instances, two of the ledger."""
    source, dest = (tmp_path_factory.mktemp("verify") / name for name in ("source", "dest"))
    fill(source)
    extract(source, dest)
    for number in range(40, 50):
        write(source / f"{number}", f"1.9.{number}", number)
    extract(source, dest)
    return dest


@pytest.fixture
def dest(original: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(original, tmp_path / "dest")


def find_faults(dest: Path) -> dict[str, list[str]]:
    """Check -> its faults in one line each."""
    found: dict[str, list[str]] = {}
    for fault in verify_dataset(dest).faults:
        found.setdefault(fault.check, []).append(f"{fault.where}: {fault.what}; {fault.remedy}")
    return found


def describe_failure(verification: Verification) -> str:
    return "\n".join(
        [*map(str, verification.faults), *(f"{c.name}: {c.not_made}" for c in verification.checks if c.not_made)]
    )


def assert_whole(dest: Path) -> None:
    verification = verify_dataset(dest)
    assert verification.whole, describe_failure(verification)
    assert [check.name for check in verification.checks] == list(CHECKS)


# ---- whole datasets ----------------------------------------------------------------------------------------------------


def test_whole_after_every_kind_of_run(tmp_path: Path) -> None:
    """First run, files that appear, change, lose, win and go, compacting, reading all again, other columns."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    fill(source)
    extract(source, dest)
    assert_whole(dest)
    write(source / "late", "1.9.1", 1, name="C", written=90)  # wins
    write(source / "07", "1.9.7", 7, name="D", written=91)  # changed
    write(source / "copy", "1.9.3", 3, written=92)  # the copy wins
    (source / "08").unlink()
    (source / "cut").unlink()
    extract(source, dest)
    assert_whole(dest)
    for name in ("late", "00"):
        (source / name).unlink()
    write(source / "more", "1.9.200", 200)
    extract(source, dest)
    assert_whole(dest)
    assert len(Layout(dest).parts("instances")) > 1
    dicomflow.compact(dest)
    assert_whole(dest)
    assert len(Layout(dest).parts("instances")) == 1
    extract(source, dest, columns="standard", mode="add_columns")
    assert_whole(dest)
    extract(source, dest, columns="standard", mode="full")
    assert_whole(dest)


def test_whole_after_a_copy_took_the_place_of_its_original(tmp_path: Path) -> None:
    """A duplicate whose winner is gone is read again."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    fill(source)
    extract(source, dest)
    (source / "03").unlink()
    extract(source, dest)
    assert_whole(dest)


@pytest.mark.parametrize("options", [{}, {"dataset__bloom_filter": False}, {"plan__files_per_task": 4}])
def test_whole_however_it_was_written(tmp_path: Path, options: dict[str, Any]) -> None:
    """Without Bloom filters, and in many parts."""
    fill(tmp_path / "source")
    extract(tmp_path / "source", tmp_path / "dest", **options)
    assert_whole(tmp_path / "dest")


def test_whole_without_any_file(tmp_path: Path) -> None:
    """Tables without rows."""
    (tmp_path / "source").mkdir()
    extract(tmp_path / "source", tmp_path / "dest")
    assert_whole(tmp_path / "dest")


def test_what_was_looked_at(original: Path) -> None:
    """Each check says how much it saw; nothing is written; the numbers are those of the dataset."""
    before = {path: path.stat().st_mtime_ns for path in original.rglob("*")}
    verification = dicomflow.verify_dataset(original)
    assert {path: path.stat().st_mtime_ns for path in original.rglob("*")} == before
    counts = {check.name: check.looked_at for check in verification.checks}
    assert (counts["parts"], counts["digests"], counts["schema"]) == (8, 8, 8)
    assert (counts["ledger"], counts["key"], counts["rows"], counts["winners"]) == (47, 41, 43, 3)
    assert (
        counts["pages"] == 47 + 43 + 3
        and counts["order"] == 43 + 3
        and counts["rollups"] == 3
        and counts["lookup"] == 41
        and counts["runs"] == 2
    )
    assert verification.version == 2 and verification.to_dict()["whole"] is True and verification.remarks == ()


def test_nothing_there(tmp_path: Path) -> None:
    """The one case that is raised."""
    (tmp_path / "text").write_text("")
    for name in ("nowhere", "", "text"):
        with pytest.raises(DatasetError, match="no dicomflow dataset here"):
            verify_dataset(tmp_path / name)


# ---- the private folder ------------------------------------------------------------------------------------------------

Damage = Callable[[Layout], None]


def owner(**changed: Any) -> str:
    """A lock of this process, or nearly so."""
    own = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time(), "since": "noon"}
    return json.dumps({**own, "token": "t", **changed})


def last_record(layout: Layout) -> Path:
    return max(layout.runs.iterdir())


PRIVATE: dict[str, tuple[Damage, str, str]] = {
    "description-torn": (lambda at: at.description.write_text('{"format": "2", '), "description", "not valid JSON"),
    "description-other": (lambda at: at.description.write_text("[]"), "description", "not a JSON object"),
    "description-empty": (
        lambda at: at.description.write_text('{"format": "2"}'),
        "description",
        "is not the description",
    ),
    "description-format": (lambda at: at.description.write_text('{"format": "0"}'), "description", "another format"),
    "description-gone": (lambda at: at.description.unlink(), "description", "is not there"),
    "description-path": (lambda at: edit_json(at.description, last_run="../x"), "description", "no file name"),
    "description-lacks": (
        lambda at: edit_snapshot(at, "files", lambda parts: {}),
        "description",
        "is not the description",
    ),
    "commit-torn": (lambda at: at.commit_record.write_text("{"), "commit", "stopped while it published"),
    "next": (lambda at: (at.next / "files").mkdir(parents=True), "leftovers", "_dicomflow/next: "),
    "spill": (lambda at: (at.private / "spill").mkdir(), "leftovers", "_dicomflow/spill: "),
    "temporary": (lambda at: (at.private / ".dataset.json.0a.tmp").touch(), "leftovers", ".dataset.json.0a.tmp: "),
    "temporary-run": (lambda at: (at.runs / ".x.json.0a.tmp").touch(), "leftovers", "runs/.x.json.0a.tmp: "),
    "probe": (lambda at: (at.private / ".probe.77").touch(), "leftovers", "_dicomflow/.probe.77: "),
    "lock-folder": (lambda at: at.lock.mkdir(), "leftovers", "cannot be read"),
    "run-torn": (lambda at: last_record(at).write_text("{"), "runs", "not valid JSON"),
    "run-other": (lambda at: edit_json(last_record(at), run_id="x"), "runs", "another run"),
    "run-version": (lambda at: edit_json(last_record(at), version=1), "runs", "names another"),
    "run-gone": (lambda at: last_record(at).unlink(), "runs", "is gone"),
}


def edit_json(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@pytest.mark.parametrize("name", PRIVATE)
def test_damage_of_the_private_folder(dest: Path, name: str) -> None:
    """Each is named by its check; where nobody knows what the dataset is, the others are said not to be made."""
    damage, check, text = PRIVATE[name]
    damage(Layout(dest))
    found = find_faults(dest)
    assert any(text in fault for fault in found[check]), found
    assert set(found) <= {check, "description"}
    made = [check.name for check in verify_dataset(dest).checks if check.not_made is None]
    assert ("pages" in made) == ("description" not in found)


def test_a_commit_that_was_stopped(dest: Path) -> None:
    """The version that the record names is looked at, wherever its parts lie; only the commit is a fault."""
    layout = Layout(dest)
    record = {"description": json.loads(layout.description.read_text()), "run_record": {}}
    layout.commit_record.write_text(json.dumps(record))
    layout.next.mkdir()
    os.rename(layout.table("files"), layout.next / "files")
    shutil.copytree(layout.next / "files", layout.table("files"))
    min(layout.parts("files")).unlink()
    layout.description.unlink()
    assert set(find_faults(dest)) == {"commit"}


def test_remarks(dest: Path) -> None:
    """An interrupted run that can be taken up, and one that is under way, are no faults."""
    layout = Layout(dest)
    layout.staging.mkdir()
    verification = verify_dataset(dest)
    assert verification.whole and "can be taken up" in verification.remarks[0]
    for gone in (owner(started=1.0), "{}"):
        layout.lock.write_text(gone)
        verification = verify_dataset(dest)
        assert verification.whole and "is gone; the next run takes it over" in verification.remarks[0]
    layout.next.mkdir()
    for holder, text in ((owner(), f"process {os.getpid()} on "), (owner(host="far-away"), "if that is gone, remove")):
        layout.lock.write_text(holder)
        verification = verify_dataset(dest)
        assert verification.whole and text in verification.remarks[0] and len(verification.remarks) == 1


def test_a_run_that_publishes_meanwhile(dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of a version that was replaced while it was looked at are none."""
    check_rows, source = verify.check_rows, dest.parent / "more"
    write(source / "x", "1.9.77", 77)

    def publish_once(*arguments: Any) -> None:
        if not (dest / "done").exists():
            (dest / "done").touch()
            extract(source, dest)
            arguments[-1].add("rows", "x", "is gone", "try again")
        check_rows(*arguments)

    monkeypatch.setattr(verify, "check_rows", publish_once)
    verification = verify_dataset(dest)
    assert verification.whole and verification.version == 3


# ---- parts -------------------------------------------------------------------------------------------------------------


def first_part(layout: Layout, table: str = "instances") -> Path:
    """The largest part."""
    return max(layout.parts(table), key=lambda part: part.stat().st_size)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def flip_page(layout: Layout) -> None:
    """A byte of the values of a data page."""
    path = first_part(layout)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    flip(path, chunk.data_page_offset + chunk.total_compressed_size - 3)


def swap(layout: Layout) -> None:
    one, other = layout.parts("instances")
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def become_folder(layout: Layout) -> None:
    path = first_part(layout)
    path.unlink()
    path.mkdir()


PARTS: dict[str, tuple[Damage, dict[str, str]]] = {
    "flipped": (flip_page, {"digests": "not those that were published", "pages": "row group 0: a page does not match"}),
    "truncated": (
        lambda at: os.truncate(first_part(at), 600),
        {"digests": "is damaged", "schema": "is damaged"},
    ),
    "empty": (lambda at: os.truncate(first_part(at, "files"), 0), {"digests": "is damaged", "schema": "is damaged"}),
    "longer": (
        lambda at: first_part(at).write_bytes(b"PAR1    " + first_part(at).read_bytes()),
        {"digests": " bytes; ", "pages": "damaged"},
    ),
    "deleted": (lambda at: first_part(at).unlink(), {"parts": "is not there"}),
    "folder": (become_folder, {"parts": "is not there"}),
    "table-gone": (lambda at: shutil.rmtree(at.table("conflicts")), {"parts": "conflicts: cannot be listed"}),
    "orphan": (
        lambda at: shutil.copy(first_part(at), at.table("instances") / "x.parquet"),
        {"parts": "readers take it"},
    ),
    "stranger": (lambda at: (at.table("files") / "notes.txt").touch(), {"parts": "files/notes.txt: is no part"}),
    "temporary": (
        lambda at: (at.table("files") / ".a.parquet.0.tmp").touch(),
        {"parts": ".a.parquet.0.tmp: is no part"},
    ),
    "swapped": (swap, {"digests": " rows; "}),
}


def edit_snapshot(layout: Layout, table: str, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    description = json.loads(layout.description.read_text())
    description["tables"][table] = edit(description["tables"][table])
    layout.description.write_text(json.dumps(description))


@pytest.mark.parametrize("name", PARTS)
def test_damage_of_parts(dest: Path, name: str) -> None:
    """Each is named by its check; rows are compared only where all of them can be read."""
    damage, expected = PARTS[name]
    damage(Layout(dest))
    found = find_faults(dest)
    for check, text in expected.items():
        assert any(text in fault for fault in found[check]), found
    assert set(found) <= {*expected, "digests"}
    not_made = [check.name for check in verify_dataset(dest).checks if check.not_made]
    all_there = name in ("orphan", "stranger", "temporary", "swapped")
    assert not_made == ([] if all_there else list(_ROW_CHECKS))


@pytest.mark.parametrize("seed", range(24))
def test_any_byte(dest: Path, seed: int) -> None:
    """Whatever byte of whatever file changed: it is found, and nothing is raised."""
    chance = random.Random(seed)
    path = chance.choice([part for table in TABLES for part in Layout(dest).parts(table)])
    flip(path, chance.randrange(path.stat().st_size))
    assert "digests" in find_faults(dest)


# ---- tables whose parts are as recorded, but not right -----------------------------------------------------------------


def rewrite(dest: Path, table: str, edit: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    """Write the first part of a table anew, and record it as it is then."""
    layout = Layout(dest)
    path = first_part(layout, table)
    rows = edit(pq.read_table(path))
    write_data_file(rows, rows.schema, table, dest, path.name, DatasetConfig(**options))
    edit_snapshot(layout, table, lambda parts: {**parts, path.name: list(describe_part(path))})


def put(rows: pa.Table, at: int, **values: Any) -> pa.Table:
    """With other values in a row."""
    found = rows.to_pylist()
    found[at] = {**found[at], **values}
    return pa.Table.from_pylist(found, rows.schema)


def entry(**values: Any) -> Callable[[pa.Table], pa.Table]:
    """Ledger rows with other values at the file ``name``."""
    name = values.pop("name")

    def edit(rows: pa.Table) -> pa.Table:
        at = next(at for at, uri in enumerate(rows["uri"].to_pylist()) if uri.endswith(f"/{name}"))
        return put(rows, at, **values)

    return edit


def without(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.filter(
        pc.invert(pc.ends_with(rows[0 if "uri" in rows.column_names else "source_uri"], f"/{name}"))
    )


def retype(rows: pa.Table) -> pa.Table:
    at = rows.schema.get_field_index("InstanceNumber")
    return rows.set_column(at, rows.schema.field(at).with_type(pa.float64()), rows["InstanceNumber"].cast(pa.float64()))


def make_nullable(rows: pa.Table) -> pa.Table:
    return rows.cast(rows.schema.set(0, rows.schema.field(0).with_nullable(True)))


def rename(rows: pa.Table) -> pa.Table:
    return rows.rename_columns(["Modality2" if name == "Modality" else name for name in rows.column_names])


def repeat(rows: pa.Table) -> pa.Table:
    """One more row, in its place, with the key of another."""
    return put(pa.concat_tables([rows.slice(0, 1), rows]), 0, SOPInstanceUID="1.9.40")


ROWS: dict[str, tuple[str, Callable[[pa.Table], pa.Table], dict[str, str]]] = {
    "type": ("instances", retype, {"schema": "its columns are not those of the dataset"}),
    "name": ("instances", rename, {"schema": "its columns are not those of the dataset"}),
    "nullable": ("instances", make_nullable, {"schema": "is not the first column, or may be null"}),
    "ledger-nullable": ("files", lambda rows: make_nullable(rows), {"schema": "not typed as those of other parts"}),
    "conflicts-type": ("conflicts", retype, {"schema": "its columns are not those of the dataset"}),
    "ledger-type": ("files", lambda rows: rows.drop_columns("reader"), {"schema": "not those of the dataset"}),
    "unsorted": ("instances", lambda rows: rows.take(pa.array([1, 0, *range(2, len(rows))])), {"order": "row 2 should"}),
    "nulls-first": ("instances", lambda rows: put(rows, 3, InstanceNumber=None), {"order": "row 5 should"}),
    "key-twice": ("instances", repeat, {"key": "00: has the SOP Instance UID of another row", "accounting": "42 rows", "rollups": "series: 1 rows"}),
    "row-lost": ("instances", lambda rows: rows.slice(1), {"rows": "00: should have a row in instances", "accounting": "", "rollups": "patients: 1 rows"}),
    "row-twice": ("instances", lambda rows: pa.concat_tables([rows.slice(0, 1), rows]), {"rows": "has several rows", "key": "", "rollups": "studies: 1 rows"}),
    "row-of-nobody": ("files", without("02"), {"rows": "02: has a row in instances, but", "accounting": "instances: "}),
    "conflict-of-nobody": ("files", without("other"), {"rows": "other: has a row in conflicts, but", "accounting": ""}),
    "conflict-lost": ("conflicts", lambda rows: rows.slice(0, 0), {"rows": "should have a row in conflicts", "accounting": ""}),
    "digest": ("files", entry(name="02", header_digest="0"), {"rows": "02: its row in instances and its ledger row differ in header_digest"}),
    "key": ("files", entry(name="02", SOPInstanceUID="1.8"), {"rows": "differ in SOPInstanceUID"}),
    "version": ("files", entry(name="02", size=1, mtime=None), {"rows": "differ in size, mtime"}),
    "status": ("files", entry(name="02", status="partial"), {"rows": "differ in status"}),
    "conflict-partial": ("files", entry(name="other", offset=7), {"rows": "row in conflicts and its ledger row differ in status"}),
    "status-none": ("files", entry(name="text", status="lost"), {"ledger": "has a status that is none"}),
    "code-none": ("files", entry(name="text", code="lost"), {"ledger": "has a code that is none"}),
    "code-missing": ("files", entry(name="copy", code=None), {"ledger": "duplicate, but its code says otherwise"}),
    "code-wrong": ("files", entry(name="02", code="other_header"), {"ledger": "ok, but its code says otherwise"}),
    "no-key": ("files", entry(name="copy", SOPInstanceUID=None), {"ledger": "duplicate, but has no SOP Instance UID"}),
    "entry-twice": ("files", lambda rows: pa.concat_tables([rows, without("02")(rows).slice(2, 1)]), {"ledger": "more than one ledger row"}),
    "copy-of-nobody": ("files", entry(name="copy", SOPInstanceUID="1.7"), {"winners": "duplicate of an instance that no file has"}),
    "wrong-winner": ("files", entry(name="copy", mtime=pa.scalar(2**51, pa.timestamp("us")).as_py()), {"winners": "copy: duplicate, but should have won"}),
    "no-copy": ("files", entry(name="copy", header_digest="0"), {"winners": "duplicate, but its header says otherwise"}),
    "series-count": ("series", lambda rows: put(rows, 0, instanceCount=1), {"rollups": "series: 1 rows that do not count"}),
    "series-size": ("series", lambda rows: put(rows, 0, source_size=1), {"rollups": "series: 1 rows that do not count"}),
    "study-lost": ("studies", lambda rows: rows.slice(1), {"rollups": "studies: 1 rows that do not count"}),
    "patient-twice": ("patients", lambda rows: pa.concat_tables([rows, rows]), {"rollups": "patients: 1 rows that do not count"}),
    "patient-of-nobody": ("patients", lambda rows: put(rows, 0, PatientID="1.9.x"), {"rollups": "patients: 2 rows that do not"}),
    "patient-studies": ("patients", lambda rows: put(rows, 0, study_count=9), {"rollups": "patients: 1 rows that do not"}),
    "rollup-type": ("studies", lambda rows: rows.drop_columns("conflicts"), {"schema": "not those of the dataset"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_are_not_as_promised(dest: Path, name: str) -> None:
    """Each is named by its check, and the file is; what is recorded of parts is as it should be."""
    table, edit, expected = ROWS[name]
    rewrite(dest, table, edit)
    found = find_faults(dest)
    for check, text in expected.items():
        assert any(text in fault for fault in found.get(check, [])), found
    implied = (
        {"rows", "accounting", "winners"} if name in ("key-twice", "row-twice", "entry-twice", "no-key") else set()
    )
    assert set(found) <= set(expected) | implied
    assert "1.9." not in json.dumps(found), "no fault quotes a value"


def test_a_winner_whose_row_belongs_to_another(dest: Path) -> None:
    """Ledger and rows agree, but the wrong file won: a copy with a newer time."""
    rewrite(dest, "files", lambda rows: entry(name="03", status="duplicate", code="same_header")(
        entry(name="copy", status="ok", code=None)(rows)))  # fmt: skip
    assert "03: duplicate, but should have won" in find_faults(dest)["winners"][0]


def test_conflict_with_the_same_header(dest: Path) -> None:
    """A conflict whose digest is that of the winner is none."""
    digest = next(
        row["header_digest"] for row in pq.read_table(dest / "files").to_pylist() if row["uri"].endswith("/04")
    )
    rewrite(dest, "files", entry(name="other", header_digest=digest))
    found = find_faults(dest)
    assert "other: conflict, but its header says otherwise" in found["winners"][0] and set(found) == {"winners", "rows"}


def test_a_key_that_its_filter_does_not_hold(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Bloom filter that denies a key, and a row that is not found."""
    monkeypatch.setattr(KeyFilter, "ask", lambda self, path: [])
    assert "is not in its Bloom filter" in find_faults(dest)["lookup"][0]
    monkeypatch.setattr(KeyFilter, "ask", lambda self, path: [0])
    monkeypatch.setattr("dicomflow.dataset.check_pages.find_row", lambda parts, schema, uid: None)
    assert "is not found by its key" in find_faults(dest)["lookup"][0]


def test_filters_that_cannot_be_read(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system refuses is a fault of the lookup."""

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(KeyFilter, "ask", refuse)
    assert "Permission denied" in find_faults(dest)["lookup"][0]


def test_many_row_groups_and_batches(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is followed over the borders of batches and row groups."""
    monkeypatch.setattr("dicomflow.dataset.check_pages._BATCH_ROWS", 4)
    rewrite(dest, "instances", lambda rows: rows)
    assert_whole(dest)
    rewrite(dest, "instances", lambda rows: rows.take(pa.array([*range(8), 9, 8, *range(10, len(rows))])))
    assert "row 10 should stand before" in find_faults(dest)["order"][0]


def test_faults_are_bounded_and_counted(dest: Path) -> None:
    """Of many faults the first are kept."""
    rewrite(dest, "files", lambda rows: rows.set_column(10, "header_digest", pa.array(["0"] * len(rows))))
    verification = verify_dataset(dest)
    check = next(check for check in verification.checks if check.name == "rows")
    assert len(check.faults) == len(verification.to_dict()["checks"][13]["faults"]) == MAX_FAULTS
    assert check.fault_count > MAX_FAULTS


def test_an_engine_that_gives_up(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot be made is said not to be made, and the dataset is not called whole."""
    monkeypatch.setattr("dicomflow.dataset.check_rows._KEYS", "select uri from nowhere")
    outcome = verify_dataset(dest)
    (check,) = [check for check in outcome.checks if check.not_made]
    assert check.name == "key" and check.not_made == "DuckDB: CatalogException" and not outcome.whole


def test_no_row_check_can_be_made(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB does not open a part that Arrow reads, or there is no folder for what does not fit into memory."""
    monkeypatch.setattr("dicomflow.dataset.check_rows._NAMES", "from nowhere")
    assert {check.not_made for check in verify_dataset(dest).checks[10:]} == {None, "DuckDB: CatalogException"}
    monkeypatch.setattr("tempfile.tempdir", str(dest / "nowhere"))
    reason = "no folder for temporary files: No such file or directory"
    assert [check.name for check in verify_dataset(dest).checks if check.not_made == reason] == list(_ROW_CHECKS)


_ROW_CHECKS = ("key", "ledger", "accounting", "rows", "winners", "rollups")


@pytest.mark.parametrize("name", ["a[1]b*?", "status=ok", "it's", "ü {x}"])
def test_hostile_names_of_the_destination(original: Path, tmp_path: Path, name: str) -> None:
    """A folder whose name looks like a pattern or a Hive partition is a folder like any other."""
    assert_whole(shutil.copytree(original, tmp_path / name))


@pytest.fixture(autouse=True)
def _no_temporary_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left where DuckDB may spill."""
    folder = tmp_path_factory.mktemp("spill")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
