"""What a dataset is: read exactly, from wherever its parts lie at this moment, or refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomflow.dataset import snapshot as module
from dicomflow.dataset.layout import BASE_TABLES, ROLLUPS, Layout, list_parts
from dicomflow.dataset.snapshot import PartInfo, Snapshot, is_file_name, read_json, read_published, read_snapshot
from dicomflow.errors import DatasetError

GOOD: dict[str, Any] = {
    "format": "2",
    "version": 3,
    "profile": "minimal",
    "schema": "abc",
    "sources": ["/scans"],
    "dicomflow": "0.1.0",
    "last_run": "run3",
    "tables": {table: {f"{table}.parquet": [5, 700, "0123456789abcdef"]} for table in BASE_TABLES},
}


def describe(layout: Layout, **more: Any) -> None:
    layout.description.write_text(json.dumps({**GOOD, **more}))


def put(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


@pytest.fixture
def published(layout: Layout) -> Layout:
    describe(layout)
    for table in BASE_TABLES:
        put(layout.table(table), f"{table}.parquet")
    return layout


def test_round_trip(published: Layout) -> None:
    """What is written is what is read, and the sums are those of the parts."""
    snapshot = read_snapshot(published, "2")
    assert snapshot is not None and snapshot.tables["files"] == {"files.parquet": PartInfo(5, 700, "0123456789abcdef")}
    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json())), published.description) == snapshot
    assert (snapshot.rows("files"), snapshot.bytes("files"), snapshot.rows("series")) == (5, 700, 0)


def test_nothing_published(layout: Layout) -> None:
    """Before the first version there is no snapshot, and nothing to read."""
    assert read_snapshot(layout, "2") is None
    with pytest.raises(DatasetError, match="no dicomflow dataset here; make one with"):
        read_published(layout, "2")


def test_stray_files_do_not_count(published: Layout) -> None:
    """Parts are those that the description names, whatever else lies in the folders."""
    put(published.table("files"), "stray.parquet", "note.txt", ".files.parquet.1.tmp")
    _, parts = read_published(published, "2")
    assert parts == {
        **{table: [published.table(table) / f"{table}.parquet"] for table in BASE_TABLES},
        **{table: [] for table in ROLLUPS},  # of a dataset that has none yet
    }


# ---- a commit under way ----------------------------------------------------------------------------------------------


def record(layout: Layout) -> None:
    """A commit of version 4, which gives ``files`` another part and leaves the others as they are."""
    tables = {**GOOD["tables"], "files": {"new.parquet": [6, 800, "ff"]}}
    put(layout.next / "files", "new.parquet")
    layout.commit_record.write_text(
        json.dumps({"description": {**GOOD, "version": 4, "tables": tables}, "run_record": {}})
    )


def test_a_recorded_commit_is_the_dataset(published: Layout) -> None:
    """From the record on the new version is read, before and after its tables have changed places."""
    record(published)
    snapshot, parts = read_published(published, "2")
    assert snapshot.version == 4 and parts["files"] == [published.next / "files" / "new.parquet"]
    assert parts["instances"] == [published.table("instances") / "instances.parquet"]
    shutil.rmtree(published.table("files"))
    assert read_published(published, "2")[1]["files"] == [published.next / "files" / "new.parquet"]
    os.rename(published.next / "files", published.table("files"))
    assert read_published(published, "2")[1]["files"] == [published.table("files") / "new.parquet"]


def test_an_old_version_is_read_from_where_its_parts_went(published: Layout) -> None:
    """Who read the old description just before the tables changed places finds its parts in their new place."""
    put(published.next / "files", "new.parquet")
    os.rename(published.table("files"), published.root / "aside")
    os.rename(published.next / "files", published.table("files"))
    os.rename(published.root / "aside", published.next / "files")
    assert read_published(published, "2")[1]["files"] == [published.next / "files" / "files.parquet"]


def test_tables_that_change_places_between_two_looks(published: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks into both folders at the wrong moments is told to try again, and that is no crash."""
    record(published)
    one, other, aside = published.table("files"), published.next / "files", published.root / "aside"
    real = list_parts

    def look(folder: Path) -> list[Path]:
        found = real(folder)
        if folder == one:
            for source, target in ((one, aside), (other, one), (aside, other)):
                os.rename(source, target)
        return found

    monkeypatch.setattr(module, "list_parts", look)
    with pytest.raises(DatasetError, match=r"files/new\.parquet: is not there; if a run is publishing, try again"):
        read_published(published, "2")
    monkeypatch.undo()
    assert read_published(published, "2")[1]["files"] == [one / "new.parquet"]


