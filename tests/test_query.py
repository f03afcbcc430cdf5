"""Asking a dataset."""

from __future__ import annotations

import warnings
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.errors import DatasetError
from dicomflow.synth import make_series, write_studies

NAMES = ["plain", "it's here", 'a "b" ;--', "glob[1]*?", "Modality=CT", "ünï {a,b}", "back\\slash"]


def write_source(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, file in enumerate([*make_series("ct", instances=3), *make_series("mr", instances=2)]):
        (folder / f"f{number}").write_bytes(file.data)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("query") / "source")


@pytest.fixture(scope="module")
def dest(source: Path) -> Path:
    dicomflow.extract(source, source.parent / "dest", columns="minimal")
    return source.parent / "dest"


def test_columns_and_filters(dest: Path) -> None:
    """Arrow and pandas give the columns asked for, in that order, and the rows that match."""
    dataset = dicomflow.open_dataset(dest)
    table = dataset.to_arrow(["Modality", "SOPInstanceUID"], [("Modality", "==", "MR")])
    assert table.column_names == ["Modality", "SOPInstanceUID"] and table["Modality"].to_pylist() == ["MR"] * 2
    frame = dataset.to_pandas(("Modality",), pc.field("Modality") == "CT")
    assert list(frame.columns) == ["Modality"] and len(frame) == 3
    either = [[("Modality", "==", "CT")], [("Modality", "==", "MR")]]
    assert len(dataset.to_pandas(filters=either)) == dataset.to_arrow().num_rows == 5


def test_tables(dest: Path) -> None:
    """The three tables are pyarrow datasets with their schema, also the one without rows."""
    dataset = dicomflow.open_dataset(dest)
    (part,) = (dest / "instances").glob("*.parquet")
    assert dataset.schema.equals(pq.read_schema(part), check_metadata=True)
    assert dataset.files.count_rows() == 5 and dataset.conflicts.count_rows() == 0
    assert dataset.conflicts.schema.names == dataset.schema.names
    assert dataset.description["profile"] == "minimal" and "minimal" in repr(dataset)
    assert dataset.schema.field("Modality").metadata[b"dicom.tag"] == b"(0008,0060)"


def test_sql(dest: Path) -> None:
    """All three views answer, without a warning from DuckDB."""
    dataset = dicomflow.open_dataset(dest)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = dataset.sql("select Modality, count(*) as n from instances group by 1 order by 1")
        assert counts.to_pylist() == [{"Modality": "CT", "n": 3}, {"Modality": "MR", "n": 2}]
        assert dataset.sql("from files").num_rows == 5 and dataset.sql("from conflicts").num_rows == 0
        assert dataset.sql("pivot instances on Modality using count(*) group by status").to_pylist() == [
            {"status": "ok", "CT": 3, "MR": 2}
        ]
        assert dataset.sql("describe conflicts")["column_name"].to_pylist() == dataset.schema.names
        joined = "select count(*) as n from instances join files on source_uri = uri"
        assert dataset.sql(joined).to_pylist() == [{"n": 5}]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "from '{outside}'",
        "from read_parquet('{outside}')",
        "from read_parquet('{dest}/../other/*.parquet')",
        "from glob('/etc/*')",
        "copy instances to '{outside}'",
        "copy (select 1) to '{dest}/instances/evil.parquet'",
        "export database '{dest}/x'",
        "attach '{dest}/x.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "pragma database_list",
        "create table t (i int)",
        "create or replace view instances as select 1",
        "select 1; copy (select 1) to '{dest}/instances/evil.parquet'",
        "explain analyze copy (select 1) to '{dest}/instances/evil.parquet'",
        "select getenv('HOME')",
        "select * from local_frame",
        "select * from connection",
        "nonsense",
        "select NoSuchColumn from instances",
        "",
        "-- nothing",
    ],
)
def test_nothing_outside_can_be_reached(dest: Path, query: str) -> None:
    """No query reads beyond the dataset, or writes anywhere; the refusal is a DatasetError."""
    outside = dest.parent / "outside.parquet"
    pq.write_table(dicomflow.open_dataset(dest).to_arrow(["Modality"]), outside)
    before = {path: path.read_bytes() for path in dest.parent.rglob("*") if path.is_file()}
    local_frame = before
    with pytest.raises(DatasetError):
        dicomflow.open_dataset(dest).sql(query.format(outside=outside, dest=dest))
    assert local_frame == {path: path.read_bytes() for path in dest.parent.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_folders(source: Path, tmp_path: Path, name: str) -> None:
    """A dataset answers for itself only, whatever its folder is called and whatever lies beside it."""
    dest = tmp_path / name / "dest"
    dicomflow.extract(source, dest, columns="minimal")
    for other in ("glob1xy", "glob[1]xy"):
        dicomflow.extract(source / "f0", tmp_path / other / "dest", columns="minimal")
    dataset = dicomflow.open_dataset(dest)
    assert dataset.sql("select count(*) as n, min(source_uri) as u from instances").to_pylist() == [
        {"n": 5, "u": str(source / "f0")}
    ]
    assert dataset.sql("select distinct Modality from instances order by 1")["Modality"].to_pylist() == ["CT", "MR"]
    assert dataset.sql("from files").column_names == dataset.files.schema.names
    assert len(dataset.to_pandas()) == 5


def test_no_dataset(tmp_path: Path) -> None:
    """Nothing, a file, and a folder with something else are no datasets, and the message says how to make one."""
    (tmp_path / "file").write_text("x")
    for name in ("nothing", "file", "."):
        with pytest.raises(DatasetError, match="no dicomflow dataset here; make one with"):
            dicomflow.open_dataset(tmp_path / name)


def test_table_that_was_removed(source: Path, tmp_path: Path) -> None:
    """If somebody removed a table the message names it."""
    dicomflow.extract(source, tmp_path / "d", columns="minimal")
    for part in (tmp_path / "d" / "instances").iterdir():
        part.unlink()
    dataset = dicomflow.open_dataset(tmp_path / "d")
    for ask in (dataset.to_arrow, lambda: dataset.sql("from instances")):
        with pytest.raises(DatasetError, match=r"instances|query failed"):
            ask()


def test_a_publish_under_way_is_not_read(tmp_path: Path) -> None:
    """Parts of two runs may be there: the dataset is not opened before the publish is completed."""
    write_studies(tmp_path / "scans", files=5, seed=1)
    dicomflow.extract(tmp_path / "scans", tmp_path / "headers")
    (tmp_path / "headers/_dicomflow/publish.json").write_text("{}")
    with pytest.raises(DatasetError, match="is publishing"):
        dicomflow.open_dataset(tmp_path / "headers")
    (tmp_path / "headers/_dicomflow/publish.json").unlink()
    dataset = dicomflow.open_dataset(tmp_path / "headers")
    with pytest.raises(DatasetError) as caught:
        dataset.sql("select cast(SOPInstanceUID as int) from instances")
    assert "2.25" not in str(caught.value)
