"""Publishing: all of it or nothing; readers see one version or the other, whatever was killed when."""

from __future__ import annotations

import errno
import functools
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pandas as pd
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset import commit, storage
from dicomflow.dataset.commit import assemble, discard, prepare_destination, publish, redo, sweep
from dicomflow.dataset.layout import BASE_TABLES, Layout, list_parts
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.parts import describe_part
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.dataset.storage import write_json
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import CommitFailed, CommitStateUnknown, DatasetError
from dicomflow.query import open_dataset
from dicomflow.schema.arrow import instances_schema
from tests.durable.disk import Crash, dying

from .archive import stage_task
from .conftest import PROFILE
from .test_snapshot import hostile

COLUMN = {"instances": "source_uri", "files": "uri", "conflicts": "source_uri"}
BEFORE = {"instances": ["/gone", "/keep"], "files": ["/gone", "/keep"], "conflicts": ["/lost"], "version": 1}
AFTER = {"instances": ["/come", "/keep", "/more"], "files": ["/come", "/keep", "/more"], "conflicts": [], "version": 2}


class Held:
    """A lock that nobody takes away."""

    def check(self) -> None:
        """It is still there."""


# ---- a dataset of two versions: the first published, the second ready to be assembled --------------------------------


def describe(layout: Layout, version: int) -> Snapshot:
    """The version that lies in ``next``."""
    return Snapshot(
        format="2",
        version=version,
        profile="minimal",
        schema="s",
        sources=["/"],
        dicomflow="0",
        last_run=f"run{version}",
        tables={
            table: {
                part.name: describe_part(part)
                for part in list_parts(folder if folder.is_dir() else layout.table(table))
            }
            for table, folder in ((table, layout.next / table) for table in BASE_TABLES)
        },
    )


