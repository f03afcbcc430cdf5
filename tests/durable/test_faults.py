"""Faults of the disk, the clock and the sources: never a wrong dataset, a clear message, and a later run repairs."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import dicomflow
from dicomflow import pipeline
from dicomflow.dataset import parts, storage, writer
from dicomflow.dataset.layout import Layout
from dicomflow.errors import DatasetError
from tests.durable.model import Content, expect, read_with_pandas, write

QUIET = {
    "columns": "minimal",
    "compute__scheduler": "threads",
    "compute__workers": 1,
    "plan__files_per_task": 2,
    "retry__attempts": 1,
}

OLD = {
    "a": Content("1.1", "Doe^A", 0),
    "b": Content("1.2", "Doe^B", 1),
    "c": Content("1.2", "Roe^B", 0),
    "d": Content("1.3", "Doe^D", 0),
    "e": Content("1.3", "Doe^D", 1),
}
NEW = {**OLD, "b": Content("1.4", "Doe^X", 2), "f": Content("1.2", "Poe^B", 3), "g": Content("1.5", "Doe^G", 0)}
del NEW["e"]


class Home:
    """A source and a dataset of its older state, to be brought up to the newer one."""

    def __init__(self, folder: Path) -> None:
        self.source, self.dest, self.kept = folder / "source", folder / "dest", folder / "kept"
        self.put(OLD)
        self.extract()
        self.old = read_with_pandas(self.dest)
        for name in OLD.keys() - NEW.keys():
            (self.source / name).unlink()
        self.put(NEW)
        uris = {str(self.source / name): content for name, content in NEW.items()}
        self.new = expect(uris, {str(self.source / name) for name in OLD.keys() - NEW.keys()})

    def put(self, files: dict[str, Content]) -> None:
        for name, content in files.items():
            if not (self.source / name).exists() or (self.source / name).read_bytes() != content.data():
                write(self.source / name, content)

    def reset(self) -> None:
        """Back to the older version."""
        if not self.kept.exists():
            shutil.copytree(self.dest, self.kept)
        shutil.rmtree(self.dest)
        shutil.copytree(self.kept, self.dest)

    def extract(self, **options: Any) -> dicomflow.RunSummary:
        return dicomflow.extract(self.source, self.dest, **{**QUIET, **options})

    def check_intact(self, *, verify: bool = True) -> None:
        """Each reader sees a whole version; a later run ends as if nothing had been."""
        if not Layout(self.dest).commit_record.exists():
            assert read_with_pandas(self.dest) in (self.old, self.new)
        self.extract()
        assert read_with_pandas(self.dest) == self.new
        assert not verify or not dicomflow.verify_dataset(self.dest).faults


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may take its time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@contextlib.contextmanager
def failing(step: int, error: int, targets: list[tuple[object, str]]) -> Iterator[list[str]]:
    """The ``step``-th call of any of these fails with an error of the system, and each later one (a full disk stays full)."""
    made: list[str] = []

    def guard(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) >= step > 0:
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        return call

    with contextlib.ExitStack() as stack:
        for holder, name in targets:
            stack.enter_context(patch.object(holder, name, guard(name, getattr(holder, name))))
        yield made


WRITES = [
    (writer, "_write"),
    (storage, "_write_text"),
    (os, "link"),
    (os, "replace"),
    (storage, "_swap"),
    (os, "fsync"),
]
READS = [(parts.pq, "ParquetFile"), (parts.pq, "read_metadata")]


class Seen:
    """Which sorts of calls have failed twice: the promises of ``verify``, which take long, are looked at for two of each."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def is_new(self, name: str) -> bool:
        self._count[name] += 1
        return self._count[name] <= 2


def test_no_write_may_fail_unseen(home: Home) -> None:
    """At each write the disk is full, or broken: one line, the old version or the new one, and the next run completes it."""
    step, failed, seen = 0, True, Seen()
    while failed:
        home.reset()
        step += 1
        error = errno.ENOSPC if step % 2 else errno.EIO
        said: list[str] = []
        with failing(step, error, WRITES) as made:
            try:
                home.extract()
            except DatasetError as fault:
                said.append(str(fault))
            failed = len(made) >= step
        assert all(os.strerror(error) in line and "\n" not in line for line in said)
        home.check_intact(verify=not failed or seen.is_new(made[step - 1]))
    assert step > 20


def test_no_read_of_the_dataset_may_fail_unseen(home: Home) -> None:
    """At each read of a part: one line that names it, and the next run completes it."""
    step, failed, seen = 0, True, Seen()
    while failed:
        home.reset()
        step += 1
        with failing(step, errno.EIO, READS) as made:
            with contextlib.suppress(DatasetError):
                home.extract()
            failed = len(made) >= step
        home.check_intact(verify=not failed or seen.is_new(made[step - 1]))
    assert step > 10


