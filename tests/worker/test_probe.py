"""A look at some files tells how long they take, and comes back from a storage that does not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dicomflow.config import HeaderConfig
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.profile import load_profile
from dicomflow.worker import probe
from dicomflow.worker.files import FileReader
from dicomflow.worker.probe import probe_files
from tests.test_worker import Put, make_file
from tests.worker.conftest import Hang, inode_of

COLUMNS = load_profile("minimal").columns
CONFIG = HeaderConfig()


def as_files(paths: list[Path]) -> pa.Table:
    return pa.Table.from_pylist([{"uri": str(path)} for path in paths], SOURCE_FILE_SCHEMA)


@pytest.mark.parametrize("count", [1, 5, 200])
def test_files_here_and_files_far_away(put: Put, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """What each file takes, shared out among those that are read at the same time; a few files of many are looked at."""
    files = as_files([put(f"f{number:03}", make_file(f"1.{number + 1}")) for number in range(count)])
    assert probe_files(files, COLUMNS, CONFIG) > probe.ROW_SECONDS
    real, opened, folder = os.open, [], str(Path(files["uri"][0].as_py()).parent)

    def slow(path: Any, *arguments: Any) -> int:
        if str(path).startswith(folder):
            opened.append(path)
            time.sleep(0.02)
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", slow)
    alone = probe_files(files, COLUMNS, HeaderConfig(read_ahead=0))
    assert alone > 0.02
    assert len(opened) == len(set(opened)) <= min(count, probe.FILES)
    assert opened[0] == files["uri"][0].as_py()
    assert probe.ROW_SECONDS + 0.02 / CONFIG.read_ahead < probe_files(files, COLUMNS, CONFIG) < 0.02


def test_files_that_are_none(put: Put, tmp_path: Path) -> None:
    """What cannot be read, or is no DICOM, takes its time, too."""
    files = as_files([put("text", b"no DICOM" * 100), tmp_path / "gone", put("empty", b"")])
    assert probe.ROW_SECONDS < probe_files(files, COLUMNS, CONFIG) < probe.HANGS_SECONDS


def test_no_file_is_begun_after_its_time(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the storage is, a look takes as long as is meant, and a file."""
    monkeypatch.setattr(probe, "SECONDS", 0.0)
    files = as_files([put("a", make_file("1.2")), put("b", make_file("1.3"))])
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *more: opened.append(path) or real(path, *more))  # type: ignore[func-returns-value]
    assert probe_files(files, COLUMNS, CONFIG) > probe.ROW_SECONDS
    assert opened == [files["uri"][0].as_py()]


def test_a_read_that_does_not_come_back(put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left behind; the storage counts as slow."""
    monkeypatch.setattr(probe, "HANGS_SECONDS", 0.05)
    paths = [put(name, make_file(f"1.{place + 1}")) for place, name in enumerate(["a", "b", "c"])]
    hang.files = {inode_of(paths[1])}
    monkeypatch.setattr(os, "readv", hang.guard(os.readv, inode_of))
    assert probe_files(as_files(paths), COLUMNS, CONFIG) == 0.05
    assert len(hang.hanging) == 1


@pytest.mark.parametrize("error", [MemoryError(), ValueError("Doe^Jane")])
def test_no_memory_and_surprises(put: Put, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Nor does a header that there is no memory for, or that nobody foresaw, end the run before it has begun."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileReader, "read", fail)
    assert probe_files(as_files([put("a", make_file("1.2"))]), COLUMNS, CONFIG) == probe.HANGS_SECONDS


@pytest.mark.parametrize("rows", [1, 63])
def test_batches_of_few_rows(put: Put, rows: int) -> None:
    """A look takes as many files whatever the rows of a batch are: none of them is written."""
    files = as_files([put(f"f{number:02}", make_file(f"1.{number + 1}")) for number in range(probe.FILES)])
    assert probe.ROW_SECONDS < probe_files(files, COLUMNS, HeaderConfig(batch_rows=rows)) < probe.HANGS_SECONDS