def publish_next(layout: Layout, version: int) -> None:
    publish(layout, describe(layout, version), {"run_id": f"run{version}"}, Held())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Version 1 published; the parts of version 2 that are new lie in staging."""
    layout, schema = Layout(tmp_path_factory.mktemp("commit") / "d"), instances_schema(PROFILE)
    for number, uri in enumerate(("/keep", "/gone", "/lost")):
        stage_task(layout.next, uri[1:], [{"uri": uri, "SOPInstanceUID": str(number)}], schema)
    (layout.next / "conflicts").mkdir()
    os.rename(layout.next / "instances" / "lost-0.parquet", layout.next / "conflicts" / "lost-0.parquet")
    (layout.next / "files" / "lost.parquet").unlink()
    publish_next(layout, 1)
    stage_task(
        layout.staging,
        "come",
        [{"uri": "/come", "SOPInstanceUID": "4"}, {"uri": "/more", "SOPInstanceUID": "5"}],
        schema,
    )
    write_data_file(schema.empty_table(), schema, "conflicts", layout.staging, "none.parquet", DatasetConfig())
    return layout


@pytest.fixture
def published(template: Layout, tmp_path: Path) -> Layout:
    return copy(template, tmp_path / "dest")


def copy(layout: Layout, root: Path) -> Layout:
    shutil.copytree(layout.root, root)
    return Layout(root)


def publish_new(layout: Layout) -> None:
    """What a run does: names for the parts that stay and for those that are new, then the commit."""
    assemble(
        layout,
        "instances",
        [layout.table("instances") / "keep-0.parquet", layout.staging / "instances" / "come-0.parquet"],
    )
    assemble(layout, "files", [layout.table("files") / "keep.parquet", layout.staging / "files" / "come.parquet"])
    assemble(layout, "conflicts", [layout.staging / "conflicts" / "none.parquet"])
    publish_next(layout, 2)


# ---- readers ---------------------------------------------------------------------------------------------------------


def opened(layout: Layout) -> dict[str, Any]:
    """What ``open_dataset`` shows: all tables of one version."""
    dataset = open_dataset(layout.root)
    found = {
        table: sorted(getattr(dataset, table).to_table([COLUMN[table]])[COLUMN[table]].to_pylist())
        for table in BASE_TABLES
    }
    return {**found, "version": dataset.version}


def plain(layout: Layout, table: str) -> list[str] | None:
    """What pandas and DuckDB find in the folder of one table, None where there is no folder; they agree."""
    folder = layout.table(table)
    if not folder.is_dir():
        return None
    return list(
        _read_plainly(folder, COLUMN[table], tuple((part.name, part.read_bytes()) for part in list_parts(folder)))
    )


@functools.cache
def _read_plainly(folder: Path, column: str, _: tuple[tuple[str, bytes], ...]) -> tuple[str, ...]:
    """The same bytes under the same names are read once."""
    pandas = sorted(pd.read_parquet(folder, columns=[column])[column])
    rows = duckdb.sql(f"select {column} from '{folder}/*.parquet' order by 1").fetchall()
    assert pandas == [row[0] for row in rows]
    return tuple(pandas)


def check_readers(layout: Layout, *, may_be_away: bool) -> dict[str, Any]:
    """One version or the other, never a mixture; what ``open_dataset`` shows."""
    seen = opened(layout)
    assert seen in (BEFORE, AFTER)
    assert seen == AFTER or not layout.commit_record.exists()
    for table in BASE_TABLES:
        found = plain(layout, table)
        assert found in (BEFORE[table], AFTER[table]) or (found is None and may_be_away), table
    return seen


def check_plain(layout: Layout, expected: dict[str, Any]) -> None:
    """At rest plain readers see exactly the dataset, and nothing of the commit is left."""
    assert opened(layout) == expected
    assert {table: plain(layout, table) for table in BASE_TABLES} == {table: expected[table] for table in BASE_TABLES}
    assert not layout.commit_record.exists() and not layout.next.exists()


# ---- publishing ------------------------------------------------------------------------------------------------------


def test_publish_replaces_everything(published: Layout) -> None:
    """The new version is there, the old one is not, staging is gone, both runs have their record."""
    check_plain(published, BEFORE)
    publish_new(published)
    check_plain(published, AFTER)
    assert not published.staging.exists() and redo(published) is False
    assert sorted(path.name for path in published.runs.iterdir()) == ["run1.json", "run2.json"]
    assert sorted(path.name for path in published.private.iterdir()) == ["dataset.json", "runs"]


def test_a_table_that_does_not_change_is_not_touched(published: Layout) -> None:
    """Only tables that were assembled are exchanged, and parts that stay are not written again."""
    before = {path: path.stat().st_ino for path in published.table("conflicts").iterdir()}
    kept = (published.table("files") / "keep.parquet").stat()
    assemble(published, "files", [published.table("files") / "keep.parquet"])
    publish_next(published, 2)
    assert {path: path.stat().st_ino for path in published.table("conflicts").iterdir()} == before
    assert (published.table("files") / "keep.parquet").stat().st_ino == kept.st_ino
    check_plain(published, {**BEFORE, "files": ["/keep"], "version": 2})


# ---- crashes ---------------------------------------------------------------------------------------------------------


def _no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


DISKS = {"swap": [], "no-swap": [("_swap", lambda *_: False)], "no-links": [("link", _no_links)]}
STEPS = {
    "swap": {"link", "_swap", "replace", "rename", "fsync", "unlink", "rmtree"} - {"rename"},
    "no-swap": {"link", "_swap", "replace", "rename", "fsync", "unlink", "rmtree"},
    "no-links": {"link", "copyfile", "_swap", "replace", "fsync", "unlink", "rmtree"},
}


@pytest.fixture(params=list(DISKS))
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that has all, one without exchange of names, one without hard links."""
    for name, function in DISKS[request.param]:
        monkeypatch.setattr(storage if name.startswith("_") else os, name, function)
    return str(request.param)


