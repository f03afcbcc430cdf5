"""``dicomflow export``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import dicomflow
from dicomflow.cli.export import TerminalSink
from dicomflow.report.text import format_bytes
from dicomflow.synth import make_series
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("export") / "Doe^John"
    source.mkdir()
    for number, file in enumerate(make_series("ct", instances=3)):
        (source / f"f{number}").write_bytes(file.data)
    dicomflow.extract(source, source.parent / "dest", columns="minimal")
    return source.parent / "dest"


def test_without_identities_unless_asked_for(run: Run, dest: Path, tmp_path: Path) -> None:
    """The format is that of the name; what was done is said on stderr."""
    name = dicomflow.open_dataset(dest).to_arrow(["PatientName"])["PatientName"][0].as_py()
    assert name
    done = run("export", dest, "-o", tmp_path / "x.csv")
    assert done.code == 0 and done.out == "" and "3 rows" in done.err and "new key" in done.err
    assert "de-identified (dicomflow: PS3.15 E.1 basic)" in done.err
    written = (tmp_path / "x.csv").read_text()
    assert name not in written and "Doe" not in written
    done = run("export", dest, "-o", tmp_path / "x.csv", "--with-patient-identity")
    assert done.code == 0 and "with the identities of patients" in done.err and name in (tmp_path / "x.csv").read_text()


def test_what_was_done_is_said(run: Run, dest: Path, tmp_path: Path) -> None:
    """How much was written, and what was done to how many columns; --explain lists them and writes nothing."""
    path = tmp_path / "x.csv"
    said = run("export", dest, "-o", path, "--retain", "modified_dates").err
    assert said.startswith(f"dicomflow: 3 rows, {format_bytes(path.stat().st_size)}, written to {path}: ")
    path.unlink()
    listed = run("export", dest, "--explain", "--retain", "modified_dates")
    assert (listed.code, listed.err) == (0, "") and not list(tmp_path.iterdir())
    actions = dict(line.split(maxsplit=1) for line in listed.out.splitlines())
    assert list(actions) == dicomflow.open_dataset(dest).schema.names
    for what, shown in (("dropped", 1), ("emptied", 1), ("pseudonymised", 1), ("shifted", 1)):
        count = list(actions.values()).count("date shifted" if what == "shifted" else what)
        assert count >= shown and f"{count:,} {what}" in said
    assert actions["PatientName"] == "emptied" and actions["PatientID"] == "pseudonymised"
    assert run("export", dest, "--explain", "--columns", "Modality").out == "Modality  kept\n"
    assert run("export", dest, "-o", path, "--quiet") == (0, "", "")


def test_to_stdout(run: Run, dest: Path) -> None:
    """Nothing but the data."""
    done = run("export", dest, "-o", "-", "--format", "ndjson", "--columns", "SOPInstanceUID, Modality")
    assert [json.loads(line)["00080060"]["Value"] for line in done.out.splitlines()] == [["CT"]] * 3
    assert done.err.startswith("dicomflow: 3 rows written to stdout: de-identified")
    done = run("export", dest, "-o", "-", "--format", "csv", "--columns", "Modality")
    assert [row["Modality"] for row in csv.DictReader(io.StringIO(done.out))] == ["CT"] * 3


def test_settings_of_a_file_and_options(run: Run, dest: Path, tmp_path: Path) -> None:
    """Options win; the key makes the same pseudonyms each time."""
    key, settings = tmp_path / "key", tmp_path / "settings.yaml"
    key.write_text("0123456789abcdef")
    key.chmod(0o600)
    settings.write_text(
        f"export: {{retain: [full_dates], key_file: {key}, rules: {{InstitutionName: hash}}, require: [Modality]}}"
    )
    outs = [run("export", dest, "-o", "-", "--format", "csv", "--config", settings) for _ in range(2)]
    assert outs[0].out == outs[1].out and "new key" not in outs[0].err
    row = next(csv.DictReader(io.StringIO(outs[0].out)))
    assert row["StudyDate"] and len(row["InstitutionName"]) == 16
    moved = run("export", dest, "-o", "-", "--format", "csv", "--config", settings, "--retain", "modified_dates")
    assert next(csv.DictReader(io.StringIO(moved.out)))["StudyDate"] not in ("", row["StudyDate"])


def test_incomplete_rows(run: Run, dest: Path, tmp_path: Path) -> None:
    """1 and nothing written; 3 when they are left out; 0 when they are wanted."""
    options = ("export", dest, "-o", tmp_path / "x.csv", "--require", "NumberOfFrames")
    refused = run(*options)
    assert refused.code == 1 and not (tmp_path / "x.csv").exists()
    assert "NumberOfFrames is missing in 3 rows: number 1, 2, 3 of instances" in refused.err
    some = run(*options, "--where", "InstanceNumber > 1")
    assert "in 2 rows: number 1, 2 of those for which the condition holds" in some.err
    assert "Doe" not in refused.err and "f0" not in refused.err and "source_uri" in refused.err
    assert "/f0, " in run(*options, "--with-patient-identity").err
    assert run(*options, "--incomplete", "drop").code == 3
    assert run(*options, "--incomplete", "keep").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "x.xlsx"), "end it in .ndjson, .json, .csv, .parquet, or give --format"),
        (("-o", "-"), "or give --format"),
        (("-o", "x.csv", "--retain", "names"), "names"),
        (("-o", "x.csv", "--retain", "full_dates", "--retain", "modified_dates"), "exclude each other"),
        (("-o", "x.csv", "--columns", "Modalit"), "did you mean 'Modality'"),
        (("-o", "x.csv", "--key-file", "no-such-key"), "cannot be read"),
        ((), "--output"),
    ],
)
def test_usage(
    run: Run, dest: Path, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2, and one line that says what is wrong."""
    monkeypatch.chdir(tmp_path)
    done = run("export", dest, *arguments)
    assert done.code == 2 and message in done.err and not list(tmp_path.iterdir())


