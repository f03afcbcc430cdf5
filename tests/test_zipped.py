"""A tree and the same tree in an archive are the same dataset, over all commands and from run to run."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.dataset import transaction
from dicomflow.errors import CommitFailed
from dicomflow.summary import RunSummary
from dicomflow.synth import make_series, write_studies
from tests.cli.conftest import run
from tests.zipped import pack, pack_tree

__all__ = ["run"]

OWN = {
    "uri",
    "member",
    "mtime",
    "etag",
    "run_id",
    "first_seen",
    "last_seen",
    "source_uri",
    "source_member",
    "source_mtime",
}
QUIET = {"compute__scheduler": "threads", "compute__dashboard_address": "", "plan__files_per_task": 40}
STAMP = 1_600_000_000


def extract(source: Path, dest: Path, **options: Any) -> RunSummary:
    return dicomflow.extract(source, dest, **{**QUIET, **options})


def freeze(*paths: Path) -> None:
    """All of one time, so that it does not decide which of two files wins."""
    for path in paths:
        os.utime(path, (STAMP, STAMP))


def rows_of(dest: Path, source: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """All tables by where in the source the row is from, without what tells an archive from a folder."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table, prefix in (("instances", "source_"), ("conflicts", "source_"), ("files", "")):
        rows = [row for part in sorted((dest / table).glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
        for row in rows:
            place = row[f"{prefix}member"] or os.path.relpath(row[f"{prefix}uri"], source)
            kept = {name: value for name, value in row.items() if name not in OWN}
            if row.get("code") in ("same_header", "other_header"):
                kept["message"] = (
                    row["message"].replace(" member ", "/").removeprefix(row["uri"]).split(f"{source}/")[-1].lstrip("/")
                )
            assert found.setdefault(table, {}).setdefault(place, kept) is kept
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of all kinds, every fifth file with a fault; names that no path would have."""
    folder = tmp_path_factory.mktemp("zipped") / "tree"
    write_studies(folder, files=70, seed=5, corrupt=0.2)
    (folder / "日本").mkdir()
    (folder / "日本" / "é ü.dcm").write_bytes(next(make_series("ct", seed=77)).data)
    freeze(*(path for path in folder.rglob("*") if path.is_file()))
    return folder


@pytest.fixture(scope="module")
def expected(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    dest = tmp_path_factory.mktemp("expected") / "d"
    extract(tree, dest)
    return rows_of(dest, tree)


# ---- one run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"method": zipfile.ZIP_STORED},
        {"method": zipfile.ZIP_DEFLATED},
        {"method": zipfile.ZIP_DEFLATED, "stream": True, "comment": b"by post"},
        {"method": zipfile.ZIP_DEFLATED, "zip64": True, "prefix": b"MZ" * 5000},
    ],
    ids=["stored", "deflated", "descriptors", "zip64, self-extracting"],
)
def test_an_archive_gives_the_rows_of_its_tree(
    tree: Path, expected: dict[str, Any], tmp_path: Path, how: dict[str, Any]
) -> None:
    """But for uri, member, mtime and etag; and the archive has a row of its own."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.ZIP"
    path.write_bytes(pack_tree(tree, **how))
    freeze(path)
    extract(tmp_path / "in", tmp_path / "d")
    found = rows_of(tmp_path / "d", path)
    own = found["files"].pop(".")
    assert (own["status"], own["code"], own["size"]) == ("skipped", "archive", path.stat().st_size)
    assert found == expected
    assert dicomflow.verify_dataset(tmp_path / "d").whole


def test_names_are_texts(tmp_path: Path) -> None:
    """However they look, nothing is written anywhere but in DEST."""
    names = ["../up.dcm", "/etc/x.dcm", "C:\\x.dcm", "a/../../b", "new\nline", "ü\u202e", "n" * 5000]
    members = [(name, next(make_series("ct", seed=seed)).data) for seed, name in enumerate(names)]
    (tmp_path / "a.zip").write_bytes(pack(members))
    summary = extract(tmp_path / "a.zip", tmp_path / "d")
    assert summary.rows == len(names) and sorted(os.listdir(tmp_path)) == ["a.zip", "d"]
    read = pq.read_table(tmp_path / "d" / "instances").to_pylist()
    assert {row["source_member"] for row in read} == set(names)


def test_what_a_member_is_when_it_is_also_a_file(tmp_path: Path) -> None:
    """The usual rule: one row per key, the newest file, and its copy is named with its archive."""
    data = next(make_series("ct")).data
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "plain").write_bytes(data)
    (tmp_path / "s" / "z.zip").write_bytes(pack([("in", data)]))
    freeze(tmp_path / "s" / "plain")
    extract(tmp_path / "s", tmp_path / "d")
    files = {
        row["member"]: row for row in pq.read_table(tmp_path / "d" / "files").to_pylist() if row["code"] != "archive"
    }
    assert (files["in"]["status"], files[None]["status"]) == ("ok", "duplicate")
    assert files[None]["message"] == f"the instance is taken from {tmp_path}/s/z.zip member in"
    (tmp_path / "s" / "z.zip").unlink()
    extract(tmp_path / "s", tmp_path / "d")
    (row,) = pq.read_table(tmp_path / "d" / "instances").to_pylist()
    assert row["source_uri"].endswith("plain") and row["source_member"] is None
    assert dicomflow.verify_dataset(tmp_path / "d").whole


# ---- run after run ---------------------------------------------------------------------------------------------------


class Archive:
    """An archive that changes, and the dataset of it."""

    def __init__(self, folder: Path) -> None:
        self.data = [each.data for each in make_series("ct", instances=6)]
        self.source, self.path, self.dest = folder / "s", folder / "s" / "z.zip", folder / "d"
        self.source.mkdir()
        self.time = STAMP
        (self.source / "beside").write_bytes(b"no DICOM")
        self.write(range(4))
        self.run()

    def write(self, which: Any, **how: Any) -> None:
        self.path.write_bytes(pack([(f"m{n}", self.data[n]) for n in which], **how))
        self.time += 10
        os.utime(self.path, (self.time, self.time))

    def run(self, **options: Any) -> RunSummary:
        return extract(self.source, self.dest, **options)

    def ledger(self) -> dict[str, tuple[str, str | None]]:
        rows = pq.read_table(self.dest / "files").to_pylist()
        return {row["member"] or os.path.basename(row["uri"]): (row["status"], row["code"]) for row in rows}

    def members(self) -> set[str]:
        return set(pq.read_table(self.dest / "instances")["source_member"].to_pylist())


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path)
    yield made
    assert dicomflow.verify_dataset(made.dest).whole


