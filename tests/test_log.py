"""Tests of dicomflow.log."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from dicomflow.errors import ConfigError, HeaderError
from dicomflow.log import bind_run, bound_task, configure_logging, get_logger

MARKER = "MARKER^PATIENT"


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Each test begins and ends with nothing configured and nothing bound."""
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def read_json(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    out, err = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_json_line_has_all_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """A line carries time, level, service, ids, stage and event, on standard error only."""
    configure_logging(json=True, level="info")
    bind_run("run-1", "trace-1")
    with bound_task("task-1"):
        get_logger("compute").info("task_done", files=3)
    (line,) = read_json(capsys)
    time = datetime.fromisoformat(line.pop("timestamp"))
    assert time.utcoffset() == timedelta(0) and abs(datetime.now(UTC) - time) < timedelta(minutes=5)
    assert line == {
        "level": "info",
        "service": "dicomflow",
        "run_id": "run-1",
        "trace_id": "trace-1",
        "task_id": "task-1",
        "stage": "compute",
        "event": "task_done",
        "files": 3,
    }


def test_task_id_ends_with_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    """After the block the run's ids stay and the task's id is gone."""
    configure_logging(json=True, level="info")
    bind_run("run-1", "trace-1")
    with bound_task("task-1"):
        pass
    get_logger("plan").info("planned")
    (line,) = read_json(capsys)
    assert line["run_id"] == "run-1" and "task_id" not in line


def test_level_decides_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    configure_logging(json=True, level="warning")
    log = get_logger("plan")
    log.info("hidden")
    log.warning("shown")
    assert [line["event"] for line in read_json(capsys)] == ["shown"]


def test_unknown_level_is_a_config_error() -> None:
    """A level that does not exist is refused with those that do."""
    with pytest.raises(ConfigError, match="log level 'loud': expected one of debug, info, warning, error, critical"):
        configure_logging(json=True, level="loud")


def test_logger_made_before_configuration_follows_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A logger that a module made at import obeys what is configured later, and then again later."""
    log = get_logger("plan")
    configure_logging(json=True, level="debug")
    log.debug("first")
    configure_logging(json=True, level="error")
    log.warning("second")
    assert [line["event"] for line in read_json(capsys)] == ["first"]


def test_unconfigured_library_shows_only_warnings_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """In somebody's notebook nothing but warnings and worse is written, and nothing to standard output."""
    log = get_logger("plan")
    log.info("hidden")
    log.warning("shown")
    out, err = capsys.readouterr()
    assert out == "" and "shown" in err and "hidden" not in err
    assert not structlog.is_configured()


def test_console_line_is_for_people_and_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no colours, and no control character of a file name reaches the output."""
    configure_logging(json=False, level="info")
    get_logger("worker").warning("file_failed", uri="/data/a\x1b[2J\nb\udcff.dcm", code="io_error")
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line and "file_failed" in line and "code=io_error" in line
    assert r"a\x1b[2J\nb\udcff.dcm" in line


@pytest.mark.parametrize("as_json", [True, False])
def test_exception_shows_place_and_type_but_not_what_it_quotes(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """A stranger's exception may quote a value: its type and frames are logged, never its text; ours is."""
    configure_logging(json=as_json, level="info")
    secret = MARKER
    try:
        try:
            int(secret)
        except ValueError as error:
            raise HeaderError("cannot read /data/a.dcm at offset 132") from error
    except HeaderError:
        get_logger("worker").exception("task_failed")
    err = capsys.readouterr().err
    assert "HeaderError: cannot read /data/a.dcm at offset 132" in err
    assert "because of ValueError" in err and "test_log.py" in err
    assert MARKER not in err


def test_logger_travels_to_workers(capsys: pytest.CaptureFixture[str]) -> None:
    """A pickled logger keeps its stage."""
    configure_logging(json=True, level="info")
    pickle.loads(pickle.dumps(get_logger("worker"))).info("here")
    assert read_json(capsys)[0]["stage"] == "worker"


def test_import_costs_structlog_only() -> None:
    """The module brings in nothing heavy."""
    heavy = "{'dask', 'pandas', 'pyarrow', 'pydantic', 'pydicom'}"
    code = f"import dicomflow.log, sys; print(*sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == ""