def test_a_source_that_cannot_be_read_fails_and_is_read_later(home: Home) -> None:
    """EIO at each read of a source: that file is ``failed``, code ``io_error``, and no other; a later run reads it."""
    real, reads = os.readv, []

    def broken(descriptor: int, buffers: Any) -> int:
        reads.append(descriptor)
        if len(reads) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, buffers)

    with patch.object(os, "readv", broken):
        summary = home.extract()
    assert ("failed", "io_error", 1) in summary.outcomes and summary.failed == 1
    assert home.extract().read == 1 and read_with_pandas(home.dest) == home.new


@pytest.mark.parametrize("kibibytes", [40, 80, 160, 240, 400])
def test_a_small_disk(tmp_path: Path, kibibytes: int) -> None:
    """A real file system that is full in the middle of a run; a larger one takes the run up."""
    mount = tmp_path / "mount"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        source = tmp_path / "source"
        for name, content in NEW.items():
            write(source / name, content)
        with contextlib.suppress(DatasetError):
            dicomflow.extract(source, mount / "dest", **QUIET)
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        dicomflow.extract(source, mount / "dest", **QUIET)
        wanted = expect({str(source / name): content for name, content in NEW.items()}, set())
        assert read_with_pandas(mount / "dest") == wanted
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def test_a_clock_that_goes_back(home: Home) -> None:
    """The next run believes to be before the last one: versions go on, nothing is lost, changed files are seen."""

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) - timedelta(days=400)

    before = dicomflow.open_dataset(home.dest).version
    with patch.object(pipeline.run, "datetime", Earlier):
        home.extract()
    assert dicomflow.open_dataset(home.dest).version > before
    home.check_intact()


def test_a_source_that_changes_while_it_is_read(home: Home) -> None:
    """What was read of it is one state or the other; the next run reads it again, whatever its size and time say."""
    real, changed = os.readv, []

    def changing(descriptor: int, buffers: Any) -> int:
        size = real(descriptor, buffers)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name == "g" and not changed:
            changed.append(path)
            path.write_bytes(Content("1.6", "Doe^G", 0).data())
        return size

    with patch.object(os, "readv", changing):
        home.extract()
    assert changed
    assert home.extract().read == 1
    assert read_with_pandas(home.dest)["instances"][str(home.source / "g")] == ("1.6", "Doe^G")


def test_a_file_written_just_when_it_was_read_is_read_again(home: Home) -> None:
    """Same size, and a time within the run that read it: it may have been read before it was written."""
    home.extract()
    rows = dicomflow.open_dataset(home.dest).sql(f"select last_seen from files where uri = '{home.source / 'g'}'")
    seen = rows["last_seen"][0].as_py().replace(tzinfo=UTC)
    moment = int(seen.timestamp() * 1_000_000) * 1000
    (home.source / "g").write_bytes(Content("1.7", "Doe^G", 0).data())
    os.utime(home.source / "g", ns=(moment, moment))
    assert home.extract().read == 1 and home.extract().read == 0


def test_a_folder_that_cannot_be_listed_loses_nothing(home: Home) -> None:
    """Files of a folder that cannot be read now are not gone: their rows stay, and the folder is in the ledger."""
    write(home.source / "deep" / "h", Content("1.8", "Doe^H", 0))
    home.extract()
    real = os.open

    def locked(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("/deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *arguments, **options)

    with patch.object(os, "open", locked):
        summary = home.extract()
    assert summary.removed == 0 and ("failed", "permission_denied", 1) in summary.outcomes
    assert str(home.source / "deep" / "h") in read_with_pandas(home.dest)["instances"]
    home.extract()
    assert str(home.source / "deep") not in read_with_pandas(home.dest)["files"]


def test_a_source_that_is_not_mounted(home: Home) -> None:
    """An empty folder where files were is refused, and the dataset stays."""
    shutil.rmtree(home.source)
    home.source.mkdir()
    with pytest.raises(DatasetError, match="nothing is there, but the dataset knows 5 files of it; is it not mounted"):
        home.extract()
    assert read_with_pandas(home.dest) == home.old


def test_a_copy_that_takes_the_place_of_its_original_is_counted_once(home: Home) -> None:
    """The copy was known, and is read again because its row is needed now: read, not unchanged."""
    home.extract()
    copy = Content("1.9", "Doe^C", 0)
    for name in ("x", "y"):
        write(home.source / name, copy)
    home.extract()
    (home.source / "x").unlink()
    summary = home.extract()
    assert (summary.read, summary.removed) == (1, 1)
    assert summary.files == summary.read + summary.unchanged == len(NEW) + 1