def test_a_terminal_gets_nothing_that_it_acts_on() -> None:
    """Escapes and overrides are shown as such, also where a character is cut in two."""
    stream = io.StringIO()
    sink = TerminalSink(stream)
    text = "a\u202eb\x1b[31m山\n".encode()
    for at in range(len(text)):
        sink.write(text[at : at + 1])
    sink.flush()
    assert stream.getvalue() == "a\\u202eb\\x1b[31m山\n"


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_on_a_terminal(run: Run, dest: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text goes through the escapes; Parquet is refused."""
    monkeypatch.setattr("dicomflow.cli.export._is_terminal", lambda: True)
    done = run("export", dest, "-o", "-", "--format", form, "--columns", "Modality")
    assert done.code == 0 and "CT" in done.out and len(done.out.splitlines()) == (4 if form == "csv" else 3)
    assert run("export", dest, "-o", "-", "--format", "parquet").code == 2


def test_a_cohort_and_codes_that_are_none(run: Run, tmp_path: Path) -> None:
    """Rows by a condition; how many values were left out because they may be free text, never which."""
    source = tmp_path / "source"
    source.mkdir()
    for number, file in enumerate(make_series("ct", instances=3)):
        (source / f"f{number}").write_bytes(
            file.data.replace(b"CS\x02\x00CT", b"CS\x02\x00ct" if number else b"CS\x02\x00CT")
        )
    dicomflow.extract(source, tmp_path / "dest", columns="minimal", scheduler="threads")
    done = run("export", tmp_path / "dest", "-o", tmp_path / "x.csv", "--where", "Modality = 'ct'")
    assert done.code == 0 and "2 rows" in done.err
    assert "2 values were left out that have not the form of a code (CS) and may be free text, in Modality" in done.err
    assert [row["Modality"] for row in csv.DictReader((tmp_path / "x.csv").open())] == ["", ""]
    assert (
        "values were left out"
        not in run("export", tmp_path / "dest", "-o", tmp_path / "x.csv", "--where", "Modality = 'CT'").err
    )
    wrong = run("export", tmp_path / "dest", "-o", tmp_path / "y.csv", "--where", "true; select 1")
    assert wrong.code == 1 and "give one condition" in wrong.err and not (tmp_path / "y.csv").exists()
