"""Rollups of a dataset that grows: after each run they are those of its rows, and what was not touched stays."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.config import DatasetConfig
from dicomflow.dataset import rollups as module
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.layout import ROLLUPS, Layout
from dicomflow.dataset.spill import Buckets, hash_texts
from dicomflow.dataset.touched import Touched
from dicomflow.errors import DatasetError
from dicomflow.schema.rollup import KEYS, rollup_schema
from tests.rollup.independent import compute

from .archive import Archive, entry

Rollup = dict[Any, dict[str, Any]]


def image(name: str, **more: Any) -> dict[str, Any]:
    """A file whose key is its name, of series 1, study 1, patient 1 unless said otherwise."""
    uid = f"2.{sum(map(ord, name))}.{int.from_bytes(name.encode(), 'big')}"
    known = {"SeriesInstanceUID": "s1", "StudyInstanceUID": "t1", "PatientID": "p1", "Modality": "CT", "Rows": 4}
    return entry(f"/{name}", uid, **{**known, "source_size": 7, "header_digest": name, **more})


def read(layout: Layout, table: str) -> Rollup:
    """A rollup as a plain reader finds it."""
    rows = pq.read_table(layout.table(table), partitioning=None).to_pylist()
    found = {row[KEYS[table]]: row for row in rows}
    assert len(found) == len(rows), "each key once"
    return found


def assert_in_step(layout: Layout) -> None:
    """Each rollup says what the rows of instances say."""
    rows = pq.read_table(layout.table("instances"), partitioning=None).to_pylist()
    for table in ROLLUPS:
        found, expected = read(layout, table), compute(rows, table) if rows else {}
        assert {*found} == {*expected}, table
        for key, row in expected.items():
            assert {name: found[key][name] for name in row} == row, (table, key)


@pytest.mark.parametrize("seed", range(3))
def test_in_step_after_each_run(tmp_path: Path, instances: pa.Schema, seed: int) -> None:
    """Files of few series, studies and patients come, change sides, lose, win and go; parts are merged."""
    archive, chance = Archive(tmp_path / "dest", instances), random.Random(seed)
    archive.put(image("first"))
    archive.run()
    for step in range(8):
        for _ in range(chance.randrange(1, 4)):
            _change(archive, chance, step)
        archive.run(tasks=2)
        if step == 6:
            archive.compact()
        assert_in_step(archive.layout)
    assert dicomflow.verify_dataset(archive.layout.root).checks[-1].fault_count == 0


def _change(archive: Archive, chance: random.Random, step: int) -> None:
    name, other = (f"f{chance.randrange(12)}" for _ in range(2))
    if chance.random() < 0.3:
        archive.drop(f"/{name}")
        return
    own = {
        "SeriesInstanceUID": chance.choice(["s1", "s2", "s3", None]),
        "StudyInstanceUID": chance.choice(["t1", "t2"]),
        "PatientID": chance.choice(["p1", "p2", None]),
        "StationName": chance.choice(["A", "A", "B"]),
        "size": step + 100,
        "source_size": step + 100,
        "header_digest": f"{name}{step}",
    }
    row = image(name, **own)
    if chance.random() < 0.3:  # a conflict with another file
        row["SOPInstanceUID"] = image(other)["SOPInstanceUID"]
    archive.put(row)


def inodes(layout: Layout) -> dict[str, int]:
    return {f"{table}/{part.name}": part.stat().st_ino for table in ROLLUPS for part in layout.parts(table)}


def grow(archive: Archive, patients: int = 4) -> None:
    """Patients with a study of a series of two."""
    for number in range(patients):
        own = {"SeriesInstanceUID": f"s{number}", "StudyInstanceUID": f"t{number}", "PatientID": f"p{number}"}
        archive.put(image(f"a{number}", **own), image(f"b{number}", **own))
    archive.run()


def test_an_unchanged_run_writes_nothing(archive: Archive) -> None:
    """Neither rollups nor a version."""
    grow(archive)
    before = inodes(archive.layout)
    assert not archive.run() and inodes(archive.layout) == before


def test_a_new_patient_adds_a_part(archive: Archive) -> None:
    """What is there already is not written again."""
    grow(archive)
    before = inodes(archive.layout)
    archive.put(image("new", SeriesInstanceUID="s9", StudyInstanceUID="t9", PatientID="p9"))
    archive.run()
    after = inodes(archive.layout)
    assert before.items() <= after.items() and len(after) == len(before) + 3
    assert_in_step(archive.layout)


def test_only_what_is_touched_is_read(archive: Archive) -> None:
    """A series of a known study: its patient's rows are read, those of others are not."""
    grow(archive)
    archive.put(image("more", SeriesInstanceUID="s9", StudyInstanceUID="t2", PatientID="p2"))
    seen: list[int] = []
    real = module.measure
    with patch.object(module, "measure", lambda rows: seen.append(rows.num_rows) or real(rows)):
        archive.run()
    assert sum(seen) == 3
    assert_in_step(archive.layout)
    assert read(archive.layout, "studies")["t2"]["series_count"] == 2


def test_the_last_file_of_a_series_goes(archive: Archive) -> None:
    """Its rows go from all three; in the end each table is empty, with its schema."""
    grow(archive)
    archive.drop("/a0", "/b0")
    archive.run()
    assert_in_step(archive.layout)
    assert {len(read(archive.layout, table)) for table in ROLLUPS} == {3}
    archive.drop(*(f"/{kind}{number}" for kind in "ab" for number in range(1, 4)))
    archive.run()
    for table in ROLLUPS:
        (part,) = archive.layout.parts(table)
        assert pq.read_table(part).num_rows == 0 and pq.read_schema(part).equals(rollup_schema(table))


