"""Tests of dicomflow.log."""

from __future__ import annotations

import contextvars
import json
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from dicomflow.errors import ConfigError, HeaderError
from dicomflow.log import (
    MAX_RELAYED,
    LogContext,
    bind_run,
    bound_task,
    configure_logging,
    get_logger,
    joined,
    log_context,
    write_relayed,
)

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
    assert line["run_id"] == "run-1" and line["task_id"] is None


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


ABROAD = LogContext(run_id="run-2", trace_id="f" * 32, json=True, level="info", process="another:1")
FIELDS = ["timestamp", "level", "service", "run_id", "trace_id", "task_id", "stage", "event"]


def test_every_line_has_the_same_fields_first(capsys: pytest.CaptureFixture[str]) -> None:
    """In their order, null where there is none: whoever searches logs can rely on it."""
    configure_logging(json=True, level="info")
    contextvars.Context().run(get_logger("plan").info, "before any run", files=1)
    (line,) = read_json(capsys)
    assert list(line) == [*FIELDS, "files"]
    assert (line["run_id"], line["trace_id"], line["task_id"]) == (None, None, None)


def log_elsewhere(context: LogContext, relayed: list[str]) -> None:
    """What a worker process does."""
    with joined(context, relayed.append), bound_task("task-2"):
        get_logger("worker").info("task_done")
        get_logger("worker").warning("file_failed", uri="/data/a.dcm")


def test_other_process_logs_as_the_driver_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines carry the ids of the run; warnings go to the driver, and only there."""
    relayed: list[str] = []
    log_elsewhere(ABROAD, relayed)
    (here,), (there,) = read_json(capsys), map(json.loads, relayed)
    for line, level, event in ((here, "info", "task_done"), (there, "warning", "file_failed")):
        assert list(line)[: len(FIELDS)] == FIELDS
        assert (line["run_id"], line["trace_id"], line["task_id"]) == ("run-2", "f" * 32, "task-2")
        assert (line["level"], line["event"]) == (level, event)


def test_next_run_may_want_another_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker process outlives a run: it follows each in turn, and forgets its ids."""
    for level in ("error", "info"):
        context = LogContext(run_id=level, trace_id="", json=True, level=level, process="another:1")
        with joined(context):
            get_logger("worker").info("here")
    get_logger("worker").info("after")
    first, second = read_json(capsys)
    assert (first["run_id"], first["event"]) == ("info", "here")
    assert second["event"] == "after" and second["run_id"] != "info"


def test_relay_that_fails_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the way to the driver is gone, the line is written here."""

    def broken(_line: str) -> None:
        raise OSError("gone")

    with joined(ABROAD, broken):
        get_logger("worker").error("here")
    assert [line["event"] for line in read_json(capsys)] == ["here"]


def test_own_process_relays_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks in the driver's process write where it writes."""
    configure_logging(json=True, level="info")
    bind_run("run-3", "trace-3")
    with joined(log_context(), pytest.fail):
        get_logger("worker").warning("here")
    (line,) = read_json(capsys)
    assert line["trace_id"] == "trace-3"


def test_programs_own_configuration_stays() -> None:
    """A worker in which somebody else has configured structlog is left as it is."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    before = structlog.get_config()
    with joined(ABROAD):
        assert structlog.get_config() == before
    assert log_context().level is None


def test_worker_without_configuration_shows_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """A driver that configured nothing asks for nothing; warnings come to it all the same."""
    relayed: list[str] = []
    log_elsewhere(LogContext(run_id="run-4", trace_id="", process="another:1"), relayed)
    assert capsys.readouterr().err == "" and len(relayed) == 1 and "file_failed" in relayed[0] and "run-4" in relayed[0]
    assert not structlog.is_configured()


def test_relayed_line_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a worker sends: bounded, and nothing that a terminal acts on."""
    write_relayed("a\x1b[2J\nb" + "x" * MAX_RELAYED * 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a\\x1b[2J\\nb") and len(line) < 2 * MAX_RELAYED


def test_lines_follow_standard_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress bar puts its own stream in the place of stderr, after the log was configured."""
    configure_logging(json=True, level="info")
    with Path("/dev/null").open("w") as elsewhere, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", elsewhere)
        get_logger("plan").info("hidden")
        patch.setattr(sys, "stderr", None)
        get_logger("plan").info("nowhere")
    get_logger("plan").info("shown")
    assert [line["event"] for line in read_json(capsys)] == ["shown"]


def test_context_travels_to_a_real_process(capfd: pytest.CaptureFixture[str]) -> None:
    """Pickled, into a spawned process, whose standard error is ours."""
    configure_logging(json=True, level="info")
    bind_run("run-5", "trace-5")
    process = multiprocessing.get_context("spawn").Process(target=log_elsewhere, args=(log_context(), []))
    process.start()
    process.join()
    (line,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert (line["event"], line["run_id"], line["trace_id"]) == ("task_done", "run-5", "trace-5")
