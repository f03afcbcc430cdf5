"""Publishing: all of it or nothing, and after a crash all of it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dicomflow.dataset import commit
from dicomflow.dataset.commit import discard_staging, prepare_destination, publish, read_description, redo, write_lock
from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.storage import write_json
from dicomflow.errors import CommitFailed, DatasetError

Stage = Callable[..., None]

OLD = [{"uri": "/old", "SOPInstanceUID": "1"}]
NEW = [{"uri": "/new", "SOPInstanceUID": "2"}, {"uri": "/more", "SOPInstanceUID": "3"}]


class Crash(BaseException):
    """The process is gone."""


def snapshot(layout: Layout) -> dict[str, Any]:
    """What readers see."""
    rows = {
        name: sorted(
            row.get("source_uri") or row["uri"]
            for part in layout.parts(name)
            for row in pq.read_table(part).to_pylist()
        )
        for name in TABLES
    }
    return {**rows, "description": read_description(layout)}


@pytest.fixture
def published(layout: Layout, stage: Stage) -> Layout:
    """A dataset with an older run, and a newer one in staging: one part keeps its name, one goes, one comes."""
    stage(layout.staging("run1"), "same", OLD)
    stage(layout.staging("run1"), "gone", [{"uri": "/gone", "SOPInstanceUID": "9"}])
    stage(layout.staging("run1") / "x", "c", OLD)
    (layout.staging("run1") / "conflicts").mkdir()
    os.replace(
        layout.staging("run1") / "x" / "instances" / "c-0.parquet", layout.staging("run1") / "conflicts" / "c.parquet"
    )
    publish(layout, "run1", {"format": "1", "n": 1}, {"run_id": "run1"})
    stage(layout.staging("run2"), "same", NEW)
    stage(layout.staging("run2"), "come", [{"uri": "/come", "SOPInstanceUID": "4"}])
    return layout


def publish_new(layout: Layout) -> None:
    publish(layout, "run2", {"format": "1", "n": 2}, {"run_id": "run2"})


BEFORE = {
    "instances": ["/gone", "/old"],
    "files": ["/gone", "/old"],
    "conflicts": ["/old"],
    "description": {"format": "1", "n": 1},
}
AFTER = {
    "instances": ["/come", "/more", "/new"],
    "files": ["/come", "/more", "/new"],
    "conflicts": [],
    "description": {"format": "1", "n": 2},
}


def test_publish_replaces_everything(published: Layout) -> None:
    """The new run's rows are there, the old run's are not, staging is gone, both runs have their record."""
    assert snapshot(published) == BEFORE
    publish_new(published)
    assert snapshot(published) == AFTER
    assert list((published.private / "staging").iterdir()) == []
    assert not published.publish_record.exists() and redo(published) is False
    assert sorted(path.name for path in (published.private / "runs").iterdir()) == ["run1.json", "run2.json"]


@contextmanager
def crash_at(monkeypatch: pytest.MonkeyPatch, step: int, *, after: bool) -> Iterator[list[str]]:
    """Let the process die at the ``step``-th change of the disk, before or after it; gives the changes made."""
    made: list[str] = []

    def guard(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) == step and not after:
                raise Crash
            result = real(*arguments, **options)
            if len(made) == step:
                raise Crash
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", guard("replace", os.replace))
        patch.setattr(
            os, "fsync", guard("fsync", lambda _: None)
        )  # a step that may be the last; the disk may take its time
        patch.setattr(pathlib.Path, "unlink", guard("unlink", pathlib.Path.unlink))
        patch.setattr(shutil, "rmtree", guard("rmtree", shutil.rmtree))
        yield made


def count_steps(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> int:
    with crash_at(monkeypatch, 0, after=False) as made:
        publish_new(layout)
    assert {"replace", "fsync", "unlink", "rmtree"} == set(made)
    return len(made)


@pytest.mark.parametrize("after", [False, True])
def test_crash_at_every_step(published: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: bool) -> None:
    """resume(crash(x)) == x: wherever it died, the old dataset is whole or redoing makes the new one whole."""
    rehearsal = Layout(tmp_path / "rehearsal")
    shutil.copytree(published.root, rehearsal.root)
    steps = count_steps(rehearsal, monkeypatch)
    ends = []
    for step in range(1, steps + 1):
        layout = Layout(tmp_path / f"crash{step}")
        shutil.copytree(published.root, layout.root)
        with crash_at(monkeypatch, step, after=after), suppress(Crash):
            publish_new(layout)
            pytest.fail("did not crash")
        discard_staging(layout)  # what the dying run and the next one do: it must spare what redo needs
        redone = redo(layout)
        discard_staging(layout)
        ends.append(snapshot(layout) == AFTER)
        assert snapshot(layout) == (AFTER if redone or ends[-1] else BEFORE), f"step {step}"
        assert not layout.publish_record.exists() and list((layout.private / "staging").iterdir()) == []
    assert ends == sorted(ends) and ends[-1] and not ends[0]


def test_crashes_one_after_the_other(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redoing may itself be killed at each of its steps, again and again."""
    publish_new_until_record(published, monkeypatch)
    for step in range(1, 200):
        with crash_at(monkeypatch, step, after=True) as made, suppress(Crash):
            redo(published)
        if len(made) < step:
            break
    redo(published)
    assert snapshot(published) == AFTER


