"""Asking a dataset."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
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


@pytest.mark.parametrize("method", ["to_arrow", "to_pandas", "to_dask"])
def test_unknown_column(dest: Path, method: str) -> None:
    """In one line, be it asked for or filtered by; the nearest name is given, if there is one."""
    read = getattr(dicomflow.open_dataset(dest), method)
    for arguments, said in (
        ((["Modalty"],), "has no column 'Modalty'; did you mean 'Modality'\\?$"),
        ((["Modality"], [("Modalty", "==", "CT")]), "has no column 'Modalty'; did you mean 'Modality'\\?$"),
        ((["Zzz(x) in y"],), r"has no column 'Zzz\(x\) in y' \(profile 'minimal'\)$"),
    ):
        with pytest.raises(DatasetError, match=said):
            read(*arguments)


def test_tables(dest: Path) -> None:
    """The three tables are pyarrow datasets with their schema, also the one without rows."""
    dataset = dicomflow.open_dataset(dest)
    (part,) = (dest / "instances").glob("*.parquet")
    assert dataset.schema.equals(pq.read_schema(part), check_metadata=True)
    assert dataset.files.count_rows() == 5 and dataset.conflicts.count_rows() == 0
    assert dataset.conflicts.schema.names == dataset.schema.names
    assert dataset.snapshot.profile == "minimal" and "minimal" in repr(dataset)
    assert dataset.schema.field("Modality").metadata[b"dicom.tag"] == b"(0008,0060)"


def test_notebook(dest: Path, tmp_path: Path) -> None:
    """A notebook shows how large it is; its name is text; also when a later run has replaced its parts."""
    shutil.copytree(dest, tmp_path / "<b>&")
    dataset = dicomflow.open_dataset(tmp_path / "<b>&")
    shown = dataset._repr_html_()
    assert "&lt;b&gt;&amp;: version 1, profile minimal" in shown and "<b>" not in shown
    assert f"<tr><th>instances</th><td>5</td><td>{len(dataset.schema.names)}</td><td>1</td>" in shown
    for part in dataset.parts("instances"):
        part.unlink()
    assert "<tr><th>instances</th><td>5</td><td></td><td>1</td>" in dataset._repr_html_()


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
    with pytest.raises(DatasetError, match=r"instances/.*\.parquet: is not there"):
        dicomflow.open_dataset(tmp_path / "d")


def test_errors_of_queries_quote_no_value(dest: Path) -> None:
    """What DuckDB says of a value that it cannot cast stays unsaid."""
    with pytest.raises(DatasetError) as caught:
        dicomflow.open_dataset(dest).sql("select cast(SOPInstanceUID as int) from instances")
    assert "2.25" not in str(caught.value)


# ---- one row, the ledger, Dask ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dicomflow.Dataset:
    """Three runs over 150 files, a fifth of them faulty; some are gone."""
    folder = tmp_path_factory.mktemp("mixed")
    write_studies(folder / "scans", files=150, seed=2, corrupt=0.2)
    dicomflow.extract(folder / "scans", folder / "out")
    for number in range(2):
        (folder / f"scans/more{number}").write_bytes(next(make_series("us", seed=number)).data)
        dicomflow.extract(folder / "scans", folder / "out")
    for path in sorted(folder.glob("scans/more*")):
        path.unlink()
    dicomflow.extract(folder / "scans", folder / "out")
    return dicomflow.open_dataset(folder / "out")


def test_get(mixed: dicomflow.Dataset) -> None:
    """Each key gives its row; others give none."""
    rows = mixed.to_arrow().to_pylist()
    assert [mixed.get(row["SOPInstanceUID"]) for row in rows] == rows
    assert mixed.get("1.2.3") is None and mixed.get("") is None and mixed.get("\udcff") is None
    assert mixed.get(rows[0]["SOPInstanceUID"] + "\0") is None


def test_get_files(mixed: dicomflow.Dataset) -> None:
    """The file of the row comes first, then what lost; a file that is gone is found, too."""
    keys = mixed.sql("select SOPInstanceUID from files where status in ('duplicate', 'conflict', 'removed')")
    assert keys.num_rows
    for key in keys["SOPInstanceUID"].to_pylist():
        found = mixed.get_files(key)
        row = mixed.get(key)
        expected = mixed.sql(f"from files where SOPInstanceUID = '{key}'").to_pylist()
        assert sorted(found, key=str) == sorted(expected, key=str)
        assert (found[0]["status"] == "removed") if row is None else found[0]["uri"] == row["source_uri"]
    assert mixed.get_files("1.2.3") == []


def test_iter_files(mixed: dicomflow.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows whatever the size of the batches; by status, code and folder."""
    monkeypatch.setattr("dicomflow.query._BATCH_ROWS", 7)
    batches = list(mixed.iter_files())
    assert all(0 < batch.num_rows <= 7 for batch in batches) and batches[0].schema.names == mixed.files.schema.names
    found = pa.concat_tables(batches)
    assert found.num_rows == mixed.sql("from files where status <> 'ok'").num_rows
    removed = pa.concat_tables(mixed.iter_files(["removed"], columns=["status"]))
    assert removed.to_pydict() == {"status": ["removed"] * 2}
    assert {row["code"] for batch in mixed.iter_files(codes=["truncated"]) for row in batch.to_pylist()} == {
        "truncated"
    }
    scans = mixed.snapshot.sources[0]
    assert sum(batch.num_rows for batch in mixed.iter_files(under=scans)) == found.num_rows
    assert list(mixed.iter_files(under=scans[:-1])) == []


def test_dask(mixed: dicomflow.Dataset) -> None:
    """A Dask DataFrame computes to what pandas has, in the types that it declares."""
    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    for arguments in (
        {},
        {"columns": ["Modality", "StudyDate", "ImageType"]},
        {"columns": ["Rows"], "filters": [("Modality", "==", "CT")]},
        {"columns": ["Rows"], "filters": pc.field("Modality") == "nothing"},
    ):
        frame = mixed.to_dask(**arguments)
        expected = mixed.to_arrow(**arguments).to_pandas(types_mapper=nullable.get)
        found = frame.compute(scheduler="threads").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)
        assert frame.dtypes.equals(expected.dtypes)
    assert mixed.to_dask(["Modality"]).npartitions == len(mixed.snapshot.tables["instances"])


def test_dask_is_imported_when_it_is_asked_for() -> None:
    """Opening a dataset brings no Dask."""
    script = "import sys, dicomflow.query; sys.exit('dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