def test_an_archive_that_is_unchanged_is_not_read_again(archive: Archive) -> None:
    """Nothing is published; ``--full`` reads all of it."""
    again = archive.run()
    assert (again.read, again.unchanged, again.version) == (0, 6, 1)
    full = archive.run(mode="full")
    assert full.read == 5 and archive.members() == {"m0", "m1", "m2", "m3"}


def test_members_that_come_and_go(archive: Archive) -> None:
    """A member that is gone is removed, as a file is; so are all of an archive that is."""
    archive.write([0, 2, 3, 5])
    summary = archive.run()
    assert (summary.removed, archive.ledger()["m1"], archive.members()) == (
        1,
        ("removed", None),
        {"m0", "m2", "m3", "m5"},
    )
    archive.write(range(2))
    archive.run()
    assert archive.members() == {"m0", "m1"} and archive.ledger()["m1"] == ("ok", None)
    archive.path.unlink()
    assert archive.run().removed == 3 and archive.members() == set()
    assert {archive.ledger()[name] for name in ("z.zip", "m0", "m1", "m2", "m3", "m5")} == {("removed", None)}


def test_an_archive_that_cannot_be_listed_keeps_its_rows(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it can; one that is no archive any more has no members."""
    whole = archive.path.read_bytes()
    archive.path.write_bytes(whole[: len(whole) - 30])
    assert archive.run().removed == 0
    assert archive.ledger()["z.zip"] == ("failed", "bad_archive") and archive.ledger()["m0"] == ("ok", None)
    archive.write(range(4))
    archive.run()
    assert archive.ledger()["z.zip"] == ("skipped", "archive") and len(archive.members()) == 4
    archive.path.write_bytes(archive.data[0])
    assert archive.run().removed == 4
    assert archive.ledger()["z.zip"] == ("ok", None) and archive.members() == {None}


def test_a_copy_in_an_archive_that_cannot_be_listed(archive: Archive) -> None:
    """Its row is read where it was, and it was not among the files that are unchanged: none of the archive was listed."""
    copy = archive.path.with_name("copy")
    copy.write_bytes(archive.data[0])
    archive.run()
    assert archive.ledger()["m0"] == ("duplicate", "same_header")
    copy.unlink()
    whole = archive.path.read_bytes()
    archive.path.write_bytes(whole[: len(whole) - 30])
    summary = archive.run()
    assert (summary.removed, summary.unchanged) == (1, 1) and archive.ledger()["m0"] == ("ok", None)


def test_with_archives_off_and_on_again(archive: Archive) -> None:
    """Off, it is a file like others, and its members are gone."""
    off = archive.run(sources__archives=False)
    assert (off.read, off.removed) == (1, 4) and archive.ledger()["z.zip"] == ("not_dicom", "no_dicom_header")
    on = archive.run()
    assert on.read == 4 and archive.ledger()["z.zip"] == ("skipped", "archive") and len(archive.members()) == 4


def test_members_that_failed_are_tried_again(archive: Archive) -> None:
    """By ``--retry-failed``, and by the next run."""
    whole = archive.path.read_bytes()
    at = whole.index(b"PK\3\4", 9) + 26
    archive.path.write_bytes(whole[:at] + b"\xff\xff" + whole[at + 2 :])
    archive.time += 10
    os.utime(archive.path, (archive.time, archive.time))
    archive.run()
    assert archive.ledger()["m1"] == ("failed", "bad_archive") and len(archive.members()) == 3
    archive.path.write_bytes(whole)
    os.utime(archive.path, (archive.time, archive.time))
    assert archive.run(mode="retry_failed").read == 1 and len(archive.members()) == 4


def test_a_run_that_was_stopped_is_taken_up(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that were read are not read again, unless the archive has changed since."""

    def fail(*_: Any, **__: Any) -> None:
        raise CommitFailed("stopped")

    shutil.rmtree(archive.dest)
    with monkeypatch.context() as patch:
        patch.setattr(transaction.Transaction, "commit", fail)
        with pytest.raises(CommitFailed):
            archive.run()
    summary = archive.run()
    assert (summary.read, summary.resumed) == (0, 5) and len(archive.members()) == 4


def test_other_columns(archive: Archive) -> None:
    """``add-columns`` reads members again that have a row, and no others."""
    summary = dicomflow.add_columns(archive.dest, "minimal", **QUIET)
    assert summary.read == 4 and archive.members() == {"m0", "m1", "m2", "m3"}
    assert (
        "StudyTime" not in pq.read_schema(next((archive.dest / "instances").glob("*.parquet"))).names or summary.profile
    )


@pytest.mark.parametrize("method", [8, 12])
def test_sizes_without_measure(archive: Archive, method: int) -> None:
    """What a directory says of sizes is summed in many places: it ends no run, no report, and is in no row."""
    entries, numbers = b"", struct.pack("<HHHHHLLL", 20, 0, method, 0, 0, 0, 9, 0xFFFFFFFF)
    for name in (b"a", b"b", b"c"):
        wide = struct.pack("<HHQ", 1, 8, (1 << 62) - 1)
        entries += b"PK\1\2\x14\0" + numbers + struct.pack("<HHHHHLL", 1, len(wide), 0, 0, 0, 0, 0) + name + wide
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 3, 3, len(entries), 99, 0)
    archive.path.write_bytes(b"PK\3\4" + bytes(95) + entries + end)
    archive.run()
    code = "bad_archive" if method == 8 else "unsupported_compression"
    assert {archive.ledger()[name] for name in "abc"} == {("failed", code)}
    dicomflow.write_report(archive.dest, archive.dest.with_suffix(".html"))


