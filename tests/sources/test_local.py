"""Tests of dicomflow.sources.local."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.config import SourcesConfig
from dicomflow.errors import Code, SourceError
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.sources import LocalSource, code_for_os_error, list_files, path_from_uri, rows
from dicomflow.sources.local import _key_of
from dicomflow.sources.rows import MAX_MTIME, MIN_MTIME, _mtime_array

Row = dict[str, Any]


def list_rows(
    *sources: str | Path, follow: bool = True, exclude: Path | None = None, batch_rows: int = 1000
) -> list[Row]:
    config = SourcesConfig(follow_symlinks=follow)
    batches = list_files([str(source) for source in sources], config=config, exclude=exclude, batch_rows=batch_rows)
    rows: list[Row] = pa.Table.from_batches(batches, schema=SOURCE_FILE_SCHEMA).to_pylist()
    return rows


def names(rows: Iterable[Row], base: Path) -> list[str]:
    return [os.path.relpath(path_from_uri(row["uri"]), base) for row in rows]


def make(base: Path, *files: str) -> None:
    for name in files:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def outcome(row: Row) -> tuple[str, str]:
    return row["status"], row["code"]


# what is listed, and in which order


def test_every_regular_file_is_listed_whatever_its_name(tmp_path: Path) -> None:
    """Hidden files, Thumbs.db, names without a suffix and names with spaces are files like others."""
    wanted = ["IM0001", "a.dcm", ".hidden", "Thumbs.db", "DICOMDIR", " x ", "é 像", "new\nline", "%41"]
    make(tmp_path, *wanted)
    rows = list_rows(tmp_path)
    assert names(rows, tmp_path) == sorted(wanted)
    assert all(row["status"] is None and row["code"] is None and row["message"] is None for row in rows)


def test_files_come_before_subfolders_and_all_by_name(tmp_path: Path) -> None:
    """The order is that of names, the files of a folder before its subfolders, whatever the file system returns."""
    make(tmp_path, "b/2", "b/10", "b/a/1", "a/1", "z", "A", "b.dcm", "c/d/e/1", "c/d/1")
    expected = ["A", "b.dcm", "z", "a/1", "b/10", "b/2", "b/a/1", "c/d/1", "c/d/e/1"]
    assert names(list_rows(tmp_path), tmp_path) == expected
    assert names(list_rows(tmp_path, batch_rows=2), tmp_path) == expected


def test_size_and_mtime_are_those_of_the_file(tmp_path: Path) -> None:
    """Size in bytes, time of change in microseconds UTC, rounded down also before 1970."""
    make(tmp_path, "a", "b")
    os.utime(tmp_path / "a", ns=(0, 1_700_000_000_123_456_789))
    os.utime(tmp_path / "b", ns=(0, -1))
    a, b = list_rows(tmp_path)
    assert (a["size"], a["mtime"]) == (1, datetime(2023, 11, 14, 22, 13, 20, 123456))
    assert b["mtime"] == datetime(1969, 12, 31, 23, 59, 59, 999999)
    assert a["member"] is None and a["etag"] is None


@pytest.mark.parametrize("nulls", [[], [None]])
@pytest.mark.parametrize("time", [2**63 * 10**6, -(2**63) * 10**6, MAX_MTIME + 1, MIN_MTIME - 1, MAX_MTIME, MIN_MTIME])
def test_absurd_times_are_clamped(time: int, nulls: list[None]) -> None:
    """A time that no calendar holds becomes the first or last moment that Arrow and Python hold."""
    expected = datetime.max if time > 0 else datetime.min
    assert _mtime_array([*nulls, time * 1000]).to_pylist() == [*nulls, expected]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_times_are_rounded_down(times: list[int | None]) -> None:
    """Nanoseconds become microseconds, rounded down on both sides of 1970, with or without nulls."""
    expected = [None if time is None else time // 1000 for time in times]
    assert _mtime_array(times).cast(pa.int64()).to_pylist() == expected


def test_name_that_is_not_utf8_is_listed_by_its_uri(tmp_path: Path) -> None:
    """Such a file has a file: URI that leads back to its bytes; its neighbours keep plain paths."""
    base = os.fsencode(tmp_path)
    for name in (b"\xff\xfe.dcm", b"ok", "é".encode()):
        Path(os.fsdecode(base + b"/" + name)).write_bytes(b"x")
    uris = [row["uri"] for row in list_rows(tmp_path)]
    assert sorted(uris) == sorted([f"{tmp_path}/ok", f"{tmp_path}/é", f"file://{tmp_path}/%FF%FE.dcm"])
    assert all(Path(path_from_uri(uri)).read_bytes() == b"x" for uri in uris)


def test_tree_deeper_than_the_stack_is_walked(tmp_path: Path) -> None:
    """Depth costs no recursion."""
    folders = [f"{tmp_path}{'/d' * depth}" for depth in range(1, sys.getrecursionlimit() + 200)]
    for folder in folders:
        os.mkdir(folder)
    file = Path(folders[-1], "file")
    file.touch()
    assert [row["uri"] for row in list_rows(tmp_path)] == [str(file)]
    file.unlink()
    for folder in reversed(folders):  # not left to pytest, which would remove it recursively
        os.rmdir(folder)


def test_trailing_slash_and_dots_do_not_show(tmp_path: Path) -> None:
    """Uris are normal absolute paths however the SOURCE is written."""
    make(tmp_path, "a/1")
    assert [row["uri"] for row in list_rows(f"{tmp_path}/a/./../a//")] == [f"{tmp_path}/a/1"]


NAMES = st.binary(min_size=1, max_size=5).filter(lambda name: not set(name) & {0, 0x2F} and name not in (b".", b".."))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12), st.integers(1, 5))
def test_listing_is_exactly_the_files_that_are_there(paths: list[list[bytes]], batch_rows: int) -> None:
    """Every file of any tree is listed exactly once, and a second listing is the same."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            whole = b"/".join([os.fsencode(folder), *path])
            try:
                os.makedirs(os.path.dirname(whole), exist_ok=True)
                Path(os.fsdecode(whole)).touch()
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                continue
        there = [os.path.join(top, name) for top, _, files in os.walk(os.fsencode(folder)) for name in files]
        rows = list_rows(folder, batch_rows=batch_rows)
        assert sorted(os.fsencode(path_from_uri(row["uri"])) for row in rows) == sorted(there)
        assert rows == list_rows(folder)


