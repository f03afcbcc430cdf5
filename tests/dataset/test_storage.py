"""Atomic writes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from dicomflow.dataset.storage import sync_folder, write_atomically, write_json
from dicomflow.errors import DatasetError


def test_json_round_trip(tmp_path: Path) -> None:
    """What is written is read, in folders that are made on the way."""
    path = tmp_path / "a" / "b.json"
    write_json(path, {"ü": [1, None]})
    assert json.loads(path.read_text("utf-8")) == {"ü": [1, None]}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failing_at_each_step_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str) -> None:
    """Whether syncing or renaming fails, readers have the old content and no temporary file stays."""
    path = tmp_path / "x.json"
    write_json(path, 1)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(DatasetError, match="x.json: cannot be written: Input/output error"):
        write_json(path, 2)
    assert path.read_text() == "1\n" and [each.name for each in tmp_path.iterdir()] == ["x.json"]


def test_bytes_are_synced_before_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A power cut after the rename cannot leave an empty file under the final name."""
    steps: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: steps.append("fsync"))
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("replace"), real(*paths)))
    write_json(tmp_path / "x.json", 1)
    assert steps == ["fsync", "replace"]


def test_two_writers_of_one_name_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    """A task that runs twice, on two hosts with equal process ids, never mixes its bytes."""
    names: list[Path] = []

    def write(temporary: Path) -> None:
        names.append(temporary)
        temporary.write_bytes(b"outer")
        if len(names) == 1:
            write_atomically(tmp_path / "x", write)

    write_atomically(tmp_path / "x", write)
    assert len(set(names)) == 2


def test_a_file_system_that_does_not_sync_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """EINVAL from syncing a folder is no fault; a read-write error is."""

    def fail(number: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", lambda _: fail(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