def test_a_folder_that_goes_while_it_is_listed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is removed at this moment has no parts."""
    put(layout.next / "files", "a.parquet")
    real = os.scandir

    def scandir(path: Any) -> Any:
        shutil.rmtree(path, ignore_errors=True)
        return real(path)

    monkeypatch.setattr(Path, "glob", lambda path, _: iter(path / entry.name for entry in scandir(path)))
    assert list_parts(layout.next / "files") == []


def test_a_part_that_is_gone(published: Layout) -> None:
    """The message names it and what to do."""
    (published.table("conflicts") / "conflicts.parquet").unlink()
    with pytest.raises(DatasetError, match=r"conflicts/conflicts\.parquet: is not there; .*restore it"):
        read_published(published, "2")


# ---- hostile descriptions --------------------------------------------------------------------------------------------

NAMES = ["../victim", "..", ".", "", "/etc/passwd", "a/b", "a\0b"]


def with_part(name: Any, about: Any = (1, 2, "d")) -> dict[str, Any]:
    return {**GOOD, "tables": {**GOOD["tables"], "files": {name: about}}}


def hostile() -> list[tuple[str, Any]]:
    wrong = [None, 7, 1.5, True, "x", [], [1], {}, {"a": 1}]
    kinds: dict[str, Callable[[Any], bool]] = {
        "version": lambda value: type(value) is int,
        "profile": lambda value: type(value) is str,
        "schema": lambda value: type(value) is str,
        "dicomflow": lambda value: type(value) is str,
        "last_run": lambda value: type(value) is str,
        "sources": lambda value: value == [],
        "tables": lambda _: False,
    }
    return [
        *((f"no {key}", {k: v for k, v in GOOD.items() if k != key}) for key in GOOD if key != "format"),
        *((f"{key} {value!r}", {**GOOD, key: value}) for key, fine in kinds.items() for value in wrong if not fine(value)),
        *((f"part {name!r}", with_part(name)) for name in NAMES),
        *((f"run {name!r}", {**GOOD, "last_run": name}) for name in NAMES),
        *(
            (f"about {about!r}", with_part("a.parquet", about))
            for about in (None, 3, "abc", [], [1], [1, 2], [1, 2, 3], [1, "2", "d"], [True, 2, "d"], [1.0, 2, "d"],
                          [[1], 2, "d"], {"rows": 1}, [-1, 2, "d"], [1, -2, "d"], [1, 2, "d", 4])
        ),
        *((f"table {held!r}", {**GOOD, "tables": {**GOOD["tables"], "files": held}}) for held in (None, 3, "ab", [1], {})),
        ("table missing", {**GOOD, "tables": {"files": {}}}),
    ]  # fmt: skip


@pytest.mark.parametrize(("about", "found"), hostile(), ids=[about for about, _ in hostile()])
def test_hostile_description(published: Layout, about: str, found: Any) -> None:
    """Wrong types, and names that lead elsewhere, are refused in one printable line that names the file."""
    published.description.write_text(json.dumps(found))
    for read in (read_snapshot, read_published):
        with pytest.raises(DatasetError, match=r"dataset\.json: ") as caught:
            read(published, "2")
        assert "\n" not in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "3", '"x"', "null", "[" * 200_000, '{"a":' * 200_000, "\xff\xfe", "NaN"]
)
def test_a_description_that_is_none(layout: Layout, text: str) -> None:
    """A damaged description is named, not guessed; nesting without end is no crash."""
    layout.description.write_bytes(text.encode("latin-1"))
    for read in (read_snapshot, read_published):
        with pytest.raises(DatasetError, match=r"dataset\.json: (cannot be read: not valid JSON|not a JSON object)$"):
            read(layout, "2")


@pytest.mark.parametrize("other", ["1", "99", "", None, 2, 2.0, [], {}, "x" * 10_000, ["2"]], ids=lambda o: str(o)[:8])
def test_another_format(published: Layout, other: Any) -> None:
    """A dataset of an earlier or later format is told apart before anything else of it is looked at."""
    published.description.write_text(json.dumps({"format": other, "tables": 3}))
    with pytest.raises(
        DatasetError, match="has format .*, this version reads '2'; extract into a new folder"
    ) as caught:
        read_snapshot(published, "2")
    assert len(str(caught.value)) < 300 + len(str(published.root))


@pytest.mark.parametrize("found", ["{}", '{"description": 3}', '{"description": null}', "[]", "{"])
def test_a_commit_record_that_is_none(published: Layout, found: str) -> None:
    """A damaged commit record is not read past: nobody knows which version counts."""
    published.commit_record.write_text(found)
    with pytest.raises(DatasetError, match=r"commit\.json: "):
        read_published(published, "2")


def test_a_description_that_cannot_be_read(layout: Layout) -> None:
    """What the system says is said, in one line."""
    layout.description.mkdir()
    with pytest.raises(DatasetError, match=r"dataset\.json: cannot be read: Is a directory$"):
        read_snapshot(layout, "2")


def test_names_of_files() -> None:
    """A name is text without a separator that is not a way out."""
    assert all(map(is_file_name, ["a", "a.parquet", "..a", "ü", " "]))
    assert not any(map(is_file_name, [*NAMES, None, 7, b"a", ["a"]]))


def test_no_file_is_no_object(tmp_path: Path) -> None:
    """Where there is no file there is no object."""
    assert read_json(tmp_path / "x.json") is None