def publish_new_until_record(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is written, nothing else."""
    with monkeypatch.context() as patch:
        patch.setattr(commit, "redo", lambda _: False)
        publish_new(layout)
    assert layout.publish_record.exists() and snapshot(layout) == BEFORE


def test_record_that_cannot_be_written_is_safe_to_retry(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """CommitFailed means that nothing was changed; the same call succeeds later."""

    def fail(*_: object) -> None:
        raise DatasetError("publish.json: cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "write_json", fail)
        with pytest.raises(CommitFailed, match="nothing was published; run again: .*No space left"):
            publish_new(published)
    assert snapshot(published) == BEFORE
    publish_new(published)
    assert snapshot(published) == AFTER


def test_stopped_half_way_says_so(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after the record is no CommitFailed: the record stays, and the next run completes it."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_once_for("come-0.parquet"))
        with pytest.raises(
            DatasetError, match="publishing stopped: Input/output error; run again to complete it"
        ) as caught:
            publish_new(published)
    assert not isinstance(caught.value, CommitFailed) and published.publish_record.exists()
    assert redo(published) is True and snapshot(published) == AFTER


def fail_once_for(name: str) -> Callable[..., None]:
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(5, "Input/output error")
        real(source, target)

    return replace


def hostile_records() -> list[tuple[str, Any]]:
    good: dict[str, Any] = {
        "run_id": "run2",
        "add": {table: [] for table in TABLES},
        "remove": {table: [] for table in TABLES},
        "description": {},
        "run_record": {},
    }
    names = ["../victim", "..", ".", "", "/etc/passwd", "a/b", "a\0b", None, 7, ["x"]]
    found = [
        *((f"add {name!r}", {**good, "add": {**good["add"], "files": [name]}}) for name in names),
        *((f"remove {name!r}", {**good, "remove": {**good["remove"], "instances": [name]}}) for name in names),
        *((f"run {name!r}", {**good, "run_id": name}) for name in names),
        *((f"no {key}", {k: v for k, v in good.items() if k != key}) for key in good),
        ("table", {**good, "add": {"files": []}}),
        ("names", {**good, "add": {**good["add"], "files": 3}}),
        ("description", {**good, "description": "x"}),
        ("list", [1, 2]),
        ("null", None),
    ]
    return found


@pytest.mark.parametrize(("about", "record"), hostile_records(), ids=[name for name, _ in hostile_records()])
def test_hostile_record(published: Layout, tmp_path: Path, about: str, record: Any) -> None:
    """A record that leaves its folders, or is none, is refused in one line before anything is touched."""
    (published.root / "victim").write_text("kept")
    (tmp_path / "victim").write_text("kept")
    published.publish_record.write_text(json.dumps(record))
    with pytest.raises(DatasetError, match=r"publish\.json: ") as caught:
        redo(published)
    assert "\n" not in str(caught.value)
    assert snapshot(published) == BEFORE and published.staging("run2").exists()
    assert (published.root / "victim").read_text() == (tmp_path / "victim").read_text() == "kept"


def test_torn_record(published: Layout) -> None:
    """Bytes that are no JSON are refused, not a traceback."""
    published.publish_record.write_bytes(b'{"run_id": \xff')
    with pytest.raises(DatasetError, match="cannot be read: not valid JSON"):
        redo(published)


def test_staged_part_that_is_gone(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody removed what was to be published, nothing more is removed, and the message says what to do."""
    publish_new_until_record(published, monkeypatch)
    shutil.rmtree(published.staging("run2"))
    with pytest.raises(DatasetError, match="is gone, .* remove .*publish.json and extract again"):
        redo(published)
    assert snapshot(published) == BEFORE


def test_discard_spares_what_a_publish_needs(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staging of a publish under way stays, that of all others goes."""
    publish_new_until_record(published, monkeypatch)
    discard_staging(published)
    assert published.staging("run2").exists()
    redo(published)
    write_json(published.staging("dead") / "files" / "x.json", 1)
    discard_staging(published)
    assert list((published.private / "staging").iterdir()) == []


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


@pytest.mark.parametrize("step", ["mkdir", "write_bytes"])
def test_prepare_refuses_what_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str) -> None:
    """No right to write, or a read-only file system, is one line."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, step, fail)
    with pytest.raises(DatasetError, match="/d: cannot be written: Permission denied$"):
        prepare_destination(Layout(tmp_path / "d"))


@pytest.mark.parametrize("text", ["", "[1]", "{", '"x"'])
def test_description_that_is_none(layout: Layout, text: str) -> None:
    """A damaged description is named, not guessed."""
    layout.description.write_text(text)
    with pytest.raises(DatasetError, match=r"dataset\.json: (cannot be read: not valid JSON|not a JSON object)"):
        read_description(layout)
    layout.description.unlink()
    assert read_description(layout) is None


def test_publish_under_the_lock(published: Layout) -> None:
    """The lock file neither hinders publishing nor is swept away by it."""
    with write_lock(published):
        publish_new(published)
        assert published.lock.exists()
    assert not published.lock.exists()