# each thing once


def test_links_are_followed_and_folders_walked_once(tmp_path: Path) -> None:
    """A linked file is a file of its own name; a linked folder is walked once, by its own name if it has one."""
    make(tmp_path, "tree/real/1", "tree/z", "away/2", "away/sub/3")
    (tmp_path / "tree" / "link").symlink_to("real")
    (tmp_path / "tree" / "file").symlink_to("real/1")
    (tmp_path / "tree" / "far").symlink_to("../away")
    (tmp_path / "tree" / "real" / "again").symlink_to("../../away")
    rows = list_rows(tmp_path / "tree")
    assert names(rows, tmp_path / "tree") == ["file", "z", "real/1", "far/2", "far/sub/3"]
    assert rows[0]["size"] == len("tree/real/1")


def test_a_link_renames_nothing(tmp_path: Path) -> None:
    """Whatever links come or go, and in whatever order SOURCEs are named, each file keeps the name that it has without them."""
    make(tmp_path, "a/1", "b/2", "b/c/3")
    expected = sorted(names(list_rows(tmp_path / "a", tmp_path / "b"), tmp_path))
    (tmp_path / "a" / "all").symlink_to("../b")
    (tmp_path / "b" / "0").symlink_to("c")
    (tmp_path / "link").symlink_to("b")
    for order in itertools.permutations([tmp_path / "a", tmp_path / "b", tmp_path / "link"]):
        assert sorted(names(list_rows(*order), tmp_path)) == expected
    assert names(list_rows(tmp_path / "link"), tmp_path) == ["link/2", "link/c/3"]


