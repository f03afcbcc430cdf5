"""What the rollups need of a part, measured where it was written."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.dataset import rollups
from dicomflow.dataset.layout import ROLLUPS
from dicomflow.dataset.records import FOLDER, read_records, write_records
from dicomflow.errors import DatasetError
from dicomflow.rollup.measure import measure, usable_columns
from dicomflow.synth import write_studies


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records") / "files"
    write_studies(folder, files=300, seed=3)
    return folder


@pytest.fixture(scope="module")
def rows(source: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    dest = tmp_path_factory.mktemp("records") / "dest"
    dicomflow.extract(source, dest)
    return pa.concat_tables(pq.read_table(part) for part in sorted((dest / "instances").glob("*.parquet")))


def stage(rows: pa.Table, staging: Path) -> Path:
    """A staged part, and its records."""
    part = staging / "instances" / "task-0.parquet"
    part.parent.mkdir(parents=True)
    pq.write_table(rows, part)
    write_records(rows, staging, part.name)
    return part


def test_records_are_what_the_part_gives(rows: pa.Table, tmp_path: Path) -> None:
    records = read_records(stage(rows, tmp_path), tmp_path)
    assert records is not None
    assert records.equals(measure(rows.select(usable_columns(rows.schema))))
    assert pc.sum(records["instanceCount"]).as_py() == rows.num_rows > records.num_rows


def test_text_may_be_in_dictionaries(rows: pa.Table, tmp_path: Path) -> None:
    """As it is when a task writes it."""
    coded = [
        column.dictionary_encode() if pa.types.is_string(field.type) else column
        for field, column in zip(rows.schema, rows.columns, strict=True)
    ]
    plain = read_records(stage(rows, tmp_path / "plain"), tmp_path / "plain")
    assert plain is not None
    write_records(pa.table(coded, rows.column_names), tmp_path / "plain", "task-0.parquet")
    assert plain.equals(read_records(tmp_path / "plain" / "instances" / "task-0.parquet", tmp_path / "plain"))


def test_a_profile_without_any_of_the_columns(tmp_path: Path) -> None:
    """Counts are known all the same."""
    rows = pa.table({"SOPInstanceUID": ["1"], "source_uri": ["/a/b"], "source_size": pa.array([7]), "status": ["ok"]})
    records = read_records(stage(rows, tmp_path), tmp_path)
    assert records is not None
    assert records["instanceCount"].to_pylist() == [1]
    assert records["source_size"].to_pylist() == [7]


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "changed", "zeros"])
def test_damaged_records_are_not_taken(damage: str, rows: pa.Table, tmp_path: Path) -> None:
    """They are not synced: after a power cut anything may be there."""
    part = stage(rows, tmp_path)
    path = tmp_path / FOLDER / "task-0.arrow"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        path.write_bytes({"empty": b"", "cut": content[:-1], "changed": changed, "zeros": bytes(len(content))}[damage])
    assert read_records(part, tmp_path) is None


def test_records_of_another_part_are_not_taken(rows: pa.Table, tmp_path: Path) -> None:
    part = stage(rows, tmp_path)
    pq.write_table(rows.slice(1), part)
    assert read_records(part, tmp_path) is None


def test_a_full_disk_is_said(rows: pa.Table, tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with pytest.raises(DatasetError, match="cannot be written"):
        write_records(rows, tmp_path, "task-0.parquet")


def extract_in_two(source: Path, tree: Path, dest: Path) -> None:
    """A first run, and one that adds to it."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    tree.mkdir()
    for some in (files[:150], files[150:]):
        for path in some:
            (tree / f"{len(list(tree.iterdir()))}").hardlink_to(path)
        dicomflow.extract(tree, dest)


def test_rollups_are_the_same_with_and_without(source: Path, tmp_path: Path) -> None:
    """Made of records, and made of parts."""
    extract_in_two(source, tmp_path / "tree", tmp_path / "with")
    shutil.rmtree(tmp_path / "tree")
    with patch.object(rollups, "read_records", return_value=None) as asked:
        extract_in_two(source, tmp_path / "tree", tmp_path / "without")
    assert asked.call_count >= 2
    for table in ROLLUPS:
        found, expected = (pq.read_table(tmp_path / name / table) for name in ("with", "without"))
        assert found.num_rows
        assert found.equals(expected)
    assert dicomflow.verify_dataset(tmp_path / "with").whole


def test_no_part_is_read_again_for_the_rollups(source: Path, tmp_path: Path) -> None:
    """That is what records are for."""
    with patch.object(rollups, "_open", side_effect=AssertionError("a part was read")):
        dicomflow.extract(source, tmp_path / "dest")
    assert dicomflow.verify_dataset(tmp_path / "dest").whole
