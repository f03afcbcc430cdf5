"""Members of archives are read like files: the same rows and outcomes, whatever happens to the archive."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.config import SourcesConfig, load_config
from dicomflow.dataset.plan_parts import write_plan
from dicomflow.errors import Code, Status
from dicomflow.model import SOURCE_FILE_SCHEMA, Outcome, ScanResult
from dicomflow.schema.profile import load_profile
from dicomflow.sources import list_files
from dicomflow.worker import ScanJob, failures, scan_task, task, watch
from dicomflow.worker.watch import count_hanging
from tests.test_worker import make_file
from tests.worker.conftest import Hang, inode_of
from tests.zipped import pack

PLACE = {"source_uri", "source_member", "source_mtime"}
LATE = ("failed", "timeout")
WAYS: list[dict[str, Any]] = [
    {"method": zipfile.ZIP_STORED},
    {"method": zipfile.ZIP_DEFLATED},
    {"method": zipfile.ZIP_DEFLATED, "stream": True},
    {"method": zipfile.ZIP_DEFLATED, "zip64": True, "prefix": b"#!" * 999},
]
FILES = {
    "plain": make_file("1.1", number=1),
    "long": make_file("1.2", blob=90_000, number=2),
    "no pixels": make_file("1.3", number=3)[: -100_000 - 12],
    "cut": make_file("1.4", number=4)[:260],
    "no uid": make_file(None),
    "text": b"no DICOM here",
    "more text": b"no DICOM here" * 5000,
    "empty": b"",
    "tiny": make_file("1.5", pixels=2, number=5),
}


class Done:
    """What a task left: the ledger by member (by name for a file), rows by UID."""

    def __init__(self, staging: Path, result: ScanResult) -> None:
        read = {
            table: [pq.read_table(path) for path in sorted((staging / table).glob("*"))]
            for table in ("instances", "files")
        }
        rows = [row for part in read["instances"] for row in part.to_pylist()]
        ledger = [row for part in read["files"] for row in part.to_pylist()]
        self.rows = {row["SOPInstanceUID"]: row for row in rows}
        self.ledger = {row["member"] or os.path.basename(row["uri"]): row for row in ledger}
        self.result = result
        readable = [row for row in ledger if row["status"] in ("ok", "partial")]
        assert len(readable) == len(rows) == len(self.rows) and result.files == len(ledger)

    def outcome(self, name: str) -> tuple[str, str | None]:
        return self.ledger[name]["status"], self.ledger[name]["code"]

    def outcomes(self) -> dict[str, tuple[Any, ...]]:
        return {
            name: tuple(row[each] for each in ("status", "code", "message", "offset"))
            for name, row in self.ledger.items()
        }

    def values(self) -> dict[str, dict[str, Any]]:
        return {uid: {name: row[name] for name in row if name not in PLACE} for uid, row in self.rows.items()}


def list_to_read(*sources: Path) -> pa.Table:
    listed = pa.Table.from_batches(list_files(list(map(str, sources)), config=SourcesConfig()), SOURCE_FILE_SCHEMA)
    return listed.filter(listed["status"].is_null())


def read(folder: Path, listed: pa.Table, **options: object) -> Done:
    config = load_config(
        None, {"retry.base_seconds": 0} | {key.replace("__", "."): value for key, value in options.items()}
    )
    staging = folder / f"staging{len(list(folder.iterdir()))}"
    job = ScanJob(run_id="run", started=0, staging=str(staging), profile=load_profile("minimal"), config=config)
    return Done(staging, scan_task(write_plan(staging.with_suffix(".plan"), listed, "task"), job))


Read = Callable[..., Done]
Put = Callable[[str, bytes], Path]


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[Read]:
    """List these SOURCEs and read what is to be read; no descriptor is left open, and no thread."""
    yield lambda *sources, **options: read(tmp_path, list_to_read(*sources), **options)
    held = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [path for path in held if path.startswith(str(tmp_path)) and path.endswith(".zip")]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    (tmp_path / "source").mkdir()

    def write(name: str, data: bytes) -> Path:
        (tmp_path / "source" / name).write_bytes(data)
        return tmp_path / "source" / name

    return write


# ---- the same as files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"header__prefix_bytes": 1024}, {"header__prefix_bytes": 2048, "header__max_header_bytes": 65_536}]
)
@pytest.mark.parametrize("how", WAYS)
def test_members_are_what_the_files_are(scan: Read, put: Put, how: dict[str, Any], options: dict[str, Any]) -> None:
    """Rows, outcomes, offsets, digests; bytes read and files by latency."""
    files = {f"{name}.dcm": data for name, data in FILES.items()}
    paths = [put(name, data) for name, data in files.items()]
    expected, found = scan(*paths, **options), scan(put("z.zip", pack(files.items(), **how)), **options)
    assert found.outcomes() == expected.outcomes() and found.values() == expected.values()
    for name in ("counts", "header_bytes", "file_bytes", "issues", "fallback_files"):
        assert getattr(found.result, name) == getattr(expected.result, name)
    assert sum(found.result.latency) == len(files) and (found.result.seconds["inflate"] > 0) == (how["method"] > 0)
    assert {row["source_member"] for row in found.rows.values()} <= set(files)


def test_files_and_members_in_one_task(scan: Read, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read where it is; an archive is opened once for all of its members that follow each other."""
    put("a", make_file("1.1"))
    for name, uids in (("b.zip", range(2, 40)), ("c.zip", range(40, 44))):
        put(name, pack((f"{name}{uid}", make_file(f"1.{uid}")) for uid in uids))
    folder = put("d", make_file("1.44")).parent
    opened: list[str] = []
    real = os.open

    def note(path: Any, *arguments: Any, **options: Any) -> int:
        if threading.current_thread().name == watch.THREAD_NAME:
            opened.append(os.path.basename(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", note)
    done = scan(folder)
    assert set(done.rows) == {f"1.{uid}" for uid in range(1, 45)}
    assert opened == ["a", "d", "b.zip", "b.zip", "c.zip"]  # the first stint is a short one
    listed = list_to_read(folder).sort_by([("size", "ascending"), ("member", "descending")])
    mixed = pa.concat_tables([listed.slice(1), listed.slice(0, 1)])
    assert read(folder.parent, mixed).values() == done.values()


def test_batches_that_are_full(scan: Read, put: Put) -> None:
    """An archive is read over many batches."""
    path = put("z.zip", pack((str(uid), make_file(f"1.{uid}", pixels=10)) for uid in range(50)))
    assert len(scan(path, header__batch_rows=3).rows) == 50


def test_a_stored_member_at_the_end_of_what_was_read(scan: Read, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that give less than was asked for are no end."""
    path = put("z.zip", pack(FILES.items(), method=zipfile.ZIP_STORED))
    expected = scan(path)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, at: real(descriptor, min(count, 97), at))
    listed = list_to_read(path)
    found = read(path.parent, listed)
    assert found.outcomes() == expected.outcomes() and found.values() == expected.values()


def test_a_deflated_data_set_in_a_deflated_member(scan: Read, put: Put) -> None:
    """Two layers, each with its own end."""
    whole = make_file("1.7", number=7)
    at = whole.index(struct.pack("<HH", 8, 0x18))
    head = whole[:at].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    head = head[:132] + head[132:].replace(struct.pack("<H", 20), struct.pack("<H", 22), 1)
    squeeze = zlib.compressobj(wbits=-15)
    data = head + squeeze.compress(whole[at:]) + squeeze.flush()
    plain, packed = scan(put("a", data)), scan(put("z.zip", pack([("a", data)])))
    assert plain.outcomes() == packed.outcomes() and plain.values() == packed.values()


# ---- archives that change --------------------------------------------------------------------------------------------


def rewritten(tmp_path: Path, put: Put, before: bytes, after: bytes | None) -> Done:
    path = put("z.zip", before)
    listed = list_to_read(path)
    path.unlink()
    if after is not None:
        path.write_bytes(after)
    return read(tmp_path, listed)


def test_an_archive_that_is_rewritten_after_it_was_listed(tmp_path: Path, put: Put) -> None:
    """What is not where it was fails, and says what to do; what still is, is read as it is now."""
    a, b, c = (make_file(f"1.{uid}") for uid in range(3))
    before = pack([("a", a), ("b", b), ("c", c)])
    done = rewritten(tmp_path, put, before, pack([("a", a), ("x", b), ("c", c * 2)]))
    assert done.outcome("a") == ("ok", None) and set(done.rows) == {"1.0"}
    for name in ("b", "c"):
        assert done.outcome(name) == ("failed", "bad_archive") and "run again" in done.ledger[name]["message"]
    gone = rewritten(tmp_path, put, before, None)
    assert {gone.outcome(name) for name in "abc"} == {("failed", "not_found")}


def test_what_became_no_archive(tmp_path: Path, put: Put) -> None:
    """A FIFO is never waited for; a file of another kind has no members."""
    listed = list_to_read(put("z.zip", pack([("a", make_file("1.1"))])))
    path = Path(listed["uri"][0].as_py())
    path.write_bytes(b"another" * 20)
    assert read(tmp_path, listed).outcome("a") == ("failed", "bad_archive")
    path.unlink()
    os.mkfifo(path)
    assert read(tmp_path, listed).outcome("a") == ("skipped", "special_file")


@pytest.mark.parametrize("etag", [None, "", "zip2:8", "zip1:8.0.0.zz.0"])
def test_a_place_of_another_version(tmp_path: Path, put: Put, etag: str | None) -> None:
    """Fails, and the next run reads it: its etag is another one then."""
    listed = list_to_read(put("z.zip", pack([("a", make_file("1.1"))])))
    place = listed.column_names.index("etag")
    listed = listed.set_column(place, "etag", pa.array([etag], pa.string()))
    assert read(tmp_path, listed).outcome("a") == ("failed", "bad_archive")


@pytest.mark.parametrize("how", WAYS[:2])
def test_an_archive_that_is_cut_short(tmp_path: Path, put: Put, how: dict[str, Any]) -> None:
    """After it was listed: at each length, the outcome is that of a file that is cut, or fails; never a wrong value."""
    data = make_file("1.1", blob=300, pixels=600)
    archive = pack([("a", data), ("b", data)], **how)
    path = put("z.zip", archive)
    listed = list_to_read(path).slice(0, 1)
    whole = read(tmp_path, listed).rows["1.1"]
    seen = set()
    for size in range(0, archive.index(b"PK\3\4", 9) + 40, 17):
        path.write_bytes(archive[:size])
        done = read(tmp_path, listed)
        seen.add(done.outcome("a"))
        for row in done.rows.values():
            values = {name: value for name, value in row.items() if name not in PLACE}
            assert all(value in (None, whole[name]) for name, value in values.items() if name[0].isupper())
            assert row["status"] == "partial" or values == {name: whole[name] for name in values}
    assert seen <= {("ok", None), ("partial", "truncated"), ("failed", "truncated"), ("failed", "bad_archive")}
    assert ("ok", None) in seen and ("partial", "truncated") in seen and ("failed", "bad_archive") in seen


@pytest.mark.parametrize("how", WAYS[:3])
def test_each_bit_that_flips_in_a_member_without_pixels(tmp_path: Path, put: Put, how: dict[str, Any]) -> None:
    """Its checksum is looked at: no wrong value, whatever the size of the first read."""
    data = FILES["no pixels"]
    archive = pack([("a", data)], **how)
    path = put("z.zip", archive)
    listed = list_to_read(path)
    first, end = 30 + 1, archive.index(b"PK\1\2")
    for at in range(first, end, 5):
        path.write_bytes(archive[:at] + bytes([archive[at] ^ 16]) + archive[at + 1 :])
        results = [read(tmp_path, listed, header__prefix_bytes=size) for size in (1024, 65_536)]
        assert results[0].outcomes() == results[1].outcomes()
        outcome = results[0].outcome("a")
        if how.get("stream") and at >= end - 16:  # a data descriptor, which nobody needs
            assert outcome == ("ok", None)
        else:  # not_dicom: the bit is one of "DICM"
            assert outcome[1] in ("bad_archive", "inflate_error", "no_dicom_header") and not results[0].rows


def test_damage_behind_the_header_is_not_seen(tmp_path: Path, put: Put) -> None:
    """As in files: only headers are judged; a first read that meets the damage makes no difference."""
    noise = b"".join(zlib.crc32(bytes([n & 255, n >> 8])).to_bytes(4, "little") for n in range(5000))
    data = make_file("1.1", pixels=0) + noise
    archive = bytearray(pack([("a", data)]))
    path = put("z.zip", bytes(archive))
    listed = list_to_read(path)
    archive[9_000:9_100] = b"\xff" * 100
    path.write_bytes(archive)
    for size in (1024, 4096, 32_768):
        assert read(tmp_path, listed, header__prefix_bytes=size).outcome("a") == ("ok", None)


MEMBERS = [("a", make_file("1.1", pixels=40)), ("b", FILES["no pixels"]), ("c", b"text")]
ARCHIVES = [pack(MEMBERS, **how) for how in ({}, {"method": zipfile.ZIP_STORED}, {"zip64": True, "stream": True})]


@settings(max_examples=40 if settings().max_examples < 1000 else settings().max_examples)
@given(
    which=st.integers(0, len(ARCHIVES) - 1),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3),
    cut=st.sampled_from([0, 0, 0, 1, 30, 400]),
    late=st.booleans(),
)
def test_any_bytes_end_in_rows_and_outcomes(
    tmp_path_factory: pytest.TempPathFactory, which: int, edits: list[tuple[int, int]], cut: int, late: bool
) -> None:
    """Whether it is listed before or after it is changed: no exception, and what is ok is as it was, where its bytes are."""
    folder = tmp_path_factory.mktemp("any")
    path, archive = folder / "z.zip", ARCHIVES[which]
    path.write_bytes(archive)
    listed = list_to_read(path)
    truth = read(folder, listed).values()
    changed = bytearray(archive[: len(archive) - cut])
    for at, value in edits:
        changed[at % len(changed)] = value
    path.write_bytes(changed)
    found = list_to_read(path) if not late else listed
    done = read(folder, found) if found.num_rows else None
    spans = [archive.index(b"PK\3\4", 1), archive.index(b"PK\3\4", archive.index(b"PK\3\4", 1) + 1)]
    own = {"1.1": (30, spans[0]), "1.3": (spans[0] + 30, spans[1])}
    for uid, row in done.values().items() if done else ():
        first, last = own.get(uid, (0, len(archive)))
        if row["status"] == "ok" and changed[first:last] == archive[first:last]:
            assert row == {**truth[uid], "source_size": row["source_size"]}


# ---- bounds ----------------------------------------------------------------------------------------------------------

BOMB = """
import re, sys
from pathlib import Path
from tests.worker.test_members import list_to_read, read
folder = Path(sys.argv[1])
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
done = read(folder, list_to_read(folder / "z.zip"), header__max_header_bytes=8 << 20)
print(sorted(done.outcomes().items()))
print(peak() - before)
"""


def test_bombs_stay_in_bounds(tmp_path: Path) -> None:
    """A GB of zeros in a MB, alone and as the value of an element: neither memory nor bytes beyond the limits."""
    head = make_file("1.1", pixels=0)
    at = head.index(struct.pack("<HH", 0x20, 0xD))
    squeeze = zlib.compressobj(wbits=-15)
    value = squeeze.compress(head[:at] + struct.pack("<HH2sHI", 9, 0x1010, b"OB", 0, 1 << 30))
    value += squeeze.flush(zlib.Z_FULL_FLUSH)
    zeros = zlib.compressobj(wbits=-15)
    megabyte = zeros.compress(bytes(1 << 20)) + zeros.flush(zlib.Z_FULL_FLUSH)
    alone = megabyte * 1024 + b"\3\0"
    many = b"\0\0\0\xff\xff" * (4 << 20) + b"\3\0"  # 20 MB of blocks with nothing in them
    entries, body = b"", b""
    for name, data in ((b"value", value + alone), (b"zeros", alone), (b"nothing", many)):
        numbers = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 0, 1, len(data), (1 << 30) + 9, len(name), 0)
        entries += b"PK\1\2" + b"\x14\0" + numbers + bytes(10) + struct.pack("<L", len(body)) + name
        body += b"PK\3\4" + numbers + name + data
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 3, 3, len(entries), len(body), 0)
    (tmp_path / "z.zip").write_bytes(body + entries + end)
    done = subprocess.run([sys.executable, "-c", BOMB, str(tmp_path)], capture_output=True, text=True, check=True)
    outcomes, grown = done.stdout.splitlines()
    assert "limit_header_bytes" in outcomes and "no_dicom_header" in outcomes
    assert {outcome[:2] for _, outcome in eval(outcomes)} == {
        ("partial", "limit_header_bytes"),
        ("not_dicom", "no_dicom_header"),
        ("failed", "limit_header_bytes"),
    }
    print(f"{len(body):,} bytes of bombs: {int(grown) // 1024} MiB")
    assert int(grown) < 200 * 1024


# ---- storage that fails ----------------------------------------------------------------------------------------------


def test_a_read_that_fails_is_tried_again(scan: Read, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is opened anew; attempts are counted; what stays is the member's own fault."""
    path = put("z.zip", pack([(str(uid), make_file(f"1.{uid}")) for uid in range(4)]))
    real, calls = os.pread, []

    def fail(descriptor: int, count: int, at: int) -> bytes:
        if threading.current_thread().name == watch.THREAD_NAME:
            calls.append(descriptor)
            if len(calls) in (2, 3):
                raise OSError(errno.ESTALE, "")
        return real(descriptor, count, at)

    monkeypatch.setattr(os, "pread", fail)
    done = scan(path)
    assert [done.ledger[str(uid)]["attempts"] for uid in range(4)] == [1, 2, 2, 1]
    assert len(done.rows) == 4 and done.result.retries == 2 and sum(done.result.latency) == 4


@pytest.mark.parametrize("call", ["open", "fstat", "pread", "close"])
def test_a_call_that_does_not_come_back(
    scan: Read, put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It costs what was being read, if anything was, and the files beside it are read; no descriptor is shared."""
    path = put("m.zip", pack([("in", make_file("1.2")), ("in too", make_file("1.3"))]))
    put("n.zip", pack([("other", make_file("1.4"))]))
    listed = list_to_read(put("a", make_file("1.1")).parent)
    hang.files = {inode_of(path)}
    monkeypatch.setattr(os, call, hang.guard(getattr(os, call), inode_of))
    done = read(path.parent, listed, header__max_seconds=0.05)
    assert count_hanging() == len(hang.hanging) == (1 if call == "close" else 2)
    late = set() if call == "close" else {"in", "in too"}  # all is read by then
    assert {name for name in done.ledger if done.outcome(name) == LATE} == late
    assert {name for name in done.ledger if done.outcome(name) == ("ok", None)} == {*done.ledger} - late
    assert sum(done.result.latency) == 4
    hang.free()
    for descriptor in hang.descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_last_close_that_does_not_come_back(
    scan: Read, put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is read already."""
    path = put("z.zip", pack([("a", make_file("1.1")), ("b", make_file("1.2"))]))
    listed = list_to_read(path)
    hang.files = {inode_of(path)}
    monkeypatch.setattr(os, "close", hang.guard(os.close, inode_of))
    done = read(path.parent, listed, header__max_seconds=0.05)
    assert len(done.rows) == 2 and len(hang.hanging) == 1
    hang.free()


def test_a_read_that_comes_back_late(scan: Read, put: Put, hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it brings is nobody's: the member that is being read meanwhile is itself."""
    bad = put("a.zip", pack([("bad", make_file("6.6", number=66))]))
    listed = list_to_read(put("b.zip", pack([("good", make_file("1.2", number=2))])).parent)
    hang.files = {inode_of(bad)}
    real = os.pread

    def pread(descriptor: int, count: int, at: int) -> bytes:
        if inode_of(descriptor) not in hang.files:
            hang.free()
        return real(descriptor, count, at)

    monkeypatch.setattr(os, "pread", hang.guard(pread, inode_of))
    done = read(bad.parent, listed, header__max_seconds=0.05)
    assert done.outcome("bad") == LATE and done.outcome("good") == ("ok", None)
    assert {uid: row["InstanceNumber"] for uid, row in done.rows.items()} == {"1.2": 2}


def test_a_surprise_leaves_nothing_open(scan: Read, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the work, the archive is closed."""
    path = put("z.zip", pack([("a", make_file("1.1"))]))

    def fail(*_: Any) -> bytes:
        raise ZeroDivisionError

    listed = list_to_read(path)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(ZeroDivisionError):
        read(path.parent, listed)


def test_what_is_logged_names_the_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its archive."""
    said: list[dict[str, Any]] = []

    class Log:
        def info(self, _event: str, **more: Any) -> None:
            said.append(more)

    monkeypatch.setattr(failures, "_log", Log())
    failures.FailureLog().note("/z.zip", "m", Outcome(status=Status.FAILED, code=Code.BAD_ARCHIVE))
    assert said == [{"uri": "/z.zip", "member": "m", "code": "bad_archive", "offset": None}]


def test_members_are_not_read_ahead(scan: Read, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow storage is: the begin of an archive is nobody's header."""
    path = put("z.zip", pack((str(uid), make_file(f"1.{uid}")) for uid in range(60)))
    listed = list_to_read(path)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: (time.sleep(1e-3), real(*arguments))[1])
    monkeypatch.setattr(task, "ReadAhead", None)
    assert len(read(path.parent, listed).rows) == 60