def take_up(layout: Layout) -> bool:
    """What the next run does first; whether there was a commit to complete."""
    redone = redo(layout)
    discard(layout.next)
    sweep(layout.private)
    return redone


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_crash_at_every_step(published: Layout, tmp_path: Path, disk: str, after: bool) -> None:
    """resume(crash(x)) == x: at each step readers see one version; then redo makes the new one whole, or a new run does."""
    rehearsal = copy(published, tmp_path / "rehearsal")
    with dying(0) as made:
        publish_new(rehearsal)
    assert set(made) == STEPS[disk]
    ends = []
    for step in range(1, len(made) + 1):
        layout = copy(published, tmp_path / f"crash{step}")
        with dying(step, after=after), suppress(Crash):
            publish_new(layout)
            pytest.fail("did not crash")
        seen = check_readers(layout, may_be_away=disk == "no-swap")
        redone = take_up(layout)
        ends.append(seen == AFTER)
        assert seen == AFTER or not redone, f"step {step}"
        check_plain(layout, seen)
        if not ends[-1]:
            publish_new(layout)
            check_plain(layout, AFTER)
        shutil.rmtree(layout.root)
    assert ends == sorted(ends) and ends[-1] and not ends[0]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_crashes_one_after_the_other(published: Layout, disk: str, after: bool) -> None:
    """Redoing may itself be killed at each of its steps, again and again; readers see one version all the time."""
    publish_new_until_record(published)
    for step in range(1, 200):
        with dying(step, after=after) as made, suppress(Crash):
            redo(published)
        assert check_readers(published, may_be_away=disk == "no-swap") == AFTER
        if len(made) < step:
            break
    take_up(published)
    check_plain(published, AFTER)