def test_loops_end(tmp_path: Path) -> None:
    """Links to the folder itself, to its parent and to each other are walked once."""
    make(tmp_path, "a/1", "b/2")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "other").symlink_to("../b")
    (tmp_path / "b" / "other").symlink_to("../a")
    assert sorted(name.rpartition("/")[2] for name in names(list_rows(tmp_path), tmp_path)) == ["1", "2"]


def test_links_are_rows_where_they_are_not_followed(tmp_path: Path) -> None:
    """With follow_symlinks off each link is skipped by name; a SOURCE that is a link is followed all the same."""
    make(tmp_path, "real/1")
    for link, target in (("dir", "real"), ("file", "real/1"), ("none", "nowhere")):
        (tmp_path / link).symlink_to(target)
    rows = list_rows(tmp_path, follow=False)
    assert names(rows, tmp_path) == ["dir", "file", "none", "real/1"]
    assert [outcome(row) for row in rows] == [("skipped", "symlink")] * 3 + [(None, None)]
    assert names(list_rows(tmp_path / "dir", tmp_path / "file", follow=False), tmp_path) == ["dir/1", "file"]


def test_overlapping_sources_are_listed_once(tmp_path: Path) -> None:
    """A folder inside another SOURCE, or named twice, is walked where it is met first."""
    make(tmp_path, "a/1", "a/b/2", "c")
    assert names(list_rows(tmp_path / "a" / "b", tmp_path, tmp_path / "a", tmp_path), tmp_path) == ["a/b/2", "c", "a/1"]


def test_named_file_is_listed_once(tmp_path: Path) -> None:
    """A file that is a SOURCE is listed once: named twice, through a linked folder, or inside another SOURCE."""
    make(tmp_path, "a/1", "a/2")
    (tmp_path / "link").symlink_to("a")
    one, linked = tmp_path / "a" / "1", tmp_path / "link" / "1"
    assert names(list_rows(one, one, linked), tmp_path) == ["a/1"]
    assert names(list_rows(tmp_path, one), tmp_path) == ["a/2", "a/1"]
    assert names(list_rows(linked, tmp_path), tmp_path) == ["a/2", "link/1"]


