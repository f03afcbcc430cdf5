"""Many small parts become few large ones; not a row more or less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.config import DatasetConfig
from dicomflow.dataset import compact as module
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.compact import compact_if_needed, group_parts, merge_parts
from dicomflow.dataset.layout import BASE_TABLES, TABLES
from dicomflow.dataset.snapshot import PartInfo
from dicomflow.query import open_dataset
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import load_profile

from .archive import Archive, Row, entry, fill_rows
from .conftest import describe_schema

RUN = {"run_id": "run900", "dicomflow": "0", "started": "2024-05-02T12:00:00+00:00"}


def image(number: int, **more: Any) -> Row:
    """A file with what rows are sorted by, in an order of its own."""
    about = {"StudyInstanceUID": f"9.{number % 3}", "SeriesInstanceUID": f"9.{number % 2}", "InstanceNumber": -number}
    return entry(f"/f{number:03}", f"1.{number}", **{**about, "PatientID": f"P{number}", "Modality": "CT", **more})


def grow(archive: Archive, *, runs: int = 3, tasks: int = 4) -> None:
    """Several runs of several tasks, with copies and conflicts, and a file that went."""
    for run in range(runs):
        archive.put(*(image(number) for number in range(run * 10, run * 10 + 10)))
        archive.put(
            image(100 + run, SOPInstanceUID="1.1", header_digest=f"h{run}"), image(200 + run, SOPInstanceUID="1.2")
        )
        archive.run(tasks=tasks)
    archive.drop("/f003")
    archive.run()


def order(rows: list[Row], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return [tuple((row[name] is None, row[name]) for name in names) for row in rows]


def test_same_rows_before_and_after(archive: Archive) -> None:
    """Rows, ledger and conflicts are what they were, each table in one part; the version is one more."""
    grow(archive)
    before, version = archive.tables(), open_dataset(archive.layout.root).version
    assert all(len(archive.layout.parts(table)) > 2 for table in BASE_TABLES)
    assert archive.compact()
    assert archive.tables() == before and archive.outcome() == archive.expected()
    assert [len(archive.layout.parts(table)) for table in TABLES] == [1] * 6
    dataset = open_dataset(archive.layout.root)
    assert dataset.version == version + 1 and dataset.instances.count_rows() == len(before["instances"])


def test_rows_are_sorted(archive: Archive) -> None:
    """Instances and conflicts by study, series and number, the ledger by name; what has no value comes last."""
    archive.put(image(50, StudyInstanceUID=None), image(51, InstanceNumber=None))
    grow(archive)
    archive.compact()
    names = ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber")
    for table, keys in (("instances", names), ("conflicts", names), ("files", ("uri", "member"))):
        (part,) = archive.layout.parts(table)
        found = order(pq.read_table(part).to_pylist(), keys)
        assert len(found) > 2 and found == sorted(found)


def test_schema_and_physical_layout(archive: Archive, instances: pa.Schema, files: pa.Schema) -> None:
    """A merged part is written like all others: schema, metadata, page index, checksums."""
    grow(archive)
    archive.compact()
    for table, schema in (("instances", instances), ("conflicts", instances), ("files", files)):
        (part,) = archive.layout.parts(table)
        assert describe_schema(pq.read_schema(part)) == describe_schema(schema)
        column = pq.read_metadata(part).row_group(0).column(0)
        assert column.compression == "ZSTD" and column.has_column_index
        assert pq.read_table(part, page_checksum_verification=True).num_rows


def test_the_dataset_grows_on(archive: Archive) -> None:
    """After it, runs compare, promote and remove as before; nothing is read again because of it."""
    grow(archive)
    archive.compact()
    assert not archive.run() and archive.read == []
    archive.drop("/f001", "/f102")
    archive.put(image(300), image(4, size=9))
    assert archive.run() and archive.outcome() == archive.expected()
    assert archive.compact() and archive.outcome() == archive.expected()


def test_nothing_to_merge(archive: Archive) -> None:
    """A dataset of single parts stays as it is, to the byte."""
    archive.put(image(1), image(2))
    archive.run()
    before = {path: path.read_bytes() for path in archive.layout.root.rglob("*") if path.is_file()}
    assert not archive.compact()
    assert {path: path.read_bytes() for path in archive.layout.root.rglob("*") if path.is_file()} == before


def test_only_tables_with_small_parts_change(archive: Archive) -> None:
    """A table that has nothing to merge keeps its part."""
    for number in range(3):
        archive.put(image(number))
        archive.run()
    (conflicts,) = archive.layout.parts("conflicts")
    before = conflicts.stat().st_ino
    assert archive.compact() and conflicts.stat().st_ino == before
    assert len(archive.layout.parts("instances")) == len(archive.layout.parts("files")) == 1


def test_progress_and_record(archive: Archive) -> None:
    """Who watches sees each table's rows; the record says what kind of run it was."""
    grow(archive)
    said: list[tuple[str, int]] = []
    archive.compact(lambda table, rows: said.append((table, rows)))
    assert said[:3] == [(table, len(archive.tables()[table])) for table in BASE_TABLES]
    assert '"mode": "compact"' in archive.layout.run_record(f"run{archive.runs:03}").read_text()


