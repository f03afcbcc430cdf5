"""What has to be read: each listed file and each known one, held against a simple model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.dataset import changes as changes_module
from dicomflow.dataset.changes import KNOWN_COLUMNS, Changes, Mask, Mode, below, compare, is_below, place_of
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.arrow import files_schema
from dicomflow.uri import path_from_uri, uri_from_path

KNOWN_SCHEMA = pa.schema([files_schema().field(name) for name in KNOWN_COLUMNS])
ORDINARY = [Mode.INCREMENT, Mode.FULL, Mode.COLUMNS]

Place = tuple[str, str | None]
Rows = dict[Place, dict[str, Any]]

OLD, SEEN, NOW = 100, 500, 900
"""mtime of a quiet file, when the earlier run began, when this one did."""


def rows_of(rows: Rows, schema: pa.Schema) -> pa.Table:
    found = [{"uri": uri, "member": member, **row} for (uri, member), row in rows.items()]
    return pa.Table.from_pylist(found, schema)


def file(uri: str, *, member: str | None = None, **more: Any) -> Rows:
    """A listed file."""
    return {(uri, member): {"size": 7, "mtime": OLD, **more}}


def known(uri: str, status: str = "ok", *, member: str | None = None, **more: Any) -> Rows:
    """A row of the ledger."""
    return {(uri, member): {"size": 7, "mtime": OLD, "status": status, "first_seen": 1, "last_seen": SEEN, **more}}


def look(listed: Rows, before: Rows, mode: Mode = Mode.INCREMENT, sources: Iterable[str] = ("/s",)) -> Changes:
    return compare(rows_of(listed, SOURCE_FILE_SCHEMA), rows_of(before, KNOWN_SCHEMA), list(sources), mode, NOW)


def places(table: pa.Table) -> list[Place]:
    return list(zip(table["uri"].to_pylist(), table["member"].to_pylist(), strict=True))


def kept(changes: Changes, before: Rows) -> list[Place]:
    every = list(before)
    return [every[at] for at in changes.kept.tolist()]


# ---- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ORDINARY)
def test_new_files_are_read(mode: Mode) -> None:
    """In a new dataset and in an old one."""
    for before in ({}, known("/s/b", "not_dicom")):
        changes = look(file("/s/a") | file("/s/b", status="skipped", code="dicomdir"), before, mode)
        assert places(changes.to_read) == [("/s/a", None)] and changes.to_read["first_seen"].to_pylist() == [None]
        assert places(changes.settled) == [("/s/b", None)] and changes.listed == 2 and changes.kept.tolist() == []


@pytest.mark.parametrize("mode", list(Mode))
def test_no_files(mode: Mode) -> None:
    """Nothing listed and nothing known is no fault."""
    changes = look({}, {}, mode)
    assert (changes.listed, changes.to_read.num_rows, changes.removed.num_rows, len(changes.kept)) == (0, 0, 0, 0)
    assert changes.to_read.column_names == [*SOURCE_FILE_SCHEMA.names, "first_seen"]


@pytest.mark.parametrize(
    "change",
    [{"size": 8}, {"mtime": 101}, {"etag": "e"}, {"size": None}, {"mtime": None}],
    ids=lambda change: str(change),
)
def test_changed_files_are_read(change: dict[str, Any]) -> None:
    """Each of size, mtime and etag counts, also where one of the two is not known; first_seen is kept."""
    changes = look(file("/s/a", **change), known("/s/a"))
    assert places(changes.to_read) == places(changes.replaced) == [("/s/a", None)] and changes.kept.tolist() == []
    assert changes.to_read["first_seen"].cast(pa.int64()).to_pylist() == [1]


def test_unchanged_nulls_are_equal() -> None:
    """A file whose size and mtime nobody knows is unchanged as long as nobody does."""
    changes = look(file("/s/a", size=None, mtime=None), known("/s/a", size=None, mtime=None))
    assert changes.to_read.num_rows == changes.replaced.num_rows == 0 and changes.kept.tolist() == [0]


@pytest.mark.parametrize(
    ("status", "read_in"),
    [
        ("ok", {Mode.FULL, Mode.COLUMNS}),
        ("partial", {Mode.FULL, Mode.COLUMNS}),
        ("conflict", {Mode.FULL, Mode.COLUMNS}),
        ("duplicate", {Mode.FULL}),
        ("not_dicom", {Mode.FULL}),
        ("skipped", {Mode.FULL}),
        ("removed", {Mode.FULL, Mode.COLUMNS, Mode.INCREMENT}),
        ("failed", set(Mode)),
    ],
)
def test_unchanged_files_by_status_and_mode(status: str, read_in: set[Mode]) -> None:
    """What failed or came back is read again, in all modes that read at all; what has a row where columns change."""
    for mode in Mode:
        changes = look(file("/s/a"), known("/s/a", status), mode)
        assert (changes.to_read.num_rows == 1) == (mode in read_in), mode
        assert len(changes.kept) == 1 - changes.to_read.num_rows == 1 - changes.replaced.num_rows


@pytest.mark.parametrize(
    ("mtime", "again"), [(SEEN - 1, False), (SEEN, True), (NOW - 1, True), (NOW, False), (NOW + 10**12, False)]
)
def test_written_while_it_was_read(mtime: int, again: bool) -> None:
    """A file written when the earlier run was under way is read again; one from the future not for ever."""
    changes = look(file("/s/a", mtime=mtime), known("/s/a", mtime=mtime))
    assert (changes.to_read.num_rows == 1) is again


def test_members_are_files_of_their_own() -> None:
    """One member changes, one goes, one comes, the archive's own row stays."""
    before = known("/s/z", "skipped") | known("/s/z", member="a") | known("/s/z", member="b")
    listed = file("/s/z") | file("/s/z", member="a", size=8) | file("/s/z", member="c")
    changes = look(listed, before)
    assert places(changes.to_read) == [("/s/z", "a"), ("/s/z", "c")]
    assert places(changes.removed) == [("/s/z", "b")] and kept(changes, before) == [("/s/z", None)]


