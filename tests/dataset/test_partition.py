"""Hive partitions of ``instances``: names of folders, splitting, whole runs, and what other readers make of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicomflow
from dicomflow.config import DatasetConfig, load_config
from dicomflow.dataset.layout import Layout, is_partition, list_parts, part_name
from dicomflow.dataset.partition import MISSING, MISSING_YEAR, PartitionBuffer, Partitioning, PartitionKey, encode_value
from dicomflow.dataset.snapshot import Snapshot, is_part_name
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import ConfigError, DatasetError
from dicomflow.synth import make_series

HOSTILE = [
    "CT", "../../victim", "/etc/passwd", "..", ".", "a/b", "a\\b", "nul\0byte", "x.parquet", "a=b", "%2F", "~", "é ü 日本",
    "x" * 100_000, "x" * 99_999 + "y", "日" * 5000, " ", "\n", "*?[a]{b}", "'\"", "_", ".hidden", MISSING,
    "__HIVE_DEFAULT_PARTITION__", "0012", "12", "1e5", "true", "2024-01-01", "nan",
]  # fmt: skip

MODALITY = {"columns": "minimal", "compute__scheduler": "threads", "dataset__partition_by": ["Modality"]}
PLAIN = {**MODALITY, "dataset__partition_by": []}


# ---- names -----------------------------------------------------------------------------------------------------------


def check_folder(name: str) -> None:
    assert is_partition(name) and is_part_name(f"{name}/x.parquet") and len(name) < 255 and name.isascii()
    assert not set(name) & set("/\\\0\"'*?[]{}: \n") and Path("/root", name).resolve().parent == Path("/root")


@given(st.text())
def test_any_text_is_a_folder(text: str) -> None:
    """Nothing leaves the folder, and it is no part."""
    check_folder(PartitionKey("C" * 128, is_year=False).name_folder(text))


def test_hostile_values_have_folders_of_their_own() -> None:
    """Also those that only differ behind what is kept, or that look like what stands for a missing value."""
    names = [PartitionKey("Modality", is_year=False).name_folder(value) for value in [*HOSTILE, None]]
    assert len(set(names)) == len(names)
    for name in names:
        check_folder(name)


CASED = st.text(st.sampled_from("aAzZ01~%_.éÉß"), max_size=90) | st.sampled_from([MISSING, MISSING.upper(), "CT", "ct"])


@given(st.sets(CASED | CASED.map(str.upper) | CASED.map(str.lower), max_size=9))
def test_a_file_system_without_case(texts: set[str]) -> None:
    """Where two names that differ by case are one, two values still have two folders, and neither is that of missing ones."""
    key = PartitionKey("Modality", is_year=False)
    folders = [key.name_folder(text).lower() for text in texts - {""}]
    assert len({*folders, key.name_folder(None).lower()}) == len(folders) + 1


def test_values_that_differ_by_case_are_split() -> None:
    """Small letters are marked; what has none, as most codes of DICOM, is a folder of its own name."""
    rows = pa.table({"Modality": ["CT", "ct", "Ct", "cT"]})
    found = [folder for folder, _ in Partitioning((PartitionKey("Modality", is_year=False),)).split(rows, 4)]
    assert sorted(found) == ["by_Modality=CT", "by_Modality=Ct~2", "by_Modality=cT~1", "by_Modality=ct~3"]


def test_a_short_value_is_found_as_it_is() -> None:
    """Years and missing values, too."""
    assert encode_value("MR") == "MR" and PartitionKey("Modality", is_year=False).name_folder(7) == "by_Modality=7~"
    assert PartitionKey("StudyDate", is_year=True).name_folder(None) == f"by_StudyDate_year={MISSING_YEAR}"
    assert PartitionKey("Modality", is_year=False).name_folder(None) == f"by_Modality={MISSING}"


@pytest.mark.parametrize(
    "name",
    [
        "CT/x.parquet", "Modality=CT/x.parquet", "by_M=CT/../x.parquet", "by_M=a/by_N=b/by_O=c/by_P=d/x.parquet", "by_M=CT/",
        "/by_M=CT/x.parquet", "by_M=/x.parquet", "by_../=a/x.parquet", "by_M=a.parquet/x.parquet", "by_M=a//x.parquet", None,
    ],
)  # fmt: skip
def test_names_that_are_no_parts(name: Any) -> None:
    """A name that leads elsewhere is not followed, whoever wrote it."""
    assert not is_part_name(name)


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["Nothing"], ["StudyDate"], ["Modality.year"], ["issues"], ["Nothing.year"]])
def test_columns_that_cannot_split(instances: pa.Schema, names: list[str]) -> None:
    """The message names the key and the column."""
    with pytest.raises(ConfigError, match=r"dataset\.partition_by: '(Nothing|StudyDate|Modality|issues)'"):
        Partitioning.of(names, instances)


@pytest.mark.parametrize("value", [["a", "b", "c", "d"], ["a", "a"], ["a/b"], ["a.month"], "Modality", [1], [None]])
def test_settings_that_are_refused(value: object) -> None:
    """In one line."""
    with pytest.raises(ConfigError, match=r"dataset\.partition_by"):
        load_config(None, {"dataset.partition_by": value})


# ---- splitting -------------------------------------------------------------------------------------------------------


def test_rows_are_split_and_none_is_lost() -> None:
    """By two keys, dictionary-encoded or not."""
    rows = pa.table({"A": ["X", "Y", "X", None], "N": [1, 1, None, 2], "row": [0, 1, 2, 3]})
    partitioning = Partitioning((PartitionKey("A", is_year=False), PartitionKey("N", is_year=False)))
    expected = {
        "by_A=X/by_N=1~": [0], "by_A=Y/by_N=1~": [1], f"by_A=X/by_N={MISSING}": [2], f"by_A={MISSING}/by_N=2~": [3],
    }  # fmt: skip
    for table in (rows, rows.set_column(0, "A", rows["A"].dictionary_encode())):
        assert {folder: piece["row"].to_pylist() for folder, piece in partitioning.split(table, 9)} == expected
    assert partitioning.split(rows.slice(0, 0), 9) == []


def test_the_buffer_is_bounded() -> None:
    """Many small pieces become few parts; a large one does not wait."""
    written: list[tuple[str, int]] = []
    partitioning = Partitioning((PartitionKey("A", is_year=False),))
    buffer = PartitionBuffer(partitioning, 4, 1 << 30, lambda rows, folder: written.append((folder, rows.num_rows)))
    for _ in range(10):
        buffer.add(pa.table({"A": ["X", "Y"] * 10}))
    assert written == []
    buffer.add(pa.table({"A": ["X"] * (1 << 16)}))
    assert written == [("by_A=X", 65_636)]
    buffer.flush()
    assert written[1:] == [("by_A=Y", 100)]
    with pytest.raises(DatasetError, match=r"more than 4 partitions: A has 5 values or more; nothing was published"):
        buffer.add(pa.table({"A": ["1", "2", "3"]}))


# ---- runs ------------------------------------------------------------------------------------------------------------


def write_files(source: Path, kind: str, count: int, seed: int = 0) -> None:
    source.mkdir(exist_ok=True)
    for number, file in enumerate(make_series(kind, instances=count, seed=seed)):
        (source / f"{kind}{seed}-{number}").write_bytes(file.data)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_files(tmp_path / "source", "ct", 3)
    write_files(tmp_path / "source", "mr", 2)
    return tmp_path / "source"


def folders(dest: Path) -> set[str]:
    return {part_name(part).rpartition("/")[0] for part in list_parts(dest / "instances")}


def rows(dest: Path) -> list[dict[str, Any]]:
    return dicomflow.open_dataset(dest).to_arrow().sort_by("SOPInstanceUID").to_pylist()


def test_partitions_change_nothing_but_folders(source: Path, tmp_path: Path) -> None:
    """The same columns, types and rows, by every door."""
    dest, plain = tmp_path / "dest", tmp_path / "plain"
    dicomflow.extract(source, dest, **{**MODALITY, "dataset__partition_by": ["Modality", "StudyDate.year"]})
    dicomflow.extract(source, plain, **PLAIN)
    years = {row["StudyDate"].year if row["StudyDate"] else 0 for row in rows(dest)}
    assert all(folder.split("/")[1] in {f"by_StudyDate_year={year}" for year in years} for folder in folders(dest))
    ours, theirs = dicomflow.open_dataset(dest), dicomflow.open_dataset(plain)
    assert ours.schema.equals(theirs.schema, check_metadata=True) and rows(dest) == rows(plain)
    query = "select * from instances order by 1"
    assert ours.sql(query).equals(theirs.sql(query))
    uid = rows(dest)[0]["SOPInstanceUID"]
    assert ours.get(uid) == theirs.get(uid) == rows(dest)[0]
    assert list(ours.to_dask().columns) == list(theirs.to_dask().columns) and len(ours.to_dask()) == 5
    assert ours.snapshot.partition_by == ["Modality", "StudyDate.year"]


def test_a_life(source: Path, tmp_path: Path) -> None:
    """Increments, a partition that vanishes, compacting within partitions, a table without rows."""
    dest, other = tmp_path / "dest", tmp_path / "other"
    dicomflow.extract(source, dest, **MODALITY)
    assert folders(dest) == {"by_Modality=CT", "by_Modality=MR"}
    kept = {part_name(part) for part in list_parts(dest / "instances")}
    write_files(source, "ct", 4, seed=1)
    dicomflow.extract(source, dest, **MODALITY)
    names = {part_name(part) for part in list_parts(dest / "instances")}
    assert kept < names and len(names) == 3
    dicomflow.compact(dest)
    assert len(list_parts(dest / "instances")) == 2 and folders(dest) == {"by_Modality=CT", "by_Modality=MR"}
    for path in source.glob("mr*"):
        path.unlink()
    dicomflow.extract(source, dest, **MODALITY)
    assert folders(dest) == {"by_Modality=CT"} and not (dest / "instances/by_Modality=MR").exists()
    dicomflow.extract(source, other, **PLAIN)
    assert [row["source_uri"] for row in rows(dest)] == [row["source_uri"] for row in rows(other)] and len(
        rows(dest)
    ) == 7
    for path in source.iterdir():
        path.write_bytes(b"no longer an image, but still a file of some length")
    dicomflow.extract(source, dest, **MODALITY)
    assert folders(dest) == {""} and rows(dest) == []
    assert len(pd.read_parquet(dest / "instances")) == 0


def test_other_partitions_must_be_asked_for(source: Path, tmp_path: Path) -> None:
    """Refused with the choice; ``full`` replaces them, both ways; ``add_columns`` keeps them."""
    dest = tmp_path / "dest"
    dicomflow.extract(source, dest, **PLAIN)
    with pytest.raises(DatasetError, match=r"no partitions, this run asks for partitions by Modality; .*--full"):
        dicomflow.extract(source, dest, **MODALITY)
    dicomflow.extract(source, dest, mode="full", **MODALITY)
    assert folders(dest) == {"by_Modality=CT", "by_Modality=MR"} and len(rows(dest)) == 5
    with pytest.raises(DatasetError, match=r"has partitions by Modality, .* set dataset\.partition_by to \[Modality\]"):
        dicomflow.extract(source, dest, **PLAIN)
    dicomflow.add_columns(dest, "standard", compute__scheduler="threads")
    assert folders(dest) == {"by_Modality=CT", "by_Modality=MR"} and len(rows(dest)) == 5
    dicomflow.extract(source, dest, mode="full", **{**PLAIN, "columns": "standard"})
    assert folders(dest) == {""} and len(rows(dest)) == 5


def test_partitions_that_nobody_names_are_those_of_the_dataset(source: Path, tmp_path: Path) -> None:
    """They stay in any mode; named and different they are refused, by ``add_columns`` and ``compact``, too."""
    dest, unsaid = tmp_path / "dest", {"compute__scheduler": "threads"}
    dicomflow.extract(source, dest, **MODALITY)
    write_files(source / "more", "us", 1, seed=5)
    assert dicomflow.extract(source, dest, **unsaid).read == 1
    every = {"by_Modality=CT", "by_Modality=MR", "by_Modality=US"}
    assert folders(dest) == every and dicomflow.open_dataset(dest).snapshot.profile == "minimal"
    dicomflow.extract(source, dest, mode="full", **unsaid)
    dicomflow.compact(dest)
    assert folders(dest) == every and dicomflow.open_dataset(dest).snapshot.partition_by == ["Modality"]
    refused = r"has partitions by Modality, this run asks for no partitions; .* or leave it out"
    with pytest.raises(DatasetError, match=refused):
        dicomflow.add_columns(dest, "standard", dataset__partition_by=[], **unsaid)
    with pytest.raises(DatasetError, match=refused):
        dicomflow.compact(dest, config=load_config(None, {"dataset.partition_by": []}))
    assert folders(dest) == every


def test_full_splits_rows_of_other_sources_too(source: Path, tmp_path: Path) -> None:
    """Parts that stay are written again where they lie in no partition."""
    dest, more = tmp_path / "dest", tmp_path / "more"
    write_files(more, "mr", 2, seed=5)
    dicomflow.extract([source, more], dest, **PLAIN)
    dicomflow.extract(more, dest, mode="full", **MODALITY)
    assert folders(dest) == {"by_Modality=CT", "by_Modality=MR"} and len(rows(dest)) == 7


def test_too_many_partitions(source: Path, tmp_path: Path) -> None:
    """Nothing is published; the same command with other settings goes on from what was read."""
    dest = tmp_path / "dest"
    said = pytest.raises(
        DatasetError, match=r"more than 1 partitions: Modality has 2 values or more; nothing was published"
    )
    with said as refused:
        dicomflow.extract(source, dest, dataset__max_partitions=1, **MODALITY)
    assert not re.search(r"\b(CT|MR)\b", str(refused.value))
    assert not Layout(dest).is_dataset() and not (dest / "instances").exists()
    assert dicomflow.extract(source, dest, **MODALITY).resumed == 5


def test_a_column_with_very_many_values(tmp_path: Path) -> None:
    """More than a thousand folders are refused, by the column's name and its count; the key of the rows at once."""
    uids = [f"1.2.{number}" for number in range(1100)]
    rows = pa.table({"SOPInstanceUID": uids, "StudyInstanceUID": uids, "Modality": ["CT", "MR"] * 550})
    most = DatasetConfig().max_partitions
    for names in (["StudyInstanceUID"], ["Modality", "StudyInstanceUID"]):
        with pytest.raises(DatasetError, match="more than 1,000 partitions: StudyInstanceUID has 1,100 values"):
            Partitioning.of(names, rows.schema).split(rows, most)
    buffer = PartitionBuffer(
        Partitioning.of(["Modality", "StudyInstanceUID"], rows.schema), most, 1 << 30, lambda *_: None
    )
    buffer.add(rows.slice(0, 600))
    with pytest.raises(
        DatasetError, match=r"StudyInstanceUID has 1,001 values or more; .* raise dataset\.max_partitions"
    ):
        buffer.add(rows.slice(600))
    with pytest.raises(ConfigError, match="'SOPInstanceUID' is another one in each row"):
        Partitioning.of(["Modality", "SOPInstanceUID"], rows.schema)


