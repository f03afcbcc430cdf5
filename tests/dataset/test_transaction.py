"""One run's changes: completed, checked, published or only recorded."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset import commit
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.findings import Findings
from dicomflow.dataset.layout import BASE_TABLES, TABLES
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.rows import Rows
from dicomflow.dataset.snapshot import read_snapshot
from dicomflow.dataset.transaction import Transaction
from dicomflow.errors import CommitFailed, DatasetError
from dicomflow.schema.arrow import instances_schema, schema_fingerprint
from dicomflow.schema.profile import load_profile

from .archive import NOON, Archive, entry, stage_task


def find_nothing(archive: Archive) -> Findings:
    """What a run over nothing finds."""
    return Findings.none(archive.layout.spill, 1 << 30)


@pytest.fixture
def grown(archive: Archive) -> Archive:
    """Two files with one key, one with another, one that failed."""
    archive.put(
        entry("/s/a"), entry("/s/b", header_digest="b"), entry("/s/c", "3"), entry("/s/f", None, status="failed")
    )
    archive.run(sources=["/s"])
    return archive


# ---- beginning -------------------------------------------------------------------------------------------------------


def test_a_dataset_that_is_not_there_yet(archive: Archive) -> None:
    """Nothing is known, nothing is old, and what is published is version 0."""
    archive.layout.private.mkdir(parents=True)
    with write_lock(archive.layout) as lock:
        transaction = Transaction(archive.layout, archive.instances, DatasetConfig(), lock)
        transaction.check(Mode.INCREMENT, "minimal")
        assert (transaction.before, transaction.version, transaction.has_columns) == (None, 0, True)
        assert transaction.old_parts("files") == []
        with pytest.raises(DatasetError, match="no dicomflow dataset here"):
            transaction.check(Mode.COLUMNS, "minimal")
    with pytest.raises(DatasetError, match="no dicomflow dataset here"), archive.writing():
        pytest.fail("no dataset")


def test_what_a_killed_run_left(grown: Archive) -> None:
    """Tables that were being prepared and what was spilled go; what tasks had staged stays."""
    for folder in (grown.layout.next / "files", grown.layout.spill, grown.layout.staging / "files"):
        folder.mkdir(parents=True)
        (folder / "x.parquet").write_bytes(b"x")
    with grown.writing() as transaction:
        assert [path.name for path in transaction.staging.ledgers()] == ["x.parquet"]
    assert not grown.layout.next.exists() and not grown.layout.spill.exists()


def test_a_commit_under_way_is_completed_first(grown: Archive) -> None:
    """Whoever writes next sees the newest version."""
    grown.put(entry("/s/d", "4"))
    with patch.object(commit, "redo", lambda _: False):
        grown.run(sources=["/s"])
    assert grown.layout.commit_record.exists()
    with grown.writing() as transaction:
        assert transaction.version == 2 and not grown.layout.commit_record.exists()
    assert grown.outcome() == grown.expected()


def test_columns_of_the_dataset(grown: Archive) -> None:
    """A run that keeps the columns has the very schema of the parts, by its fingerprint, too."""
    with grown.writing() as transaction:
        assert transaction.fingerprint == schema_fingerprint(grown.instances) and transaction.profile == "minimal"
        assert transaction.has_columns


@pytest.mark.parametrize(
    ("mode", "refused"), [(Mode.INCREMENT, True), (Mode.RETRY, True), (Mode.FULL, False), (Mode.COLUMNS, False)]
)
def test_other_columns(grown: Archive, mode: Mode, refused: bool) -> None:
    """They must be asked for; the message says how."""
    with write_lock(grown.layout) as lock:
        transaction = Transaction(grown.layout, instances_schema(load_profile("standard")), DatasetConfig(), lock)
        assert not transaction.has_columns
        said = pytest.raises(DatasetError, match="add-columns .* --columns standard` .*`extract --full`")
        with said if refused else contextlib.nullcontext():
            transaction.check(mode, "standard")


@pytest.mark.parametrize("table", BASE_TABLES)
def test_a_part_that_is_gone(grown: Archive, table: str) -> None:
    """Before anything is read it is said which part is missing."""
    with grown.writing() as transaction:
        part = transaction.old_parts(table)[0]
        part.unlink()
        with pytest.raises(DatasetError, match=f"{part.name}: is gone; restore it"):
            transaction.check(Mode.INCREMENT, "minimal")


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_every_file_needs_its_ledger_row(grown: Archive) -> None:
    """Too few or too many staged rows publish nothing."""
    with grown.writing() as transaction:
        stage_task(grown.layout.staging, "t", [entry("/s/x", "9"), entry("/s/y", "8")], grown.instances)
        transaction.staging.keep_only(transaction.staging.ledgers())
        stage_task(grown.layout.staging, "late", [entry("/s/z", "7")], grown.instances)
        transaction.check_staged(2)
        for expected in (1, 3):
            with pytest.raises(CommitFailed, match=f"{expected} files were to be read, but the ledger has 2 of them"):
                transaction.check_staged(expected)


def test_a_first_run_over_nothing_is_published(archive: Archive) -> None:
    """An empty dataset is one that readers can open."""
    assert archive.run() and archive.tables() == {table: {} for table in BASE_TABLES}
    assert not archive.run()


def test_nothing_to_publish_is_recorded(grown: Archive) -> None:
    """The dataset stays as it is; staging goes; the record says that somebody looked, at which version."""
    description = grown.layout.description.read_bytes()
    assert not grown.run(sources=["/s"])
    assert grown.layout.description.read_bytes() == description and not grown.layout.staging.exists()
    assert json.loads(grown.layout.run_record("run002").read_text())["version"] == 1


def test_versions_and_sources(grown: Archive) -> None:
    """Each version is one more; SOURCEs add up, and one that holds others takes their place."""
    grown.put(entry("/t/x", "9"))
    grown.run(sources=["/t"])
    snapshot = read_snapshot(grown.layout, "2")
    assert snapshot is not None and (snapshot.version, snapshot.sources, snapshot.last_run) == (
        2,
        ["/t", "/s"],
        "run002",
    )
    grown.put(entry("/u", "10"))
    grown.run(sources=["/"])
    snapshot = read_snapshot(grown.layout, "2")
    assert snapshot is not None and (snapshot.version, snapshot.sources) == (3, ["/"])
    assert json.loads(grown.layout.run_record("run003").read_text())["version"] == 3


def test_the_snapshot_describes_the_parts(grown: Archive) -> None:
    """Rows and bytes of each part are what they are; the snapshot in hand is the one on the disk."""
    snapshot = read_snapshot(grown.layout, "2")
    assert snapshot == grown.snapshot and snapshot is not None
    for table in TABLES:
        assert {part.name: part.stat().st_size for part in grown.layout.parts(table)} == {
            name: part.bytes for name, part in snapshot.tables[table].items()
        }
        assert snapshot.rows(table) == len(pq.read_table(grown.layout.table(table), partitioning=None))


def test_removed_files_were_last_seen_by_the_run_before(grown: Archive) -> None:
    """The ledger keeps them with the time of the last run that listed them."""
    grown.run(sources=["/s"])
    grown.drop("/s/c")
    grown.run(sources=["/s"])
    gone, kept = (grown.tables()["files"][f"/s/{name}", None] for name in "ca")
    assert (gone["status"], gone["last_seen"]) == ("removed", NOON + timedelta(hours=2))
    assert (kept["status"], kept["last_seen"]) == ("ok", NOON + timedelta(hours=1))


def test_a_commit_that_fails_changes_nothing(grown: Archive) -> None:
    """The same run can be tried again, and has nothing to read again."""
    before = grown.tables()
    grown.put(entry("/s/d", "4"), entry("/s/a", size=8))

    def fail(*_: object, **__: object) -> None:
        raise DatasetError("x: cannot be written: No space left on device")

    with (
        patch.object(commit, "write_json", fail),
        pytest.raises(CommitFailed, match="nothing was published; run again"),
    ):
        grown.run(sources=["/s"])
    assert grown.tables() == before
    assert grown.run(sources=["/s"]) and grown.outcome() == grown.expected()
    assert grown.read == [("/s/f", None)]


def test_files_that_must_be_read_again_are_replaced(grown: Archive) -> None:
    """They are added to what is replaced, and nothing else changes."""
    findings = find_nothing(grown)
    unread = pa.table({"uri": ["/s/a"], "member": pa.array([None], pa.string()), "size": [1]})
    findings.read_again(Rows.of(unread))
    assert findings.replaced.whole().to_pylist() == [{"uri": "/s/a", "member": None}]
    assert findings.removed.num_rows == findings.settled.num_rows == findings.listed == 0