def test_a_name_that_looks_like_a_member_is_none() -> None:
    """The uri "a!b" and the member b of a are not confused, nor are a member and its absence."""
    before = known("/s/ab") | known("/s/a", member="b")
    changes = look(file("/s/a", member="b") | file("/s/ab"), before)
    assert changes.to_read.num_rows == 0 and sorted(changes.kept.tolist()) == [0, 1]
    assert places(look(file("/s/a"), known("/s/a", member="x")).to_read) == [("/s/a", None)]


def test_settled_again_in_the_same_way() -> None:
    """A FIFO that is still one makes no new row; one that became a file is read; a file that became one is settled."""
    fifo = {"size": None, "mtime": None, "status": "skipped", "code": "special_file", "message": "FIFO"}
    before = known("/s/fifo", **fifo) | known("/s/was", **fifo) | known("/s/file")
    changes = look(file("/s/fifo", **fifo) | file("/s/was") | file("/s/file", **fifo), before)
    assert kept(changes, before) == [("/s/fifo", None)] and places(changes.to_read) == [("/s/was", None)]
    assert places(changes.settled) == [("/s/file", None)] and len(changes.replaced) == 2
    other = look(file("/s/fifo", **{**fifo, "message": "socket"}), before)
    assert places(other.settled) == [("/s/fifo", None)]


def test_what_is_gone() -> None:
    """A file that is gone is removed, once; the row of what never was a file goes without a trace."""
    before = known("/s/a") | known("/s/b", "removed") | known("/s/fifo", "skipped", size=None, mtime=None)
    changes = look({}, before)
    assert places(changes.removed) == [("/s/a", None)] and places(changes.replaced) == [("/s/fifo", None)]


def test_other_sources_are_left_alone() -> None:
    """What lies outside the SOURCEs of the run stays, and a name that only begins alike lies outside."""
    before = known("/s/a") | known("/t/a") | known("/sa") | known("/s")
    assert places(look({}, before).removed) == [("/s/a", None), ("/s", None)]
    assert places(look({}, before, sources=["/"]).removed) == list(before)
    assert look({}, before, sources=[]).removed.num_rows == 0