def test_a_description_without_partitions(source: Path, tmp_path: Path) -> None:
    """Older datasets do not say that they have none."""
    dicomflow.extract(source, tmp_path / "dest", **PLAIN)
    path = Layout(tmp_path / "dest").description
    found = json.loads(path.read_text())
    del found["partition_by"]
    assert Snapshot.from_json(found, path).partition_by == []


# ---- other readers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[None], [None, "CT"], HOSTILE, ["0012", "7"], [None, *HOSTILE]], ids=len)
def test_readers(instances: pa.Schema, tmp_path: Path, values: list[str | None]) -> None:
    """pandas, DuckDB, Polars and Dask find each row once, whatever the value, with the column's own value."""
    schema = pa.schema([instances.field(name) for name in ("SOPInstanceUID", "Modality", "StudyDate")])
    config = load_config(None, {}).dataset
    found = [{"SOPInstanceUID": f"1.{number}", "Modality": value} for number, value in enumerate(values)]
    table = pa.Table.from_pylist(found, schema)
    for folder, piece in Partitioning.of(["Modality", "StudyDate.year"], schema).split(table, 99):
        write_data_file(piece, schema, "instances", tmp_path, f"{folder}/x.parquet", config)
    dest, columns = tmp_path / "instances", ["SOPInstanceUID", "Modality"]
    expected = sorted((row["SOPInstanceUID"], row["Modality"]) for row in found)
    frame = pd.read_parquet(dest)
    assert set(frame.columns) == {*schema.names, "by_Modality", "by_StudyDate_year"}
    duck = f"select {', '.join(columns)} from read_parquet('{dest}/**/*.parquet', hive_partitioning = true)"
    seen = {
        "pandas": [tuple(row) for row in frame[columns].astype(object).where(frame[columns].notna(), None).to_numpy()],
        "duckdb": duckdb.sql(duck).fetchall(),
        "polars": pl.read_parquet(dest)[columns].rows(),
        "dask": [
            (uid, None if pd.isna(value) else value)
            for uid, value in dd.read_parquet(dest, columns=columns).compute()[columns].itertuples(index=False)
        ],
    }
    assert {reader: sorted(got) for reader, got in seen.items()} == dict.fromkeys(seen, expected)


def test_readers_prune(source: Path, tmp_path: Path) -> None:
    """A filter on a folder's key needs no part of another folder."""
    dest = tmp_path / "dest"
    dicomflow.extract(source, dest, **MODALITY)
    for part in (dest / "instances/by_Modality=MR").iterdir():
        part.write_bytes(b"nobody reads this")
    assert len(pd.read_parquet(dest / "instances", filters=[("by_Modality", "==", "CT")])) == 3
