"""Failed files are logged, a few of them, with ids and without what they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from dicomflow.log import LogContext, configure_logging, get_logger, joined
from dicomflow.worker.failures import MAX_LINES
from tests.test_worker import Put, Scan, encode, make_file

MARKER = b"MARKER^PATIENT"


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_failed_files_are_logged(scan: Scan, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    """Each says which file, why and where; the rest of a task is one line; all carry the ids of the run and of the task."""
    configure_logging(json=True, level="info")
    named = encode(0x00100010, "PN", MARKER)
    headless = make_file(None).replace(encode(0x00080060, "CS", b"CT"), encode(0x00080060, "CS", b"CT") + named)
    paths = [put("headless", headless), put("text", MARKER), put("good", make_file("1.1"))]
    paths += [paths[0].with_name(f"gone{n}") for n in range(MAX_LINES + 6)]
    with joined(LogContext(run_id="run", trace_id="trace")):
        scan(paths)
    lines = read_lines(capsys)
    failures = [line for line in lines if line["level"] == "info" and line["event"] != "task_done"]
    assert {(line["run_id"], line["trace_id"], line["task_id"]) for line in lines} == {("run", "trace", "task")}
    assert [line["event"] for line in failures] == ["file_failed"] * MAX_LINES + ["more_files"]
    first = failures[0]
    assert (first["uri"], first["code"]) == (str(paths[0]), "missing_sop_instance_uid") and first["offset"] > 0
    assert (failures[-1]["files"], failures[-1]["codes"]) == (7, {"not_found": 7})
    assert lines[-1]["event"] == "task_done" and {line["level"] for line in lines} == {"info"}
    assert MARKER.decode() not in json.dumps(lines)
    get_logger("worker").warning("afterwards")
    (after,) = read_lines(capsys)
    assert after["run_id"] != "run" and after["task_id"] is None


def test_what_is_expected_is_for_those_who_debug(scan: Scan, put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that are no DICOM are no failures, and as bounded."""
    configure_logging(json=True, level="debug")
    scan([put(f"f{n}", b"text") for n in range(MAX_LINES + 1)])
    lines = read_lines(capsys)
    assert {line["level"] for line in lines if line["event"] == "file_not_dicom"} == {"debug"}
    assert [line["event"] for line in lines].count("file_not_dicom") == MAX_LINES
    assert [(line["level"], line["files"]) for line in lines if line["event"] == "more_files"] == [("debug", 1)]