@pytest.mark.parametrize("above", [2, 100])
def test_by_itself_above_a_threshold(tmp_path: Path, instances: pa.Schema, above: int) -> None:
    """It is done where there are more small parts than the settings allow."""
    archive = Archive(tmp_path / "d", instances, config=DatasetConfig(compact_above=above))
    grow(archive)
    with archive.writing() as transaction:
        assert compact_if_needed(transaction, RUN) is (above == 2)
    assert archive.outcome() == archive.expected()
    assert (len(archive.layout.parts("files")) == 1) is (above == 2)


def test_large_parts_stay(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of many rows are neither read nor written."""
    monkeypatch.setattr(module, "MAX_ROWS", 20)
    archive.put(*(image(number) for number in range(12)))
    archive.run()
    (large,) = archive.layout.parts("instances")
    before = large.stat().st_ino
    for number in (20, 21):
        archive.put(image(number))
        archive.run()
    assert archive.compact() and archive.outcome() == archive.expected()
    assert large.stat().st_ino == before and len(archive.layout.parts("instances")) == 2


@pytest.mark.parametrize("columns", ["[PatientID]", "[InstanceNumber, Modality]", "[SeriesInstanceUID]"])
def test_columns_of_ones_own(tmp_path: Path, columns: str) -> None:
    """A profile without the columns that rows are sorted by is compacted, too."""
    (tmp_path / "own.yaml").write_text(f"profile: own\ncolumns: {columns}\n")
    schema = instances_schema(load_profile(str(tmp_path / "own.yaml")))
    rows = [{**image(number), "source_uri": f"/{number}", "source_size": 1} for number in (3, 1, 2)]
    for row in rows:
        pq.write_table(fill_rows(schema, [row]), tmp_path / f"{row['SOPInstanceUID']}.parquet")
    merged = merge_parts(sorted(tmp_path.glob("*.parquet")), "instances", schema)
    assert sorted(merged["SOPInstanceUID"].to_pylist()) == ["1.1", "1.2", "1.3"]
    if "InstanceNumber" in columns:
        assert merged["InstanceNumber"].to_pylist() == [-3, -2, -1]


def test_after_a_full_run(archive: Archive) -> None:
    """Small parts of a run that read everything merge as others do."""
    grow(archive)
    archive.run(Mode.FULL, tasks=5)
    assert archive.compact() and archive.outcome() == archive.expected()


PARTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.builds(PartInfo, st.integers(0, 400_000), st.integers(0, 2000), st.just("")),
    max_size=12,
)


@given(parts=PARTS, target=st.integers(4, 3000))
def test_groups(parts: dict[str, PartInfo], target: int) -> None:
    """A group has two small parts at least and none too many; nobody is in two; all come by name."""
    groups = list(group_parts(parts, target))
    names = [name for group in groups for name in group]
    assert names == sorted(names) and len(set(names)) == len(names) and set(names) <= set(parts)
    for group in groups:
        assert len(group) > 1
        assert sum(parts[name].bytes for name in group) <= target
        assert sum(parts[name].rows for name in group) <= module.MAX_ROWS
        assert all(parts[name].bytes < target // 4 and parts[name].rows < module.MAX_ROWS // 2 for name in group)
    small = [name for name in parts if parts[name].bytes < target // 4 and parts[name].rows < module.MAX_ROWS // 2]
    assert groups or len(small) < 2 or any(
        parts[one].bytes + parts[other].bytes > target or parts[one].rows + parts[other].rows > module.MAX_ROWS
        for one in small
        for other in small
    )  # fmt: skip