def test_a_change_that_touches_no_row_keeps_them(archive: Archive) -> None:
    """A file that is no DICOM, a copy: the ledger changes, rows do not."""
    grow(archive)
    before = inodes(archive.layout)
    archive.put(entry("/text", None, status="not_dicom", code=None))
    assert archive.run() and inodes(archive.layout) == before


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.INCREMENT])
def test_partitions(tmp_path: Path, instances: pa.Schema, mode: Mode) -> None:
    """Parts of instances in folders are read like others."""
    config = DatasetConfig(partition_by=("Modality",))
    archive = Archive(tmp_path / "dest", instances, config=config)
    grow(archive)
    archive.put(image("mr", Modality="MR"))
    archive.run(mode)
    assert_in_step(archive.layout)


# ---- datasets of earlier versions, and damaged ones --------------------------------------------------------------------


def strip(layout: Layout) -> None:
    """As a version without rollups would have left it."""
    description = json.loads(layout.description.read_text())
    for table in ROLLUPS:
        shutil.rmtree(layout.table(table))
        del description["tables"][table]
    layout.description.write_text(json.dumps(description))


def test_a_dataset_without_rollups_is_read(archive: Archive) -> None:
    """Rows and SQL are there; what is not there says so."""
    grow(archive)
    strip(archive.layout)
    dataset = dicomflow.open_dataset(archive.layout.root)
    assert dataset.sql("select count(*) as n from instances")["n"].to_pylist() == [8]
    for table in ROLLUPS:
        with pytest.raises(DatasetError, match=f"has no {table} yet; the next `dicomflow extract` makes them"):
            getattr(dataset, table)
    last = dicomflow.verify_dataset(archive.layout.root).checks[-1]
    assert last.not_made == "there are none yet; the next `dicomflow extract` makes them"


def test_the_next_run_makes_them(archive: Archive) -> None:
    """Even if it finds nothing else to do; and so does compacting."""
    grow(archive)
    strip(archive.layout)
    assert archive.run() and not archive.run()
    assert_in_step(archive.layout)
    archive.put(image("x"))
    archive.run()
    strip(archive.layout)
    assert archive.compact()
    assert_in_step(archive.layout)


def test_a_part_that_is_gone_or_damaged_is_made_anew(archive: Archive) -> None:
    """They are made from rows, so nothing is lost."""
    for spoil in (Path.unlink, lambda part: part.write_bytes(b"PAR1")):
        grow(archive)
        (part,) = archive.layout.parts("series")
        spoil(part)
        assert archive.run()
        assert_in_step(archive.layout)


def test_rules_that_changed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollups of another version of the rules are made anew."""
    grow(archive)
    assert not archive.run()
    monkeypatch.setattr("dicomflow.schema.rollup.ROLLUP_VERSION", "next")
    assert archive.run() and not archive.run()
    assert pq.read_schema(archive.layout.parts("series")[0]).metadata[b"dicomflow.rollup"] == b"next"


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_spilled_or_not(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is the same in the end, and leaves nothing behind."""
    monkeypatch.setattr(module, "Buckets", lambda key, folder, most: Buckets(key, folder, 0))
    with patch.object(Buckets, "spill", autospec=True, side_effect=Buckets.spill) as spilled:
        grow(archive, 40)
    assert spilled.call_count >= 3 and not archive.layout.spill.exists()
    assert_in_step(archive.layout)


def test_buckets_keep_keys_together(tmp_path: Path) -> None:
    """All rows come back, those of a key from one bucket, and null is a key."""
    chance = random.Random(1)
    keys = [chance.choice([None, *map(str, range(500))]) for _ in range(4000)]
    records = pa.table({"key": pa.array(keys, pa.string()), "row": pa.array(range(4000))})
    buckets = Buckets(lambda rows: hash_texts(rows["key"]), tmp_path / "spill", 20_000)
    for start in range(0, 4000, 100):
        buckets.add(records.slice(start, 100))
    pieces = list(buckets)
    assert len(pieces) > 10 and sorted(row for piece in pieces for row in piece["row"].to_pylist()) == list(range(4000))
    owners = [set(piece["key"].to_pylist()) for piece in pieces]
    assert sum(map(len, owners)) == len({*keys})


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """One line."""
    (tmp_path / "spill").write_text("in the way")
    buckets = Buckets(lambda rows: hash_texts(rows["key"]), tmp_path / "spill", 0)
    with pytest.raises(DatasetError, match="spill: cannot be written: "):
        buckets.add(pa.table({"key": ["a"]}))


def test_touched_keys() -> None:
    """Each once, however many rows; a column that is not there is null."""
    touched = Touched()
    for number in range(3):
        rows = pa.table(
            {"SeriesInstanceUID": ["a", None, f"b{number}"], "PatientID": pa.array(["p"] * 3).dictionary_encode()}
        )
        touched.add(rows)
    assert touched.rows == 9 and set(touched.keys("series").to_pylist()) == {"a", None, "b0", "b1", "b2"}
    assert touched.keys("studies").to_pylist() == [None] and touched.keys("patients").to_pylist() == ["p"]
    assert len(Touched().keys("series")) == 0
