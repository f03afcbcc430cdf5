"""``dicomflow files`` lists what did not end well, exactly, and streams."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dicomflow
from dicomflow.cli import files as module
from dicomflow.report.ledger import LEDGER_COLUMNS
from dicomflow.synth import make_series

from .conftest import Run

NAMES = [b"plain", b"esc\x1b[2J", b"new\nline", b"car\rriage", b'quo"te,comma', b"caf\xe9", b"=1+1", "ü\u202e".encode()]


@pytest.fixture(scope="module")
def dest(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "out"
    dicomflow.extract(studies, folder, columns="minimal", scheduler="threads")
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of empty files with names of all sorts, and one that is not."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "source").mkdir()
    for name in NAMES:
        (folder / "source" / os.fsdecode(name)).write_bytes(b"")
    (folder / "source/good").write_bytes(next(make_series("ct")).data)
    dicomflow.extract(folder / "source", folder / "out", columns="minimal", scheduler="threads")
    return folder / "out"


def ledger(dest: Path, where: str) -> list[dict[str, Any]]:
    rows = dicomflow.open_dataset(dest).sql(f"from files {where}").select(LEDGER_COLUMNS)
    return sorted(rows.to_pylist(), key=lambda row: row["uri"])


def from_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["uri"])


def to_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "mtime": row["mtime"].isoformat()} for row in rows]


def test_the_formats_say_the_same(run: Run, dest: Path) -> None:
    """By default all that is not ok: as one array, as lines, as CSV."""
    expected = to_json(ledger(dest, "where status <> 'ok'"))
    assert expected
    assert from_json(json.loads(run("files", dest, "--format", "json").out)) == expected
    lines = run("files", dest, "--format", "ndjson").out.splitlines()
    assert from_json([json.loads(line) for line in lines]) == expected
    table = list(csv.DictReader(io.StringIO(run("files", dest, "--format", "csv").out)))
    plain = [{name: "" if value is None else str(value).replace("T", " ") if name == "mtime" else str(value)
              for name, value in row.items()} for row in expected]  # fmt: skip
    assert from_json(table) == plain


def test_which_files(run: Run, studies: Path, dest: Path) -> None:
    """By status, by code, by folder, and no more than asked for."""

    def listed(*arguments: object) -> list[dict[str, Any]]:
        return from_json(json.loads(run("files", dest, "--format", "json", *arguments).out))

    assert listed("--status", "failed", "--status", "ok") == to_json(ledger(dest, "where status in ('failed', 'ok')"))
    assert listed("--code", "truncated") == to_json(ledger(dest, "where code = 'truncated'"))
    assert listed("--status", "failed", "--code", "truncated") == to_json(
        ledger(dest, "where code = 'truncated' and status = 'failed'")
    )
    folder = next(path for path in sorted(studies.iterdir()) if path.is_dir())
    expected = to_json(ledger(dest, f"where starts_with(uri, '{folder}/')"))
    assert listed("--under", folder, *(x for s in dicomflow.errors.Status for x in ("--status", s))) == expected
    assert listed("--under", str(folder)[:-1]) == []
    assert len(listed("--limit", 3)) == 3 and listed("--limit", 0) == []


def test_the_limit_holds_over_batches(run: Run, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a batch ends before it."""
    monkeypatch.setattr("dicomflow.query._BATCH_ROWS", 2)
    for limit in (1, 2, 5):
        assert len(run("files", dest, "--format", "ndjson", "--limit", limit).out.splitlines()) == limit


def test_table(run: Run, dest: Path) -> None:
    """A header, then a line for each file."""
    out = run("files", dest, "--status", "failed").out.splitlines()
    assert out[0].split() == ["status", "code", "size", "mtime", "attempts", "file"]
    assert len(out) == 1 + len(ledger(dest, "where status = 'failed'"))
    for form, out in (("table", ""), ("ndjson", ""), ("json", "[]\n")):
        assert run("files", dest, "--status", "removed", "--format", form) == (0, out, "dicomflow: 0 rows\n")


def test_names_of_all_sorts(run: Run, hostile: Path) -> None:
    """Programs get the exact name; people get one line each, with nothing that a terminal acts on."""
    expected = sorted(row["uri"] for row in ledger(hostile, "where status <> 'ok'"))
    assert len(expected) == len(NAMES)
    out = run("files", hostile, "--format", "csv").out
    assert sorted(row[0] for row in csv.reader(io.StringIO(out, newline=""))) == sorted([*expected, "uri"])
    for form in ("json", "ndjson"):
        out = run("files", hostile, "--format", form).out
        rows = json.loads(out) if form == "json" else [json.loads(line) for line in out.split("\n") if line]
        assert sorted(row["uri"] for row in rows) == expected and "\x1b" not in out and "\u202e" not in out
    out = run("files", hostile).out
    assert len(out.splitlines()) == len(NAMES) + 1
    assert not {"\x1b", "\r", "\u202e"} & set(out)
    assert "file:///" in out and "esc\\x1b[2J" in out


def test_csv_on_a_terminal(run: Run, hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, too, nothing acts on it."""
    monkeypatch.setattr(module, "stdout_console", lambda: type("Console", (), {"is_terminal": True})())
    out = run("files", hostile, "--format", "csv").out
    assert not {"\x1b", "\r", "\u202e"} & set(out) and 'quo""te,comma"' in out


def test_under_a_name_that_is_not_utf8(run: Run, tmp_path: Path) -> None:
    """A folder is found by the bytes of its name, and by the uri that the ledger has for it."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    for path in (folder, tmp_path / "other"):
        path.mkdir()
        (path / "f").write_bytes(b"")
    dicomflow.extract([str(folder), tmp_path / "other"], tmp_path / "out", columns="minimal", scheduler="threads")
    for under in (str(folder), f"file://{tmp_path}/caf%E9"):
        (row,) = json.loads(run("files", tmp_path / "out", "--format", "json", "--under", under).out)
        assert row["uri"] == f"file://{tmp_path}/caf%E9/f"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--status", "bad"], 2, "'bad' is not one of"),
        (["--code", "bad"], 2, "'bad' is not one of"),
        (["--under", "s3://x/y"], 1, "s3://x/y: not a local path"),
        (["--limit", "-1"], 2, "--limit"),
    ],
)
def test_refusals(run: Run, dest: Path, arguments: list[str], code: int, message: str) -> None:
    """Words that the ledger does not have are wrong usage."""
    outcome = run("files", dest, *arguments)
    assert (outcome.code, outcome.out) == (code, "") and message in outcome.err


@pytest.mark.parametrize("form", ["table", "csv", "json", "ndjson"])
def test_a_closed_pipe_is_no_error(dest: Path, form: str) -> None:
    """``dicomflow files DEST | head`` ends without a word on stderr."""
    arguments = [sys.executable, "-m", "dicomflow", "files", str(dest), "--format", form]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_part_that_went_away(run: Run, studies: Path, tmp_path: Path) -> None:
    """A damaged ledger is one line, without its bytes."""
    run("extract", studies, "-o", tmp_path / "out", "--quiet", "--columns", "minimal")
    (part,) = (tmp_path / "out/files").glob("*.parquet")
    data = part.read_bytes()
    part.write_bytes(b"\xff" * (len(data) // 2) + data[len(data) // 2 :])
    outcome = run("files", tmp_path / "out")
    assert outcome.code == 1 and outcome.err.startswith("dicomflow: error: ") and "unexpected" not in outcome.err