@pytest.mark.parametrize("folder", [b"/s/b", "/s/ü %".encode(), b"/s/\xff"])
@pytest.mark.parametrize("name", [b"x", b"c/\xfe", "ü".encode()])
def test_folders_that_could_not_be_listed(folder: bytes, name: bytes) -> None:
    """Nobody knows whether their files are still there: they stay, whatever bytes their names are made of."""
    inside, beside = uri_from_path(folder + b"/" + name), uri_from_path(folder + b"x/" + name)
    failed = {"size": None, "mtime": None, "status": "failed", "code": "permission_denied"}
    changes = look(file(uri_from_path(folder), **failed), known(inside) | known(beside))
    assert places(changes.removed) == [(beside, None)]


def test_many_links_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is not searched for each of them; one that was a folder keeps what was in it."""
    asked: list[str] = []

    def count(uris: pa.ChunkedArray, sources: Sequence[str]) -> Mask:
        asked.extend(sources)
        return below(uris, sources)

    monkeypatch.setattr(changes_module, "below", count)
    failed = {"size": None, "mtime": None, "status": "failed", "code": "not_found"}
    links: Rows = {}
    for number in range(100):
        links |= file(f"/s/{number}", **failed)
    changes = look(links, known("/s/7/x/a") | known("/s/200/a") | known("/s/8"))
    assert places(changes.removed) == [("/s/200/a", None)] and asked == ["/s"]
    whole = look(file("/", **failed), known("/s/a"), sources=["/"])
    assert whole.removed.num_rows == 0


@pytest.mark.parametrize("source", ["/s", os.fsdecode(b"/s/\xff"), "/ü %", "/"])
def test_below_whatever_the_names(source: str) -> None:
    """Files lie below a SOURCE whether or not their names, or its own, are UTF-8."""
    raw = os.fsencode(source).rstrip(b"/")
    inside = [raw + b"/a", raw + b"/\xfe", raw + "/ü/%2F".encode(), raw or b"/"]
    uris = pa.chunked_array([[uri_from_path(path) for path in inside]])
    assert below(uris, [source]).all()
    if raw:
        beside = pa.chunked_array([[uri_from_path(path) for path in (raw + b"x", raw + b"\xfe", b"/other/\xff")]])
        assert not below(beside, [source]).any()


def test_members_that_are_gone_are_removed_unless_their_archive_cannot_be_listed() -> None:
    """One that failed by itself, such as an encrypted one, says nothing of the others."""
    before = known("/s/z", member="a") | known("/s/z", member="b", status="failed", code="encrypted")
    encrypted = {"status": "failed", "code": "encrypted"}
    archive = file("/s/z", status="skipped", code="archive")
    changes = look(archive | file("/s/z", member="b", **encrypted), before)
    assert places(changes.removed) == [("/s/z", "a")] and kept(changes, before) == [("/s/z", "b")]
    changes = look(file("/s/z", status="failed", code="bad_archive"), before)
    assert changes.removed.num_rows == changes.replaced.num_rows == 0
    assert places(look({}, before).removed) == list(before)


def test_an_archive_that_is_not_listed_as_one_any_more_is_read() -> None:
    """Its row said that its members are listed; a changed one gets its new size and time."""
    before = known("/s/z", "skipped", code="archive")
    assert places(look(file("/s/z"), before).to_read) == [("/s/z", None)]
    same, other = (look(file("/s/z", status="skipped", code="archive", size=size), before) for size in (7, 8))
    assert kept(same, before) == places(other.settled) == places(other.replaced) == [("/s/z", None)]


def test_retry_reads_what_failed_and_nothing_else() -> None:
    """New, changed and gone files are not looked at."""
    before = known("/s/f", "failed") | known("/s/a") | known("/s/gone") | known("/s/fifo", "skipped", size=None)
    changes = look(file("/s/f") | file("/s/a", size=9) | file("/s/new"), before, Mode.RETRY)
    assert places(changes.to_read) == places(changes.replaced) == [("/s/f", None)]
    assert changes.removed.num_rows == changes.settled.num_rows == 0
    assert changes.listed == 2 and kept(changes, before) == [("/s/a", None)]


def test_retry_leaves_a_file_that_is_back_as_it_is() -> None:
    """The ledger says that it is gone until a run that looks at all files: it is not counted as unchanged."""
    before = known("/s/f", "failed") | known("/s/back", "removed")
    changes = look(file("/s/f") | file("/s/back"), before, Mode.RETRY)
    assert places(changes.to_read) == [("/s/f", None)] and changes.listed == 1


def test_what_is_known_of_a_listed_file_is_not_overwritten() -> None:
    """Files that come with the time they were first seen keep it."""
    listed = rows_of(file("/s/a"), SOURCE_FILE_SCHEMA).append_column("first_seen", pa.array([77], pa.timestamp("us")))
    changes = compare(listed, rows_of({}, KNOWN_SCHEMA), [], Mode.INCREMENT, NOW)
    assert changes.to_read["first_seen"].cast(pa.int64()).to_pylist() == [77]


# ---- all of it, against a model --------------------------------------------------------------------------------------

PATHS = [b"/s", b"/s/a", b"/s/b", b"/s/b/c", b"/s/b/\xff", b"/s/\xfe", b"/s/\xfe/d", b"/sx", b"/t/e", "/t/ü".encode()]
URIS = [uri_from_path(path) for path in PATHS]
SOURCES = ["/s", "/s/b", "/s/a", "/t", "/", os.fsdecode(b"/s/\xfe")]
PLACES = st.tuples(st.sampled_from(URIS), st.sampled_from([None, None, None, "m", "n"]))
VERSION = st.fixed_dictionaries(
    {
        "size": st.sampled_from([7, 7, 7, 8, None]),
        "mtime": st.sampled_from([OLD, OLD, OLD, SEEN, NOW, None]),
        "etag": st.sampled_from([None, None, "e"]),
    }
)
SETTLED = st.sampled_from(
    [
        {"status": None},
        {"status": None},
        {"status": None},
        {"status": "failed", "code": "permission_denied"},
        {"status": "skipped", "code": "special_file"},
        {"status": "skipped", "code": "special_file", "message": "FIFO"},
        {"status": "skipped", "code": "archive"},
    ]
)
STATUSES = ["ok", "ok", "partial", "duplicate", "conflict", "failed", "not_dicom", "skipped", "removed"]
SKIPPED = [{"status": "skipped", "code": code} for code in ("special_file", "archive")]
BEFORE = st.sampled_from([{"status": status} for status in STATUSES] + SKIPPED)
SEEN_AT = st.fixed_dictionaries({"first_seen": st.integers(1, 3), "last_seen": st.sampled_from([SEEN, SEEN, NOW])})


def join(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


LISTED = st.dictionaries(PLACES, join(VERSION, SETTLED), max_size=10)
KNOWN = st.dictionaries(PLACES, join(VERSION, BEFORE, SEEN_AT), max_size=10)


def lies_below(uri: str, folder: str) -> bool:
    return is_below(path_from_uri(uri), folder)


def model_of_listed(row: dict[str, Any], before: dict[str, Any] | None, mode: Mode) -> str:
    """What becomes of a listed file: read, settled, kept, or nothing at all."""
    if mode is Mode.RETRY:
        if before is None:
            return "nothing"
        return "read" if before["status"] == "failed" and row["status"] is None else "kept"
    if row["status"] is not None:
        names = ("status", "code", "message", "size", "mtime", "etag")
        same = before is not None and all(row.get(name) == before.get(name) for name in names)
        return "kept" if same else "settled"
    if before is None or mode is Mode.FULL or any(row[name] != before[name] for name in ("size", "mtime", "etag")):
        return "read"
    again = {"failed", "removed", *(("ok", "partial", "conflict") if mode is Mode.COLUMNS else ())}
    too_early = before["last_seen"] <= (before["mtime"] or 0) < NOW
    return "read" if before["status"] in again or before.get("code") == "archive" or too_early else "kept"


def model_of_unlisted(place: Place, row: dict[str, Any], listed: Rows, sources: list[str], mode: Mode) -> str:
    """What becomes of a known file that was not listed: removed, vanished, or nothing."""
    failed = [path_from_uri(uri) for (uri, member), row in listed.items() if row["status"] == "failed" and not member]
    if mode is Mode.RETRY or not any(lies_below(place[0], source) for source in sources):
        return "nothing"
    if any(lies_below(place[0], folder) for folder in failed):
        return "nothing"
    if row["size"] is None:
        return "vanished"
    return "nothing" if row["status"] == "removed" else "removed"


@given(listed=LISTED, before=KNOWN, sources=st.lists(st.sampled_from(SOURCES), max_size=3), mode=st.sampled_from(Mode))
def test_model(listed: Rows, before: Rows, sources: list[str], mode: Mode) -> None:
    """Whatever is listed and known: each file has the fate that the model says, in the order it was given."""
    changes = look(listed, before, mode, sources)
    fates = {place: model_of_listed(row, before.get(place), mode) for place, row in listed.items()}
    others = {
        place: model_of_unlisted(place, row, listed, sources, mode)
        for place, row in before.items()
        if place not in listed
    }
    which: Callable[[dict[Place, str], str], list[Place]] = lambda found, fate: [p for p in found if found[p] == fate]  # noqa: E731
    assert places(changes.to_read) == which(fates, "read")
    assert places(changes.settled) == which(fates, "settled")
    assert sorted(map(str, kept(changes, before))) == sorted(map(str, which(fates, "kept")))
    replaced = {p for p, fate in fates.items() if fate in ("read", "settled") and p in before}
    assert set(places(changes.replaced)) == replaced | set(which(others, "vanished"))
    assert set(places(changes.removed)) == set(which(others, "removed"))
    first_seen = [before.get(place, {}).get("first_seen") for place in which(fates, "read")]
    assert changes.to_read["first_seen"].cast(pa.int64()).to_pylist() == first_seen
    back = [place for place in which(fates, "kept") if mode is Mode.RETRY and before[place]["status"] == "removed"]
    assert changes.listed == len(listed) - len(which(fates, "nothing")) - len(back)


@given(listed=LISTED, before=KNOWN, mode=st.sampled_from(ORDINARY))
def test_listed_files_are_partitioned(listed: Rows, before: Rows, mode: Mode) -> None:
    """Each listed file is either to be read, or settled, or stays as it is; none is two of it, none is lost."""
    changes = look(listed, before, mode)
    parts = places(changes.to_read) + places(changes.settled) + kept(changes, before)
    assert sorted(map(str, parts)) == sorted(map(str, listed))
    assert changes.listed == changes.to_read.num_rows + changes.settled.num_rows + len(changes.kept)


@given(listed=LISTED, before=KNOWN)
def test_nothing_is_replaced_twice(listed: Rows, before: Rows) -> None:
    """No ledger row is both replaced and removed, and every one that goes was there."""
    changes = look(listed, before, sources=["/"])
    gone = places(changes.replaced) + places(changes.removed)
    assert len(gone) == len(set(gone)) and set(gone) <= set(before)


@given(rows=st.lists(PLACES, unique=True))
def test_places_tell_files_apart(rows: list[Place]) -> None:
    """Different files have different places."""
    table = rows_of({place: {} for place in rows}, SOURCE_FILE_SCHEMA)
    assert len(set(place_of(table).to_pylist())) == len(rows)


def test_places_of_dictionary_encoded_members() -> None:
    """How members arrive from a file leaves no trace in their places."""
    plain = rows_of(file("/z", member="m") | file("/z"), SOURCE_FILE_SCHEMA)
    coded = plain.set_column(1, "member", plain["member"].dictionary_encode())
    assert place_of(coded).to_pylist() == place_of(plain).to_pylist() == ["/z\0m", "/z"]
