"""``dicomflow extract`` from end to end, on synthetic studies."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dicomflow.cli import extract as module
from dicomflow.errors import Code, Status
from dicomflow.query import open_dataset

from .conftest import Run


def test_json_is_all_of_stdout_and_adds_up(run: Run, studies: Path, tmp_path: Path) -> None:
    """The outcomes of ``--json`` add up to the files, the rows to the dataset, and stdout holds nothing else."""
    outcome = run("extract", studies, "-o", tmp_path / "out", "--json", "--columns", "minimal")
    summary = json.loads(outcome.out)
    assert outcome.code == 0
    assert summary["files"] == 120 == sum(row["files"] for row in summary["outcomes"])
    assert {row["status"] for row in summary["outcomes"]} <= {str(status) for status in Status}
    assert {row["code"] for row in summary["outcomes"]} <= {None, *(str(code) for code in Code)}
    assert summary["rows"] == open_dataset(tmp_path / "out").to_arrow().num_rows
    assert summary["failed"] > 0


def test_summary_for_people(run: Run, studies: Path, tmp_path: Path) -> None:
    """The summary says how many files and rows, each outcome, where the dataset is, and what to do next."""
    dest = tmp_path / "out"
    outcome = run("extract", studies, "-o", dest, "--columns", "minimal")
    assert outcome.code == 0
    assert outcome.out.startswith("120 files became ")
    for text in ("no_dicom_header", "files/s", f"dataset     {dest}, version 1\n", "pd.read_parquet(", "duckdb.sql("):
        assert text in outcome.out


def test_summary_of_a_run_with_nothing_to_do(run: Run, ct: Path, tmp_path: Path) -> None:
    """It says so, plainly."""
    first, second = (run("extract", ct, "-o", tmp_path / "out").out for _ in range(2))
    assert first.startswith("1 file became 1 row in ")
    assert second.startswith("1 file is 1 row; unchanged: nothing read, in ")


def test_what_is_not_said_again_stays(run: Run, studies: Path, tmp_path: Path) -> None:
    """Columns and partitions of the first command hold for the second one; a file that says otherwise is refused."""
    (tmp_path / "split.yaml").write_text("columns: minimal\ndataset: {partition_by: [Modality]}\n")
    (tmp_path / "other.yaml").write_text("columns: standard\n")
    (tmp_path / "flat.yaml").write_text("dataset: {partition_by: []}\n")
    first = run("extract", studies, "-o", tmp_path / "out", "--config", tmp_path / "split.yaml", "--json")
    again = run("extract", studies, "-o", tmp_path / "out", "--json")
    found = json.loads(again.out)
    assert (again.code, found["profile"], found["version"]) == (0, "minimal", json.loads(first.out)["version"])
    for name, says in (("other.yaml", "asks for others ('standard')"), ("flat.yaml", "asks for no partitions")):
        refused = run("extract", studies, "-o", tmp_path / "out", "--config", tmp_path / name)
        assert refused.code == 1 and says in refused.err and refused.err.count("\n") == 1
    for command in (["add-columns", tmp_path / "out", "--columns", "standard"], ["compact", tmp_path / "out"]):
        assert "asks for no partitions" in run(*command, "--config", tmp_path / "flat.yaml").err


def test_advice_works(run: Run, studies: Path, tmp_path: Path) -> None:
    """The pandas line and the SQL line of the summary run as they are printed, even where DEST holds quotes."""
    dest = tmp_path / 'it\'s "new"'
    out = run("extract", studies, "-o", dest, "--columns", "minimal").out
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith(("pandas", "SQL")))
    script = f"import duckdb, pandas as pd\nprint(len({lines['pandas']}), len({lines['SQL']}.fetchall()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rows, not_ok = map(int, done.stdout.split())
    dataset = open_dataset(dest)
    assert rows == dataset.to_arrow().num_rows
    assert not_ok == dataset.sql("select count(*) as n from files where status <> 'ok'")["n"][0].as_py() > 0


def test_quiet(run: Run, studies: Path, tmp_path: Path) -> None:
    """``--quiet`` says nothing at all when all is well."""
    assert run("extract", studies, "-o", tmp_path / "out", "--quiet", "--columns", "minimal") == (0, "", "")


@pytest.mark.parametrize(
    ("limit", "code", "said"), [("0", 3, "0 %"), ("1%", 3, "1 %"), ("0.0001", 3, "0.01 %"), ("0.9", 0, "")]
)
def test_too_many_failed(run: Run, studies: Path, tmp_path: Path, limit: str, code: int, said: str) -> None:
    """Exit code 3 and one line, where more files failed than allowed; the dataset is there all the same."""
    outcome = run("extract", studies, "-o", tmp_path / "out", "--json", "--max-failed", limit, "--columns", "minimal")
    assert outcome.code == code
    assert (f"more than --max-failed {said} allows" in outcome.err) == (code == 3)
    assert json.loads(outcome.out)["rows"] == open_dataset(tmp_path / "out").to_arrow().num_rows


def test_max_failed_from_the_configuration(run: Run, studies: Path, tmp_path: Path) -> None:
    """``max_failed`` of the YAML file counts too, and the command line wins over it."""
    config = tmp_path / "config.yaml"
    config.write_text("max_failed: 0\ncolumns: minimal\n")
    arguments = ("extract", studies, "-o", tmp_path / "out", "--config", config, "--quiet")
    assert run(*arguments).code == 3
    assert run(*arguments, "--max-failed", "90%").code == 0


def test_options_reach_the_configuration(monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path) -> None:
    """Each option sets its key, and nothing is set that was not given."""
    seen = {}

    def extract(sources: object, dest: object, *, config: object, progress: object, mode: object) -> None:
        seen.update(sources=sources, dest=dest, config=config, mode=mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "extract", extract)
    monkeypatch.setattr(module, "leave_on_interrupt", lambda *_: __import__("contextlib").nullcontext())
    run("extract", "a", "b", "-o", "c", "--scheduler", "processes", "--workers", 3, "--columns", "minimal",
        "--performance-report", "r.html", "--no-dashboard", "--max-failed", "5%")  # fmt: skip
    config = seen["config"]
    assert (seen["sources"], seen["dest"], seen["mode"]) == (["a", "b"], "c", "increment")
    assert (config.columns, config.max_failed) == ("minimal", 0.05)
    assert (config.compute.scheduler, config.compute.workers) == ("processes", 3)
    assert (str(config.compute.performance_report), config.compute.dashboard_address) == ("r.html", "")
    run("extract", "a", "-o", "c")
    assert seen["config"] == module.load_config(None, {})
    for option, mode in (("--full", "full"), ("--retry-failed", "retry_failed")):
        run("extract", "a", "-o", "c", option)
        assert seen["mode"] == mode and seen["config"] == module.load_config(None, {})


BAD_INPUT = {
    "missing SOURCE": (["nowhere", "-o", "out"], 1, "nowhere: no such file"),
    "DEST is a file": (["studies", "-o", "file.txt"], 1, "file.txt: is a file"),
    "DEST holds other things": (["studies", "-o", "."], 1, "is not empty and not a dicomflow dataset"),
    "DEST holds other things, by a detour": (["studies", "-o", "new/../full"], 1, "is not empty and not a dicomflow"),
    "DEST below a file": (["studies", "-o", "file.txt/out"], 1, "cannot be written"),
    "no such configuration": (["studies", "-o", "out", "--config", "no.yaml"], 2, "no.yaml: cannot read"),
    "broken YAML": (["studies", "-o", "out", "--config", "broken.yaml"], 2, "broken.yaml: line "),
    "unknown key": (["studies", "-o", "out", "--config", "unknown.yaml"], 2, "did you mean 'workers'?"),
    "unknown profile": (["studies", "-o", "out", "--columns", "minimum"], 2, "did you mean 'minimal'?"),
    "unknown column": (["studies", "-o", "out", "--columns", "columns.yaml"], 2, "did you mean 'PatientID'?"),
    "no scheduler's address": (["studies", "-o", "out", "--scheduler", "tcp://x"], 2, "tcp://HOST:PORT"),
}


@pytest.mark.parametrize("name", list(BAD_INPUT))
def test_bad_input(monkeypatch: pytest.MonkeyPatch, run: Run, studies: Path, tmp_path: Path, name: str) -> None:
    """Each fault of the user's is one clear line on stderr, nothing on stdout, and its exit code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(studies)
    (tmp_path / "file.txt").write_text("not a folder")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "broken.yaml").write_text("compute: [")
    (tmp_path / "unknown.yaml").write_text("compute: {wokers: 2}")
    (tmp_path / "columns.yaml").write_text("profile: mine\ncolumns: [PatientIDD]\n")
    arguments, code, message = BAD_INPUT[name]
    outcome = run("extract", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith("dicomflow: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert not (tmp_path / "out" / "instances").exists()


def test_an_unreachable_scheduler(run: Run, studies: Path, tmp_path: Path) -> None:
    """An address where nobody listens is an error within the configured time."""
    config = tmp_path / "config.yaml"
    config.write_text("compute: {connect_timeout: 1}\n")
    start = time.monotonic()
    outcome = run("extract", studies, "-o", tmp_path / "out", "--config", config, "--scheduler", "tcp://127.0.0.1:9")
    assert time.monotonic() - start < 20
    assert outcome.code == 1
    assert "tcp://127.0.0.1:9: no Dask scheduler can be reached" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_folder_without_permission_is_a_row(
    monkeypatch: pytest.MonkeyPatch, run: Run, studies: Path, tmp_path: Path
) -> None:
    """What may not be read is in the ledger, and no reason to stop (refused by hand: root may read all)."""
    closed = tmp_path / "source" / "closed"
    closed.mkdir(parents=True)
    real = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if path == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    outcome = run("extract", studies, closed.parent, "-o", tmp_path / "out", "--json", "--columns", "minimal")
    codes = {row["code"]: row["files"] for row in json.loads(outcome.out)["outcomes"]}
    assert (outcome.code, codes["permission_denied"]) == (0, 1)
    ledger = open_dataset(tmp_path / "out").sql("select uri from files where code = 'permission_denied'")
    assert ledger["uri"].to_pylist() == [str(closed)]


def test_debug_log_has_the_traceback_without_the_text(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path
) -> None:
    """``--log-level debug`` shows where a surprise came from, and still not what it says."""

    def extract(*_: object, **__: object) -> None:
        raise RuntimeError(chr(68) + "oe^Jane")  # the traceback shows this line, not its text

    monkeypatch.setattr(module, "extract", extract)
    plain = run("extract", "a", "-o", tmp_path / "out")
    debug = run("extract", "a", "-o", tmp_path / "out", "--log-level", "debug")
    assert (plain.code, debug.code) == (1, 1)
    assert "test_extract.py" not in plain.err
    assert "test_extract.py" in debug.err
    assert "unexpected RuntimeError" in debug.err
    assert "Doe" not in plain.err + debug.err


def test_log_json(run: Run, studies: Path, tmp_path: Path) -> None:
    """With ``--log-json`` each line of the log is an object with the ids of the run."""
    outcome = run("extract", studies, "-o", tmp_path / "out", "--quiet", "--log-json", "--log-level", "info",
                  "--columns", "minimal")  # fmt: skip
    events = [json.loads(line) for line in outcome.err.splitlines()]
    assert outcome.code == 0
    assert events
    assert all(event["service"] == "dicomflow" and event["run_id"] for event in events)


def test_metrics(run: Run, studies: Path, tmp_path: Path) -> None:
    """A free port is found and said; a file is left; a port that is taken is one line, and nothing is read."""
    file, dest = tmp_path / "run.prom", tmp_path / "out"
    done = run("extract", studies, "-o", dest, "--metrics-port", 0, "--metrics-file", file, "--columns", "minimal")
    assert done.code == 0
    assert re.search(r"^dicomflow: metrics http://127\.0\.0\.1:[0-9]+/metrics$", done.err, re.MULTILINE)
    assert "dicomflow_run_success 1.0\n" in file.read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = run("extract", studies, "-o", tmp_path / "other", "--metrics-port", taken.getsockname()[1])
    assert (
        refused.code == 2
        and refused.err.count("\n") == 1
        and "Address already in use; take another port" in refused.err
    )
    assert not (tmp_path / "other").exists()
