"""Nothing of what was planted in the attributes of Table E.1-1 is found in the bytes of an export, whatever the format."""

from __future__ import annotations

import csv
import io
import json
import re
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.config import ExportConfig
from dicomflow.export import FORMATS
from tests.deidentify.planted import MARK, TRACES, UID, planted_tags, write_files, write_profile

KEY = "a key of the test, of enough bytes"


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    source = write_files(folder / f"{MARK} archive")
    summary = dicomflow.extract(source, folder / "dest", columns=str(write_profile(folder / "columns.yaml")))
    assert summary.files == 3 and summary.failed == 0
    return folder / "dest"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMFLOW_EXPORT_KEY", KEY)


def export(dest: Path, form: str, identified: bool = False, **settings: object) -> bytes:
    """The bytes of an export; those of Parquet with every page laid open, after the file itself with its footer."""
    target = dest.parent / f"export.{form}"
    config = ExportConfig(**settings)  # type: ignore[arg-type]
    dicomflow.export_dataset(dest, target, form, with_patient_identity=identified, config=config)
    written = target.read_bytes()
    if form != "parquet":
        return written
    opened = io.BytesIO()
    table = pq.read_table(io.BytesIO(written))
    pq.write_table(table, opened, compression="none", use_dictionary=False)
    shown = table.cast(pa.schema([field.with_type(_as_text(field.type)) for field in table.schema])).to_pylist()
    return written + opened.getvalue() + json.dumps(shown, ensure_ascii=False, default=str).encode()


def _as_text(kind: pa.DataType) -> pa.DataType:
    return (
        pa.list_(_as_text(kind.value_type))
        if pa.types.is_list(kind)
        else kind
        if pa.types.is_struct(kind)
        else pa.string()
    )


def find_traces(written: bytes, kinds: tuple[str, ...] = tuple(TRACES)) -> list[str]:
    return [trace for kind in kinds for trace in TRACES[kind] if trace.lower().encode() in written.lower()]


def test_enough_is_planted() -> None:
    """All of the table but commands, bulk data and what lies behind the pixels."""
    assert len(list(planted_tags())) > 600


@pytest.mark.parametrize("form", FORMATS)
def test_without_the_filter_all_of_it_is_there(dest: Path, form: str) -> None:
    """The search finds what is there: a test that could not fail would be worth nothing."""
    found = export(dest, form, identified=True)
    for kind in TRACES:
        assert find_traces(found, (kind,)), kind
    assert "山".encode() in found


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_it_is_left(dest: Path, form: str) -> None:
    """Not the values, not their parts, not the names of files, not the texts of issues."""
    written = export(dest, form)
    assert find_traces(written) == []
    for word in ("Smith", "山", "太郎", "098Y", "22/4", "archive", "profile.yaml"):
        assert word.encode() not in written, word


@pytest.mark.parametrize("form", ["csv"])
@pytest.mark.parametrize("retain", [("device",), ("institution", "uids"), ("patient",)])
def test_an_option_retains_its_attributes_alone(dest: Path, form: str, retain: tuple[str, ...]) -> None:
    """Those for which the table has a K in the column of the option; each trace tells of which attribute it is."""
    written = export(dest, form, retain=retain).decode("utf-8", "replace")
    text = (resources.files("dicomflow.deidentify") / "profile.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    kept = {int(row["tag"], 16) for row in rows if "X" not in row["tag"] and any(row[name] == "K" for name in retain)}
    found = {int(tag, 16) for tag in re.findall(MARK + "([0-9A-F]{8})", written)}
    found |= {int(tag) for tag in re.findall(re.escape(UID) + r"\.([0-9]+)\.[0-9]", written)}
    assert found <= kept
    assert found or retain == ("patient",)
    assert find_traces(written.encode(), ("date", "time")) == []
    for part in ("fam", "giv", "deep", " private", " label", "BAD", " 22/4", " text", " archive", "-profile"):
        assert MARK + part not in written


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_moved_dates_are_not_the_dates(dest: Path, form: str) -> None:
    """Times of day stay with them unless they are not wanted."""
    written = export(dest, form, retain=("modified_dates",))
    assert find_traces(written, ("text", "uid", "date", "number")) == []
    assert find_traces(written, ("time",)) if form != "parquet" else True
    without = export(dest, form, retain=("modified_dates",), times="drop")
    assert find_traces(without) == []
    assert b"19" in without


@pytest.mark.parametrize("form", FORMATS)
def test_what_says_nothing_of_anybody_stays(dest: Path, form: str) -> None:
    """The filter does not pass by leaving everything out."""
    written = export(dest, form)
    for word in (
        b"ACME",
        b"512" if form != "parquet" else b"Rows",
        b"2.25.",
        b"partial" if "json" not in form else b"YES",
    ):
        assert word in written, word


def test_columns_are_judged_by_their_tags_not_their_names(dest: Path) -> None:
    """A column called Modality that would also look at PatientComments is dropped, and so are aliases."""
    summary = dicomflow.export_dataset(dest, dest.parent / "x.csv", "csv")
    assert {"Modality", "private", "issues", "source_uri", "header_digest"} <= set(summary.dropped)
    table = dicomflow.deidentify_table(
        dicomflow.open_dataset(dest).to_arrow(), dicomflow.make_rules(), b"0123456789abcdef"
    )
    assert table["alias"].null_count == 3 and table["Rows"].to_pylist() == [512] * 3


def test_the_same_key_gives_the_same_bytes_and_another_gives_others(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pseudonyms, UIDs and days depend on the key and on nothing else."""
    table = dicomflow.open_dataset(dest)
    names = [name for name in table.schema.names if not name.startswith(("n", "as"))]

    def run() -> bytes:
        config = ExportConfig(retain=("modified_dates",))
        dicomflow.export_dataset(table, dest.parent / "x.csv", "csv", columns=names, config=config)
        return (dest.parent / "x.csv").read_bytes()

    first, again = run(), run()
    monkeypatch.setenv("DICOMFLOW_EXPORT_KEY", KEY + "!")
    other = run()
    monkeypatch.delenv("DICOMFLOW_EXPORT_KEY")
    none, new = run(), run()
    assert first == again and len({first, other, none, new}) == 4