def test_folders_are_closed_again(tmp_path: Path) -> None:
    """Neither a whole listing nor one that is given up leaves a folder open."""
    make(tmp_path, "a/1", "a/2", "b/1")
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else pytest.skip("needs /proc")
    list_rows(tmp_path)
    batches = list_files([str(tmp_path)], config=SourcesConfig(), batch_rows=1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert os.listdir("/proc/self/fd") == before


def test_second_name_of_a_file_is_a_row_of_its_own(tmp_path: Path) -> None:
    """A hard link or a link beside a named file is another name: nothing disappears without a row."""
    make(tmp_path, "1")
    os.link(tmp_path / "1", tmp_path / "2")
    (tmp_path / "3").symlink_to("1")
    assert names(list_rows(tmp_path / "1", tmp_path), tmp_path) == ["1", "2", "3"]


def test_folders_without_inodes_are_told_apart_by_path(tmp_path: Path) -> None:
    """Where a file system numbers no inodes, folders are known by their real path and none is lost."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    found = os.stat_result((stat.S_IFDIR, 0, 7, 1, 0, 0, 0, 0, 0, 0))
    assert (
        _key_of(str(tmp_path / "a"), found) == _key_of(str(tmp_path / "link"), found) != _key_of(str(tmp_path), found)
    )


# the destination


@pytest.mark.parametrize("through_link", [False, True])
def test_destination_is_not_walked(tmp_path: Path, through_link: bool) -> None:
    """The dataset is no input of its own run, by whatever path it is met."""
    make(tmp_path, "a/1", "headers/instances/part.parquet")
    (tmp_path / "link").symlink_to("headers")
    exclude = tmp_path / ("link" if through_link else "headers")
    assert names(list_rows(tmp_path, exclude=exclude), tmp_path) == ["a/1"]


def test_destination_that_appears_during_the_listing_is_not_walked(tmp_path: Path) -> None:
    """A destination that is created after the call and before the walk is left out too."""
    make(tmp_path, "a")
    batches = list_files([str(tmp_path)], config=SourcesConfig(), exclude=tmp_path / "headers")
    make(tmp_path, "headers/x")
    assert names(pa.Table.from_batches(batches).to_pylist(), tmp_path) == ["a"]


def test_destination_as_source_is_an_error(tmp_path: Path) -> None:
    """To read from where the dataset is written is a mistake, and is said so; a folder inside it may be read."""
    make(tmp_path, "scans/1")
    (tmp_path / "link").symlink_to(tmp_path)
    for source in (tmp_path, tmp_path / "link"):
        with pytest.raises(SourceError, match="is the destination itself"):
            list_rows(source, exclude=tmp_path)
    assert names(list_rows(tmp_path / "scans", exclude=tmp_path), tmp_path) == ["scans/1"]


# what cannot be read, or must not be opened


def test_special_files_are_skipped_and_never_opened(tmp_path: Path) -> None:
    """A FIFO and a socket are rows of their own; opening the FIFO would block for ever."""
    os.mkfifo(tmp_path / "fifo")
    make(tmp_path, "file")
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket is at most about 100 characters long
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        rows = dict(zip(["fifo", "file", "socket"], list_rows(tmp_path), strict=True))
    assert outcome(rows["fifo"]) == outcome(rows["socket"]) == ("skipped", "special_file")
    assert (rows["fifo"]["message"], rows["socket"]["message"]) == ("FIFO", "socket")
    assert rows["file"]["status"] is None
    (named,) = list_rows(tmp_path / "fifo")
    assert outcome(named) == ("skipped", "special_file")
    assert list_rows("/dev/null")[0]["message"] == "character device"


def test_links_that_lead_nowhere_are_failed(tmp_path: Path) -> None:
    """A dangling link is not_found; a link to itself or to a name too long has its own outcome."""
    (tmp_path / "1-none").symlink_to("nowhere")
    (tmp_path / "2-self").symlink_to("2-self")
    (tmp_path / "3-long").symlink_to("x" * 300)
    make(tmp_path, "4-file")
    (tmp_path / "5-below").symlink_to("4-file/x")
    rows = list_rows(tmp_path)
    assert [outcome(row) for row in rows] == [
        ("failed", "not_found"),
        ("failed", "io_error"),
        ("failed", "name_too_long"),
        (None, None),
        ("failed", "not_found"),
    ]
    assert rows[1]["message"] == os.strerror(errno.ELOOP)
    assert rows[0]["size"] is None and rows[0]["mtime"] is None


def test_source_that_is_a_dangling_link_is_a_row(tmp_path: Path) -> None:
    """The link exists, so the run goes on and its row says what is wrong."""
    (tmp_path / "link").symlink_to("nowhere")
    make(tmp_path, "a")
    rows = list_rows(tmp_path / "link", tmp_path / "a")
    assert sorted(map(outcome, rows), key=str) == [("failed", "not_found"), (None, None)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission_is_a_row(tmp_path: Path) -> None:
    """A folder that may not be read is one failed row, and its neighbours are listed."""
    make(tmp_path, "a/1", "b/2")
    (tmp_path / "a").chmod(0)
    try:
        rows = list_rows(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)
    assert names(rows, tmp_path) == ["a", "b/2"]
    assert outcome(rows[0]) == ("failed", "permission_denied")


class BrokenScan:
    """A folder whose listing fails after some entries."""

    def __init__(self, whole: Iterator[os.DirEntry[str]], good: int, error: int) -> None:
        self._entries, self._left, self._error = whole, good, error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()  # type: ignore[attr-defined]

    def __iter__(self) -> BrokenScan:
        return self

    def __next__(self) -> os.DirEntry[str]:
        if self._left == 0:
            raise OSError(self._error, os.strerror(self._error))
        self._left -= 1
        return next(self._entries)


@pytest.mark.parametrize(
    ("error", "code"), [(errno.EACCES, "permission_denied"), (errno.EIO, "io_error"), (errno.ENOENT, "not_found")]
)
@pytest.mark.parametrize("good", [0, 2])
def test_fault_of_a_folder_is_a_row_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, code: str, good: int
) -> None:
    """A folder that fails has a failed row; what it gave before, and all others, are listed."""
    make(tmp_path, "a/1", "a/2", "a/3", "b/1")
    real, broken = os.scandir, (tmp_path / "a").stat()

    def scandir(folder: int) -> Any:
        return BrokenScan(real(folder), good, error) if os.path.samestat(os.stat(folder), broken) else real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    rows = list_rows(tmp_path)
    failed = [row for row in rows if row["status"]]
    assert [(row["uri"], outcome(row)) for row in failed] == [(str(tmp_path / "a"), ("failed", code))]
    assert failed[0]["message"] == os.strerror(error)
    assert len(rows) - 1 == good + 1 and names(rows, tmp_path)[-1] == "b/1"


def test_unreadable_source_folder_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the SOURCE itself may not be opened, the run goes on with a failed row."""

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    (row,) = list_rows(tmp_path)
    assert (row["uri"], *outcome(row)) == (str(tmp_path), "failed", "permission_denied")


def test_source_that_cannot_be_looked_at_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOURCE that the system refuses to look at may exist: it is a failed row, no error."""
    real_lstat, real_stat = os.lstat, os.stat
    hidden = str(tmp_path / "hidden")

    def refuse(real: Any) -> Any:
        def look(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            if path == hidden:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return real(path, *args, **kwargs)  # type: ignore[no-any-return]

        return look

    monkeypatch.setattr(os, "lstat", refuse(real_lstat))
    monkeypatch.setattr(os, "stat", refuse(real_stat))
    (row,) = list_rows(hidden)
    assert (row["uri"], *outcome(row)) == (hidden, "failed", "permission_denied")


def test_source_with_too_long_a_name_is_a_row() -> None:
    """A name that the file system cannot hold is a failed row with its code."""
    (row,) = list_rows("/" + "x" * 300)
    assert outcome(row) == ("failed", "name_too_long")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, Code.NOT_FOUND),
        (errno.ENOTDIR, Code.NOT_FOUND),
        (errno.EACCES, Code.PERMISSION_DENIED),
        (errno.EPERM, Code.PERMISSION_DENIED),
        (errno.ENAMETOOLONG, Code.NAME_TOO_LONG),
        (errno.EIO, Code.IO_ERROR),
        (errno.ESTALE, Code.IO_ERROR),
        (None, Code.IO_ERROR),
    ],
)
def test_errors_of_the_system_have_codes(number: int | None, code: Code) -> None:
    """Each errno has one code; what is not special is io_error."""
    assert code_for_os_error(OSError(number, "text") if number else OSError("text")) is code


def test_a_slow_listing_hands_on_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second, folder by folder; no file twice, none left out."""
    for folder in range(4):
        (tmp_path / str(folder)).mkdir()
        (tmp_path / str(folder) / "file").touch()
    clock = itertools.count(0.0, 0.6)
    monkeypatch.setattr(rows.time, "monotonic", lambda: next(clock))
    batches = list(LocalSource([str(tmp_path)], config=SourcesConfig()).list())
    assert len(batches) > 1
    assert [uri for batch in batches for uri in batch["uri"].to_pylist()] == [f"{tmp_path}/{n}/file" for n in range(4)]
