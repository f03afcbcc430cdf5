"""Exporting a dataset: what is asked for, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.config import ExportConfig
from dicomflow.deidentify.profile import ACTIONS
from dicomflow.errors import ConfigError, DatasetError
from dicomflow.export import FORMATS, require
from dicomflow.export import export as module
from dicomflow.synth import make_series

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight instances; one has no Modality."""
    source = tmp_path_factory.mktemp("export") / "source"
    source.mkdir()
    for number, file in enumerate([*make_series("ct", instances=5), *make_series("mr", instances=3)]):
        data = file.data
        if number == 0:
            data = data.replace(b"\x08\x00\x60\x00CS\x02\x00CT", b"\x08\x00\x60\x00CS\x02\x00  ")
        (source / f"f{number}").write_bytes(data)
    dicomflow.extract(source, source.parent / "dest")
    return source.parent / "dest"


def rows_of(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return found


def count_rows(text: bytes, form: str) -> int:
    """As a reader of the format counts them."""
    if form == "parquet":
        return int(pq.read_table(io.BytesIO(text)).num_rows)
    if form == "csv":
        return len(list(csv.DictReader(io.StringIO(text.decode()))))
    return len(text.splitlines() if form == "ndjson" else json.loads(text))


@pytest.mark.parametrize("form", FORMATS)
def test_every_row_once(dest: Path, tmp_path: Path, form: str) -> None:
    """In each format, without identities and with them; the summary counts them."""
    for identified in (False, True):
        summary = dicomflow.export_dataset(dest, tmp_path / "x", form, with_patient_identity=identified)
        text = (tmp_path / "x").read_bytes()
        assert count_rows(text, form) == summary.rows == 8
        assert (summary.deidentified is None) is identified and bool(summary.dropped) is not identified


def test_parquet_is_the_table(dest: Path, tmp_path: Path) -> None:
    """With identities the very table, metadata of the columns included; without them, its columns but those dropped."""
    dicomflow.export_dataset(dest, tmp_path / "all.parquet", "parquet", with_patient_identity=True)
    dataset = dicomflow.open_dataset(dest)
    found = pq.read_table(tmp_path / "all.parquet")
    assert found.equals(dataset.to_arrow()) and found.schema.equals(dataset.schema, check_metadata=True)
    summary = dicomflow.export_dataset(dest, tmp_path / "some.parquet", "parquet")
    some = pq.read_table(tmp_path / "some.parquet")
    assert some.schema.names == [name for name in dataset.schema.names if name not in summary.dropped]
    assert all(field.equals(dataset.schema.field(field.name), check_metadata=True) for field in some.schema)
    assert set(some.schema.metadata) == {b"dicomflow.deidentified"}


def test_columns_in_the_order_asked_for(dest: Path, tmp_path: Path) -> None:
    """Also where the dates of a patient need a column that is not asked for."""
    names = ["Rows", "StudyDate", "SOPInstanceUID"]
    config = ExportConfig(retain=("modified_dates",))
    dicomflow.export_dataset(dest, tmp_path / "x.parquet", "parquet", columns=names, config=config)
    found = pq.read_table(tmp_path / "x.parquet")
    assert found.column_names == names and found["StudyDate"].null_count == 0
    before = dicomflow.open_dataset(dest).to_arrow(["StudyDate"])["StudyDate"].to_pylist()
    assert not set(found["StudyDate"].to_pylist()) & set(before)


def test_uids_are_the_same_in_every_format(dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one key; they tell as many instances, series and studies apart as before."""
    monkeypatch.setenv("DICOMFLOW_EXPORT_KEY", KEY)
    for form in ("ndjson", "csv", "parquet"):
        assert not dicomflow.export_dataset(dest, tmp_path / form, form).new_key
    parquet = [row["SOPInstanceUID"] for row in rows_of(tmp_path / "parquet")]
    lines = [json.loads(line) for line in (tmp_path / "ndjson").read_text().splitlines()]
    table = list(csv.DictReader((tmp_path / "csv").open()))
    assert parquet == [row["00080018"]["Value"][0] for row in lines] == [row["SOPInstanceUID"] for row in table]
    original = dicomflow.open_dataset(dest).to_pandas(["SOPInstanceUID", "SeriesInstanceUID", "PatientID"])
    for name in original:
        assert len({row[name] for row in table}) == original[name].nunique()
        assert not {row[name] for row in table} & set(original[name])


def test_json_says_what_was_done(dest: Path, tmp_path: Path) -> None:
    """PatientIdentityRemoved, the method and its codes (PS3.15 E.1.1); nothing of it with rules that keep more."""
    config = ExportConfig(retain=("patient", "modified_dates"))
    dicomflow.export_dataset(dest, tmp_path / "x.ndjson", "ndjson", config=config)
    for line in (tmp_path / "x.ndjson").read_text().splitlines():
        found = json.loads(line)
        assert found["00120062"]["Value"] == ["YES"] and found["00280303"]["Value"] == ["MODIFIED"]
        codes = [code["00080100"]["Value"][0] for code in found["00120064"]["Value"]]
        assert codes == ["113100", "113107", "113108"] and "PS3.15" in found["00120063"]["Value"][0]
    config = ExportConfig(rules={"StudyDescription": "keep"})
    dicomflow.export_dataset(dest, tmp_path / "x.ndjson", "ndjson", config=config)
    assert "00120062" not in json.loads((tmp_path / "x.ndjson").read_text().splitlines()[0])


# ---- required attributes ---------------------------------------------------------------------------------------------


def test_incomplete_rows_refuse_the_export(dest: Path, tmp_path: Path) -> None:
    """Which attribute, how many rows, which; their files only where identities may be named; nothing is written."""
    config = ExportConfig(require=("SOPInstanceUID", "Modality"))
    rows = dicomflow.open_dataset(dest).to_arrow(["Modality", "source_uri"]).to_pylist()
    (place,) = (number for number, row in enumerate(rows, 1) if row["Modality"] is None)
    for identified, uris in ((False, []), (True, [str(dest.parent / "source" / "f0")])):
        summary = dicomflow.export_dataset(
            dest, tmp_path / "x.csv", "csv", config=config, with_patient_identity=identified
        )
        assert summary.refused and summary.rows == 0 and not list(tmp_path.iterdir())
        (missing,) = summary.missing
        assert (missing.name, missing.rows, missing.first, missing.uris) == ("Modality", 1, [place], uris)


def test_numbers_of_rows_go_on_over_batches(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three, however rows are cut."""
    dataset = dicomflow.open_dataset(dest)
    column = dataset.to_arrow(["NumberOfFrames"])["NumberOfFrames"].to_pylist()
    places = [number for number, value in enumerate(column, 1) if value is None]
    assert len(places) > 3
    for size in (1, 2, 1000):
        monkeypatch.setattr(require, "_BATCH_ROWS", size)
        (missing,) = require.find_missing(dataset, ["NumberOfFrames"], name_files=False)
        assert (missing.rows, missing.first) == (len(places), places[:3])


def test_what_was_done_to_each_column(dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is explained before: what is dropped is not written, what is emptied is null, a pseudonym is another value."""
    # row by row: in the order of the dataset
    monkeypatch.setattr("dicomflow.export.export.sort_batches", lambda batches, _: (rows for rows, _ in batches))
    config = ExportConfig(retain=("modified_dates",))
    before = dicomflow.open_dataset(dest).to_arrow()
    explained = dicomflow.explain_export(dest, config=config)
    summary = dicomflow.export_dataset(dest, tmp_path / "x.parquet", "parquet", config=config)
    assert summary.actions == explained and list(explained) == before.column_names
    assert set(explained.values()) <= set(ACTIONS)
    written = pq.read_table(tmp_path / "x.parquet")
    dropped = [name for name, action in explained.items() if action == "drop"]
    assert dropped == summary.dropped and summary.count("drop") == len(dropped)
    for name, action in explained.items():
        assert (action == "drop") is (name not in written.column_names)
        if action == "empty":
            assert written[name].null_count == written.num_rows
        elif action == "keep":
            assert Counter(map(str, written[name].to_pylist())) == Counter(map(str, before[name].to_pylist()))
        elif action in ("uid", "hash", "shift"):
            pairs = zip(written[name].to_pylist(), before[name].to_pylist(), strict=True)
            assert all(one != other for one, other in pairs if other not in (None, []))
    assert min(summary.count(action) for action in ("empty", "uid", "hash", "shift")) > 0
    assert set(dicomflow.explain_export(dest, with_patient_identity=True).values()) == {"keep"}
    assert dicomflow.explain_export(dest, columns=["PatientName"]) == {"PatientName": "empty"}


@pytest.mark.parametrize(("incomplete", "rows"), [("keep", 8), ("drop", 7)])
def test_incomplete_rows_by_choice(dest: Path, tmp_path: Path, incomplete: str, rows: int) -> None:
    """Kept or left out, and said in both cases; the required column need not be exported."""
    config = ExportConfig(require=("Modality",), incomplete=incomplete)  # type: ignore[arg-type]
    summary = dicomflow.export_dataset(dest, tmp_path / "x.csv", "csv", columns=["Rows"], config=config)
    assert summary.rows == rows and [missing.rows for missing in summary.missing] == [1] and not summary.refused


def test_nothing_missing(dest: Path, tmp_path: Path) -> None:
    """Then nothing is said."""
    config = ExportConfig(require=("SOPInstanceUID",))
    assert dicomflow.export_dataset(dest, tmp_path / "x.csv", "csv", config=config).missing == []


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_failure_leaves_what_was_there(dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file, and nothing half-written; the error quotes no value."""
    target = tmp_path / "x.csv"
    target.write_text("old")

    def fail(*arguments: object, **options: object) -> int:
        raise pa.ArrowInvalid("Doe^John")

    monkeypatch.setattr(module, "write_csv", fail)
    with pytest.raises(DatasetError) as caught:
        dicomflow.export_dataset(dest, target, "csv")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["x.csv"] and "Doe" not in str(caught.value)


def test_the_dataset_is_not_written_into(dest: Path, tmp_path: Path) -> None:
    """A Parquet file among the parts would be read as one, whatever way leads there."""
    (tmp_path / "link").symlink_to(dest / "instances")
    for target in (dest / "instances" / "x.parquet", tmp_path / "link" / "x.parquet", dest / "x"):
        with pytest.raises(ConfigError, match="in the dataset"):
            dicomflow.export_dataset(dest, target, "parquet")
    with pytest.raises(ConfigError, match="not a file"):
        dicomflow.export_dataset(dest, tmp_path, "parquet")


def test_names_that_are_none(dest: Path, tmp_path: Path) -> None:
    """With what may have been meant; and a choice of columns of which nothing is left."""
    with pytest.raises(ConfigError, match="did you mean 'Modality'"):
        dicomflow.export_dataset(dest, tmp_path / "x", "csv", columns=["Modalit"])
    with pytest.raises(ConfigError, match="require: the dataset has no column"):
        dicomflow.export_dataset(dest, tmp_path / "x", "csv", config=ExportConfig(require=("Nope",)))
    with pytest.raises(ConfigError, match="no column is left"):
        dicomflow.export_dataset(dest, tmp_path / "x", "csv", columns=["source_uri", "PatientAge"])
    with pytest.raises(ConfigError, match="no format"):
        dicomflow.export_dataset(dest, tmp_path / "x", "xlsx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("identified", [False, True])
def test_only_a_cohort(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, identified: bool
) -> None:
    """The rows for which a condition holds, the very ones of an export of all, in the same order."""
    monkeypatch.setenv("DICOMFLOW_EXPORT_KEY", KEY)
    config = ExportConfig(where="Modality = 'MR' or InstanceNumber = 2")
    dataset = dicomflow.open_dataset(dest)
    expected = dataset.sql("select count(*) as n from instances where Modality = 'MR' or InstanceNumber = 2")["n"][
        0
    ].as_py()
    summary = dicomflow.export_dataset(dest, tmp_path / "x", form, config=config, with_patient_identity=identified)
    assert summary.rows == expected == count_rows((tmp_path / "x").read_bytes(), form) and 3 <= expected < 8
    if form == "parquet":
        dicomflow.export_dataset(dest, tmp_path / "all", form, with_patient_identity=identified)
        everything, some = pq.read_table(tmp_path / "all"), pq.read_table(tmp_path / "x")
        kept = [row for row in everything.to_pylist() if row["Modality"] == "MR" or row["InstanceNumber"] == 2]
        assert some.to_pylist() == kept and some.schema.equals(everything.schema, check_metadata=True)


def test_what_must_be_there_must_be_in_the_cohort(dest: Path, tmp_path: Path) -> None:
    """A row that is not asked for may lack what it likes."""
    cohort = "Modality = 'CT'"
    for where, refused in ((None, True), (cohort, False)):
        config = ExportConfig(require=("Modality",), where=where)
        assert dicomflow.export_dataset(dest, tmp_path / "x.csv", "csv", config=config).refused is refused
    with pytest.raises(DatasetError, match="give one condition"):
        dicomflow.export_dataset(dest, tmp_path / "y.csv", "csv", config=ExportConfig(where="true; select 1"))
    assert not (tmp_path / "y.csv").exists()
    assert dicomflow.export_dataset(dest, tmp_path / "z.csv", "csv", config=ExportConfig(where="false")).rows == 0