def publish_new_until_record(layout: Layout) -> None:
    """The record is written, nothing else."""
    with patch.object(commit, "redo", lambda _: False):
        publish_new(layout)
    assert layout.commit_record.exists() and plain(layout, "files") == BEFORE["files"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_crash_at_every_step_of_the_first_publish(published: Layout, tmp_path: Path, after: bool) -> None:
    """Before the record there is no dataset, after it there is the whole one; plain readers find a whole table or none."""
    first = Layout(tmp_path / "first")
    for table in BASE_TABLES:
        shutil.copytree(published.table(table), first.next / table)
    steps = 0
    for step in range(1, 200):
        layout = copy(first, tmp_path / f"first{step}")
        with dying(step, after=after) as made, suppress(Crash):
            publish_next(layout, 1)
        steps = len(made)
        if steps < step:
            break
        is_there = layout.commit_record.exists() or layout.is_dataset()
        if is_there:
            assert opened(layout) == BEFORE
        else:
            with pytest.raises(DatasetError, match="no dicomflow dataset here"):
                open_dataset(layout.root)
        assert all(plain(layout, table) in (None, BEFORE[table]) for table in BASE_TABLES)
        take_up(layout)
        if is_there:
            check_plain(layout, BEFORE)
    assert steps > 15


def test_readers_during_every_step(published: Layout, disk: str) -> None:
    """While a publish goes on, a reader that comes between any two steps sees one version, and never an older one again."""
    seen: list[int] = []

    def look(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            with ExitStack() as own:
                for name in ("replace", "rename", "link", "fsync"):
                    own.enter_context(patch.object(os, name, kept[name]))
                seen.append(check_readers(published, may_be_away=disk == "no-swap")["version"])
            return result

        return call

    kept = {name: getattr(os, name) for name in ("replace", "rename", "link", "fsync")}
    with ExitStack() as stack:
        for name, real in kept.items():
            stack.enter_context(patch.object(os, name, look(real)))
        stack.enter_context(patch.object(storage, "_swap", look(storage._swap)))
        publish_new(published)
    assert seen == sorted(seen) and set(seen) == {1, 2}


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_record_that_cannot_be_written_is_safe_to_retry(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """CommitFailed means that nothing was changed; the same call succeeds later."""

    def fail(*_: object, **__: object) -> None:
        raise DatasetError("commit.json: cannot be written: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(commit, "write_json", fail)
        with pytest.raises(CommitFailed, match="nothing was published; run again: .*No space left"):
            publish_new(published)
    assert opened(published) == BEFORE and published.staging.exists()
    discard(published.next)
    publish_new(published)
    check_plain(published, AFTER)


def test_record_that_was_written_all_the_same(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after which the record is there is no CommitFailed: the next run completes it."""

    def write(path: Path, value: object, **_: object) -> None:
        write_json(path, value)
        raise DatasetError("commit.json: cannot be written: Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(commit, "write_json", write)
        with pytest.raises(
            CommitStateUnknown, match="publishing stopped: .*Input/output error; run again to complete it"
        ):
            publish_new(published)
    assert opened(published) == AFTER and redo(published)
    check_plain(published, AFTER)


def test_two_commits_at_once(published: Layout) -> None:
    """A record that is there is not overwritten, whoever wrote it."""
    publish_new_until_record(published)
    record = published.commit_record.read_bytes()
    with pytest.raises(CommitStateUnknown, match="File exists"):
        publish_next(published, 3)
    assert published.commit_record.read_bytes() == record


@pytest.mark.parametrize("step", ["_swap", "replace", "fsync", "unlink"])
def test_stopped_half_way_says_so(published: Layout, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """An error after the record is no CommitFailed: the record stays, and the next run completes it."""
    publish_new_until_record(published)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    holder = {"_swap": storage, "unlink": pathlib.Path}.get(step, os)
    with monkeypatch.context() as patched:
        patched.setattr(holder, step, fail)
        with pytest.raises(
            CommitStateUnknown, match="publishing stopped: .*Input/output error; run again to complete it"
        ):
            redo(published)
    assert published.commit_record.exists() and opened(published) == AFTER
    assert redo(published) is True
    check_plain(published, AFTER)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_parts_that_get_no_name(published: Layout, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A disk that does not take one more name is one line, and nothing was changed."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(CommitFailed, match="nothing was published; run again: .*" + os.strerror(number)):
        publish_new(published)
    assert opened(published) == BEFORE


@pytest.mark.parametrize("fault", ["missing", "another", "foreign"])
def test_what_is_assembled_must_be_what_is_recorded(published: Layout, fault: str) -> None:
    """A part that is missing in next, or one too many, there or in a table that stays, is found before the record."""
    assemble(
        published, "files", [published.table("files") / "keep.parquet", published.staging / "files" / "come.parquet"]
    )
    coming = describe(published, 2)
    if fault == "missing":
        (published.next / "files" / "come.parquet").unlink()
    else:
        folder = published.next / "files" if fault == "another" else published.table("instances")
        (folder / "more.parquet").write_bytes(b"x")
    with pytest.raises(CommitFailed, match="does not hold what was to be published; nothing was published"):
        publish(published, coming, {}, Held())  # type: ignore[arg-type]
    assert not published.commit_record.exists()


def test_a_lock_that_was_taken_away(published: Layout) -> None:
    """A run that was taken for dead publishes nothing."""
    with write_lock(published) as lock:
        published.lock.write_text(json.dumps({"host": "elsewhere", "token": "another's"}))
        assemble(published, "files", [published.table("files") / "keep.parquet"])
        with pytest.raises(CommitFailed, match="taken away from this run; nothing was published"):
            publish(published, describe(published, 2), {}, lock)
    assert not published.commit_record.exists() and opened(published) == BEFORE


def hostile_records() -> list[tuple[str, Any]]:
    return [
        *((about, {"description": description, "run_record": {}}) for about, description in hostile()),
        *((f"description {found!r}", {"description": found, "run_record": {}}) for found in (None, 3, "x", [1])),
        *((f"run record {found!r}", {"description": {}, "run_record": found}) for found in (None, 3, "x", [1])),
        ("nothing", {}),
        ("list", [1, 2]),
        ("null", None),
    ]


@pytest.mark.parametrize(("about", "record"), hostile_records(), ids=[name for name, _ in hostile_records()])
def test_hostile_record(layout: Layout, tmp_path: Path, about: str, record: Any) -> None:
    """A record that leaves its folders, or is none, is refused in one line before anything is touched."""
    layout.next.mkdir()
    victims = [layout.root / "victim", tmp_path / "victim", layout.private / "victim", layout.next / "files.parquet"]
    for victim in victims:
        victim.write_text("kept")
    layout.commit_record.write_text(json.dumps(record))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=r"commit\.json: ") as caught:
        redo(layout)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before and all(victim.read_text() == "kept" for victim in victims)


@pytest.mark.parametrize("data", [b'{"run_id": \xff', b"", b"[" * 200_000, b"{"])
def test_torn_record(published: Layout, data: bytes) -> None:
    """Bytes that are no JSON are refused, not a traceback."""
    published.commit_record.write_bytes(data)
    with pytest.raises(DatasetError, match=r"commit\.json: cannot be read: not valid JSON"):
        redo(published)


def test_a_record_of_another_format(published: Layout) -> None:
    """What a later version began is left to it."""
    publish_new_until_record(published)
    record = json.loads(published.commit_record.read_text())
    record["description"]["format"] = "99"
    published.commit_record.write_text(json.dumps(record))
    with pytest.raises(DatasetError, match="has format '99', this version reads '2'"):
        redo(published)
    assert plain(published, "files") == BEFORE["files"] and published.commit_record.exists()


def test_assembled_part_that_is_gone(published: Layout) -> None:
    """If somebody removed what was to be published, nothing more is removed, and the message says what to do."""
    publish_new_until_record(published)
    shutil.rmtree(published.next)
    with pytest.raises(CommitStateUnknown, match=r"is not what the commit needs; restore it, or remove .*commit\.json"):
        redo(published)
    assert {table: plain(published, table) for table in BASE_TABLES} == {table: BEFORE[table] for table in BASE_TABLES}
    published.commit_record.unlink()
    assert opened(published) == BEFORE


def test_discard_of_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone already, or cannot be removed now, is no fault."""
    discard(tmp_path / "nothing")
    (tmp_path / "x").mkdir()
    monkeypatch.setattr(shutil, "rmtree", _no_links)
    discard(tmp_path / "x")


# ---- DEST ------------------------------------------------------------------------------------------------------------


def test_prepare_makes_a_new_folder(tmp_path: Path) -> None:
    """A new folder, an empty one, and a dataset that is there are all fine, and hold no traces of the check."""
    layout = Layout(tmp_path / "a" / "b")
    for _ in range(2):
        prepare_destination(layout)
        assert [path.name for path in layout.root.iterdir()] == ["_dicomflow"]
        assert list(layout.private.iterdir()) == []
    (tmp_path / "empty").mkdir()
    prepare_destination(Layout(tmp_path / "empty"))


def test_prepare_syncs_the_names_that_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the first publish leaves DEST: each folder that was made is synced in the one above, from the top."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    layout = Layout(tmp_path / "a" / "b")
    prepare_destination(layout)
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    prepare_destination(layout)
    assert len(synced) == 3


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_prepare_where_the_parent_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A broken disk is one line; a folder that may be written but not read is none."""

    def fail(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(commit, "sync_folder", fail)
    if number == errno.EACCES:
        prepare_destination(Layout(tmp_path / "d"))
        return
    with pytest.raises(DatasetError, match="/d: cannot be written: Input/output error$"):
        prepare_destination(Layout(tmp_path / "d"))


def test_prepare_refuses_a_file(tmp_path: Path) -> None:
    """DEST is a folder."""
    (tmp_path / "f").write_text("x")
    with pytest.raises(DatasetError, match="/f: is a file; DEST is a folder"):
        prepare_destination(Layout(tmp_path / "f"))
    with pytest.raises(DatasetError, match="/f/below: cannot be written: Not a directory"):
        prepare_destination(Layout(tmp_path / "f" / "below"))
    assert (tmp_path / "f").read_text() == "x"


def test_prepare_refuses_a_folder_with_other_things(tmp_path: Path) -> None:
    """A folder that holds something else is not touched."""
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(DatasetError, match="is not empty and not a dicomflow dataset"):
        prepare_destination(Layout(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("inside", ["instances/more", "files/a/b", "_dicomflow/staging/x"])
def test_prepare_refuses_the_folders_of_a_dataset(tmp_path: Path, inside: str) -> None:
    """Readers of a table would read the rows of both; beside the tables, and where no dataset is, there is room."""
    prepare_destination(Layout(tmp_path / "instances" / "d"))
    outer = Layout(tmp_path / "d")
    outer.private.mkdir(parents=True)
    outer.description.write_text("{}")
    with pytest.raises(DatasetError, match=f"{inside}: lies in a table of the dataset {outer.root}, "):
        prepare_destination(Layout(outer.root / inside))
    assert not (outer.root / inside).exists()
    prepare_destination(Layout(outer.root / "beside" / "instances"))


@pytest.mark.parametrize("step", ["mkdir", "write_bytes"])
def test_prepare_refuses_what_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str) -> None:
    """No right to write, or a read-only file system, is one line."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, step, fail)
    with pytest.raises(DatasetError, match="/d: cannot be written: Permission denied$"):
        prepare_destination(Layout(tmp_path / "d"))


def test_publish_under_the_lock(published: Layout) -> None:
    """The lock file neither hinders publishing nor is swept away by it."""
    with write_lock(published) as lock:
        assemble(published, "files", [published.table("files") / "keep.parquet"])
        publish(published, describe(published, 2), {}, lock)
        assert published.lock.exists()
    assert not published.lock.exists()
