"""Atomic writes, second names, folders that change places."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomflow.dataset import storage
from dicomflow.dataset.commit import sweep
from dicomflow.dataset.storage import link_or_copy, replace_folder, sync_folder, write_atomically, write_json
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


# ---- exclusive, links, folders that change places --------------------------------------------------------------------


@pytest.mark.parametrize("has_links", [True, False])
def test_exclusive_does_not_overwrite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_links: bool) -> None:
    """What must not be there yet is not replaced, and nothing else is left."""
    if not has_links:
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    write_json(tmp_path / "x.json", 1, exclusive=True)
    with pytest.raises(DatasetError, match=r"x\.json: cannot be written: File exists$"):
        write_json(tmp_path / "x.json", 2, exclusive=True)
    assert (tmp_path / "x.json").read_text() == "1\n" and [path.name for path in tmp_path.iterdir()] == ["x.json"]
    write_json(tmp_path / "x.json", 3)
    assert (tmp_path / "x.json").read_text() == "3\n"


@pytest.mark.parametrize("has_links", [True, False])
def test_exclusive_at_the_last_moment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_links: bool) -> None:
    """Another that comes between the bytes and the name, however late, is first."""
    path = tmp_path / "x.json"
    name = "link" if has_links else "open"
    real = getattr(os, name)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))

    def late(*arguments: Any, **options: Any) -> Any:
        if has_links or ".claim." in str(arguments[0]):
            path.write_text("first")
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, late)
    with pytest.raises(DatasetError, match="File exists"):
        write_json(path, 2, exclusive=True)
    assert path.read_text() == "first" and [each.name for each in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("has_links", [True, False])
def test_exclusive_of_many_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_links: bool) -> None:
    """Exactly one gets the name, and the file is that one's."""
    if not has_links:
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    for attempt in range(20):
        path, together, won = tmp_path / f"{attempt}.json", threading.Barrier(4), []

        def claim(number: int, path: Path = path, together: Any = together, won: list[int] = won) -> None:
            together.wait()
            with contextlib.suppress(DatasetError):
                write_json(path, number, exclusive=True)
                won.append(number)

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1 and path.read_text() == f"{won[0]}\n"


def test_exclusive_where_the_answer_was_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network file system may do it, lose its answer, and refuse the second attempt: it was done all the same."""
    real = os.link

    def twice(*paths: Path) -> None:
        real(*paths)
        real(*paths)

    monkeypatch.setattr(os, "link", twice)
    write_json(tmp_path / "x.json", 1, exclusive=True)
    assert (tmp_path / "x.json").read_text() == "1\n" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_exclusive_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    """A fault of the disk is no reason to try another way."""
    monkeypatch.setattr(os, "link", refuse(number))
    with pytest.raises(DatasetError, match=os.strerror(number)):
        write_json(tmp_path / "x.json", 1, exclusive=True)
    assert not list(tmp_path.iterdir())


def test_a_claim_that_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without hard links: while another is at it nobody else is, and its claim stays; whoever is next sweeps that of a dead one."""
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    claim = tmp_path / ".x.json.claim.tmp"
    claim.touch()
    with pytest.raises(DatasetError, match="File exists"):
        write_json(tmp_path / "x.json", 1, exclusive=True)
    assert [path.name for path in tmp_path.iterdir()] == [claim.name]
    sweep(tmp_path)
    write_json(tmp_path / "x.json", 1, exclusive=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_link_is_the_same_file(tmp_path: Path) -> None:
    """A second name costs no space; removing the first leaves the second."""
    (tmp_path / "a").write_bytes(b"data")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b").stat().st_ino
    (tmp_path / "a").unlink()
    assert (tmp_path / "b").read_bytes() == b"data"


def refuse(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES])
def test_a_file_system_without_hard_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    """The file is copied, and the copy synced before it means anything."""
    (tmp_path / "a").write_bytes(b"data")
    synced: list[int] = []
    monkeypatch.setattr(os, "link", refuse(number))
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"data" and synced == [(tmp_path / "b").stat().st_ino]
    assert (tmp_path / "a").stat().st_ino != synced[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_link_that_fails_is_no_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    """A fault of the disk is a fault, not a reason to write more."""
    (tmp_path / "a").write_bytes(b"data")
    monkeypatch.setattr(os, "link", refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_link_over_another_file(tmp_path: Path) -> None:
    """A name that is taken is not given away."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"


def folders(root: Path) -> tuple[Path, Path]:
    """The one that is coming, in a folder of its own, and the current one."""
    coming, current = root / "next" / "t", root / "t"
    for folder in (coming, current):
        folder.mkdir(parents=True)
        (folder / "who").write_text("new" if folder == coming else "old")
    return coming, current


def who(folder: Path) -> str:
    return (folder / "who").read_text()


@pytest.mark.parametrize("can_swap", [True, False])
def test_folders_change_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, can_swap: bool) -> None:
    """The new one is where the old one was, the old one where the new one was, and nothing else is left."""
    if not can_swap:
        monkeypatch.setattr(storage, "_swap", lambda *_: False)
    coming, current = folders(tmp_path)
    replace_folder(coming, current)
    assert (who(coming), who(current)) == ("old", "new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["next", "t", "t", "who", "who"]


def test_a_folder_that_is_the_first(tmp_path: Path) -> None:
    """Where nothing is to be replaced the folder only moves."""
    coming, current = folders(tmp_path)
    shutil.rmtree(current)
    replace_folder(coming, current)
    assert who(current) == "new" and not coming.exists()


def test_the_system_swaps_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system can do it no rename is made, so there is always a folder."""
    coming, current = folders(tmp_path)
    if not storage._swap(coming, current):
        pytest.skip("this system cannot swap two names")
    storage._swap(coming, current)
    monkeypatch.setattr(os, "rename", refuse(errno.EIO))
    replace_folder(coming, current)
    assert who(current) == "new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM])
def test_a_file_system_without_swap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    """What the system says it cannot do is done by renames."""

    def swap(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(storage, "_find_swap", lambda: swap)
    coming, current = folders(tmp_path)
    replace_folder(coming, current)
    assert (who(coming), who(current)) == ("old", "new")


def test_a_system_without_swap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no such call there are renames."""
    monkeypatch.setattr(storage, "_find_swap", lambda: None)
    coming, current = folders(tmp_path)
    replace_folder(coming, current)
    assert (who(coming), who(current)) == ("old", "new")


def test_a_swap_that_fails(tmp_path: Path) -> None:
    """Any other fault is the system's word, and both folders stay where they were."""
    coming, current = folders(tmp_path)
    shutil.rmtree(coming)
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        replace_folder(coming, current)
    assert who(current) == "old"


def test_names_that_are_not_ascii(tmp_path: Path) -> None:
    """Whatever bytes a path is made of."""
    coming, current = folders(tmp_path / os.fsdecode("ü '\xff".encode() + b"\xfe"))
    replace_folder(coming, current)
    assert (who(coming), who(current)) == ("old", "new")


def test_two_renames_that_were_cut_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Doing it again after the first rename, the second or the third ends as if nothing had happened."""
    monkeypatch.setattr(storage, "_swap", lambda *_: False)
    real = os.rename
    for last in (1, 2, 3):
        coming, current = folders(tmp_path / str(last))
        made: list[int] = []

        def rename(*paths: Path, made: list[int] = made, last: int = last) -> None:
            made.append(1)
            if len(made) > last:
                raise KeyboardInterrupt
            real(*paths)

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(os, "rename", rename)
            replace_folder(coming, current)
        if not current.exists():
            replace_folder(coming, current)
        assert who(current) == "new"
