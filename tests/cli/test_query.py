"""``dicomflow query`` asks, prints and writes; its exit codes are those of the other commands."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.report.text import format_bytes
from dicomflow.sql.named import list_queries

from .conftest import Run

COUNTS = "select Modality, count(*) as n from instances group by all order by all"


@pytest.fixture(scope="module")
def dest(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query") / "out"
    dicomflow.extract(studies, folder, scheduler="threads")
    return folder


def test_the_formats_say_the_same(run: Run, dest: Path, tmp_path: Path) -> None:
    """On stdout and in files, whose suffix says the format."""
    expected = dicomflow.open_dataset(dest).sql(COUNTS).to_pylist()
    assert json.loads(run("query", dest, COUNTS, "--format", "json").out) == expected
    assert [json.loads(line) for line in run("query", dest, COUNTS, "--format", "ndjson").out.splitlines()] == expected
    rows = list(csv.DictReader(io.StringIO(run("query", dest, COUNTS, "--format", "csv").out)))
    assert [(row["Modality"] or None, int(row["n"])) for row in rows] == [
        (row["Modality"], row["n"]) for row in expected
    ]
    for suffix in ("json", "ndjson", "jsonl", "csv", "parquet", "txt", "PARQUET"):
        done = run("query", dest, COUNTS, "-o", tmp_path / f"x.{suffix}", "--quiet")
        assert done == (0, "", "")
    assert json.loads((tmp_path / "x.json").read_text()) == expected
    assert (
        (tmp_path / "x.jsonl").read_text()
        == (tmp_path / "x.ndjson").read_text()
        == run("query", dest, COUNTS, "--format", "ndjson").out
    )
    assert (tmp_path / "x.csv").read_text() == run("query", dest, COUNTS, "--format", "csv").out
    assert (
        pq.read_table(tmp_path / "x.parquet").to_pylist()
        == pq.read_table(tmp_path / "x.PARQUET").to_pylist()
        == expected
    )
    assert (tmp_path / "x.txt").read_text() == run("query", dest, COUNTS).out
    assert run("query", dest, COUNTS, "--format", "csv", "-o", tmp_path / "y.json").code == 0
    assert (tmp_path / "y.json").read_text() == (tmp_path / "x.csv").read_text()
    assert len(list(tmp_path.iterdir())) == 8  # no temporary file


@pytest.mark.parametrize("suffix", ["csv", "json", "ndjson", "parquet", "txt"])
def test_what_was_written_is_said(run: Run, dest: Path, tmp_path: Path, suffix: str) -> None:
    """Rows, bytes and the file, on stderr; a limit counts; so does an answer without rows."""
    path = tmp_path / f"x.{suffix}"
    query = "select range as n from range(200_000)"
    for limit, says in ((("--limit", 1), "1 row,"), (("--limit", 70_000), "70,000 rows,"), (("--limit", 0), "0 rows,")):
        done = run("query", dest, query, "-o", path, *limit)
        size = format_bytes(path.stat().st_size)
        assert done == (0, "", f"dicomflow: {says} {size}, written to {path}\n")
    assert run("query", dest, "select 1 where false", "-o", path).err.startswith("dicomflow: 0 rows, ")


@pytest.mark.parametrize("name", ["x.xlsx", "x", "x.csv.gz", "csv", "-"])
def test_a_name_that_says_no_format(run: Run, dest: Path, tmp_path: Path, name: str) -> None:
    """One line with the endings that do; nothing is written, unless --format says it."""
    done = run("query", dest, COUNTS, "-o", tmp_path / name)
    assert done.code == 2 and "end it in .csv, .json, .ndjson, .jsonl, .parquet, .txt, or give --format" in done.err
    assert not list(tmp_path.iterdir())
    assert run("query", dest, COUNTS, "-o", tmp_path / name, "--format", "csv").code == 0
    assert (tmp_path / name).read_text() == run("query", dest, COUNTS, "--format", "csv").out


@pytest.mark.parametrize("form", ["table", "csv", "json", "ndjson"])
def test_an_answer_without_rows(run: Run, dest: Path, form: str) -> None:
    """Is said on stderr, unless nobody wants to hear it."""
    query = "select 1 as a where false"
    loud, quiet = (run("query", dest, query, "--format", form, *more) for more in ((), ("--quiet",)))
    assert (loud.code, loud.err, quiet) == (0, "dicomflow: 0 rows\n", (0, loud.out, ""))
    assert run("query", dest, "select 1 as a", "--format", form).err == ""


def test_table(run: Run, dest: Path) -> None:
    """A heading, a line for each row; what is left out is said on stderr."""
    rows = dicomflow.open_dataset(dest).snapshot.rows("instances")
    assert rows > 50
    done = run("query", dest, "select SOPInstanceUID, Modality from instances")
    assert done.code == 0 and len(done.out.splitlines()) == 51 and done.out.startswith("SOPInstanceUID")
    assert (
        done.err.strip()
        == "dicomflow: there are more rows than these 50; --limit N shows more, --format csv all of them"
    )
    done = run("query", dest, "select 1 as one from instances", "--limit", rows)
    assert len(done.out.splitlines()) == rows + 1 and done.err == ""
    done = run("query", dest, "from instances", "--limit", 0)
    assert len(done.out.splitlines()) == 1 and "more rows" in done.err


def test_on_a_terminal(dest: Path) -> None:
    """As wide as it is, and nothing in it that it acts on, whatever the format."""
    query = "select chr(27) || '[2J' as \"a\x1b[1m\", * from instances limit 2"
    for form in ("table", "csv", "json"):
        out = run_in_terminal("query", str(dest), query, "--format", form)
        assert "\x1b[2J" not in out and "\x1b[1m[" not in out and "[2J" in out
        if form == "table":
            assert "more columns do not fit" in out


def run_in_terminal(*arguments: str) -> str:
    main, end = pty.openpty()
    command = [sys.executable, "-m", "dicomflow", *arguments]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment) as process:
        os.close(end)
        found = b""
        try:
            while chunk := os.read(main, 65536):
                found += chunk
        except OSError:  # it has ended
            pass
    os.close(main)
    assert process.returncode == 0, found
    return found.decode()


def test_named(run: Run, dest: Path) -> None:
    """They are listed, shown, and run by @NAME."""
    listed = run("query", "--list")
    assert listed == run("query", dest, "--list") and run("query").code == 2
    assert listed.code == 0 and [line.split()[0] for line in listed.out.splitlines()] == [
        f"@{query.name}" for query in list_queries()
    ]
    shown = run("query", dest, "@studies-per-month", "--show")
    assert shown.out.startswith("-- ") and "date_trunc" in shown.out
    assert json.loads(run("query", dest, "@studies-per-month", "--format", "json").out) == json.loads(
        run("query", "--format", "json", "--", dest, shown.out).out
    )
    unknown = run("query", dest, "@studies-per-moth")
    assert unknown.code == 2 and "did you mean studies-per-month?" in unknown.err
    assert run("query", dest, "select 1", "--show").code == 2
    assert run("query", "--show", "@studies-per-month").out == shown.out  # which needs no dataset
    missing = run("query", "@studies-per-month")
    assert missing.code == 2 and "Missing argument 'DEST': the dataset, before @studies-per-month" in missing.err


def test_named_without_its_columns(run: Run, studies: Path, tmp_path: Path) -> None:
    """That nothing is missing where no position is known would be no answer: the columns that are lacking are named."""
    dicomflow.extract(studies, tmp_path / "out", columns="minimal", scheduler="threads")
    for name, lacking in {"missing-slices": "ImagePositionPatient", "exposure-times": "ProtocolName, Exp"}.items():
        found = run("query", tmp_path / "out", f"@{name}")
        assert found.code == 1 and found.out == "" and f"@{name} needs columns" in found.err
        assert "lacks: " in found.err and lacking in found.err and "add-columns" in found.err
    assert run("query", tmp_path / "out", "@studies-per-month").code == 0


def test_query_from_stdin(run: Run, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash reads it there."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("select 6 * 7 as n -- a comment\n;\n"))
    assert run("query", dest, "-", "--format", "ndjson").out == '{"n":42}\n'


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["select nope from instances"], 1, 'Referenced column "nope" not found'),
        (["copy instances to '/tmp/x'"], 1, "a dataset is only read"),
        (["from '/etc/passwd'"], 1, "/etc/passwd"),
        (["select PatientID::int from instances", "--format", "csv"], 1, "TRY_CAST"),
        (["select 1 as a, 2 as a", "--format", "json"], 1, "two columns are called 'a'"),
        ([], 2, "Missing argument"),
        (["select 1", "--format", "parquet"], 2, "-o FILE.parquet"),
        (["select 1", "--format", "xml"], 2, "xml"),
        (["select 1", "--memory", "much"], 2, "is no size"),
        (["select 1", "--memory", "1MB"], 2, "is no size"),
        (["select 1", "--threads", "0"], 2, "--threads"),
        (["select 1", "--limit", "-1"], 2, "--limit"),
        (["select 1", "-o", "{dest}/instances/x.parquet"], 2, "lies in the dataset"),
        (["select 1", "-o", "{dest}/../link/x.parquet"], 2, "lies in the dataset"),
        (["select 1", "-o", "/proc/nothing/x.csv"], 1, "cannot be written"),
    ],
)
def test_errors(run: Run, dest: Path, arguments: list[str], code: int, said: str) -> None:
    """One line, no traceback, nothing printed before."""
    link = dest.parent / "link"
    if not link.exists():
        link.symlink_to(dest / "files")
    done = run("query", dest, *(argument.format(dest=dest) for argument in arguments))
    assert done.code == code and said in done.err and "Traceback" not in done.err
    assert not [line for line in done.out.splitlines() if not line.startswith('"')]  # the heading of a CSV


def test_no_dataset(run: Run, tmp_path: Path) -> None:
    """The message says how to make one."""
    done = run("query", tmp_path, "select 1")
    assert done.code == 1 and "no dicomflow dataset here" in done.err


def test_a_file_that_was_there_stays(run: Run, dest: Path, tmp_path: Path) -> None:
    """A query that fails on the way leaves the old file."""
    (tmp_path / "x.csv").write_text("old")
    failing = "select case when i > 90_000 then error('x') else i end as n from range(100_000) t(i)"
    for suffix in ("csv", "json", "parquet"):
        assert run("query", dest, failing, "-o", tmp_path / f"x.{suffix}").code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"] and (tmp_path / "x.csv").read_text() == "old"


def test_a_reader_that_goes_away(dest: Path) -> None:
    """``| head`` ends it, without a word."""
    command = f"{sys.executable} -m dicomflow query '{dest}' 'from range(100_000_000)' --format csv"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -2; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, '"range"\n0\n', "")


def test_huge_limits(run: Run, dest: Path) -> None:
    """A limit beyond all rows shows all; one beyond what can be counted is a usage error."""
    assert run("query", dest, COUNTS, "--limit", str(1 << 62)) == run("query", dest, COUNTS, "--limit", "1000")
    assert run("query", dest, COUNTS, "--limit", "9" * 30).code == 2


def test_timeout(run: Run, dest: Path, tmp_path: Path) -> None:
    """One line, exit code 1, no file; a query that is in time is not disturbed."""
    endless = "select sum(hash(i)) from range(1_000_000_000_000) t(i)"
    done = run("query", dest, endless, "--timeout", "0.3", "-o", tmp_path / "x.csv")
    assert done.code == 1 and not any(tmp_path.iterdir())
    assert done.err == "dicomflow: error: the query was stopped after 0.3 s; give it more time\n"
    assert run("query", dest, "select 1 as n", "--timeout", "600", "--format", "csv").out == '"n"\n1\n'
    for wrong in ("0", "-1", "soon"):
        assert run("query", dest, "select 1", "--timeout", wrong).code == 2