# ---- commands --------------------------------------------------------------------------------------------------------


def test_commands_name_the_member(archive: Archive, run: Callable[..., Any]) -> None:
    """``files``, ``get``, ``status``, ``verify``: whoever names the archive names its member, too."""
    archive.path.write_bytes(pack([("good", archive.data[0]), ("bad\x1b", b"text"), ("more.zip", b"")]))
    archive.run()
    said = run("files", archive.dest)
    assert "z.zip member bad\\x1b" in said.out and "z.zip member more.zip" in said.out
    assert "2 members" not in said.out and "3 members, listed on their own" in said.out
    assert "good" not in said.out and "good" in run("files", archive.dest, "--status", "ok").out
    assert run("files", archive.dest, "--code", "archive", "--format", "csv").out.count("\n") == 3
    uid = pq.read_table(archive.dest / "instances")["SOPInstanceUID"][0].as_py()
    got = run("get", archive.dest, uid)
    assert "source_member" in got.out and "good" in got.out
    assert "z.zip" in run("get", archive.dest, uid, "--all").out
    status = run("status", archive.dest)
    assert status.code == 0 and "archive" in status.out
    rerun = dicomflow.dataset_status(archive.dest).rerun
    assert rerun is not None and (rerun.new, rerun.changed, rerun.removed, rerun.unchanged) == (0, 0, 0, 5)
    assert run("verify", archive.dest).code == 0
