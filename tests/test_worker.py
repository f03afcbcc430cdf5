"""One task: every file has its outcome, whatever it is and whatever the disk does."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.config import load_config
from dicomflow.dataset.plan_parts import write_plan
from dicomflow.model import SOURCE_FILE_SCHEMA, BatchDone, ScanResult
from dicomflow.schema.profile import load_profile
from dicomflow.uri import uri_from_path
from dicomflow.worker import ScanJob, files, meter, scan_task, task

PIXELS = 0x7FE00010
BLOB = 0x00091010


def encode(tag: int, vr: str, value: bytes) -> bytes:
    """One element, explicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, len(value)) if vr in ("OB", "OW") else struct.pack("<H", len(value))) + value


def make_file(uid: str | None, *, blob: int = 0, pixels: int = 100_000, number: int = 1) -> bytes:
    """A CT header, with a private element of ``blob`` bytes in it, and pixels after it."""
    meta = encode(0x00020010, "UI", b"1.2.840.10008.1.2.1")
    return b"".join(
        [
            b"\0" * 128 + b"DICM",
            encode(0x00020000, "UL", struct.pack("<I", len(meta))),
            meta,
            b"" if uid is None else encode(0x00080018, "UI", uid.encode()),
            encode(0x00080060, "CS", b"CT"),
            encode(BLOB, "OB", b"\1" * blob) if blob else b"",
            encode(0x0020000D, "UI", b"1.9"),
            encode(0x00200013, "IS", str(number).encode()),
            encode(PIXELS, "OW", b"\2" * pixels),
        ]
    )


class Done(NamedTuple):
    """What a task left: its ledger by file name, its rows in order, its result."""

    ledger: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    result: ScanResult
    parts: list[pa.Table]

    def outcome(self, name: str) -> tuple[str, str | None, str | None]:
        row = self.ledger[name]
        return row["status"], row["code"], row["message"]


Scan = Callable[..., Done]


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    """Run one task over paths, with settings by dotted name."""

    def run(paths: Sequence[Path | bytes], note: Callable[[BatchDone], None] | None = None, **settings: object) -> Done:
        config = load_config(
            None, {"retry.base_seconds": 0} | {name.replace("__", "."): value for name, value in settings.items()}
        )
        listed = [{"uri": uri_from_path(os.fsencode(path)), "size": 11, "mtime": 7} for path in paths]
        staging = tmp_path / f"staging{len(list(tmp_path.iterdir()))}"
        job = ScanJob(
            run_id="run",
            started=0,
            staging=str(staging),
            profile=load_profile("minimal"),
            config=config,
        )
        source_files = pa.Table.from_pylist(listed, SOURCE_FILE_SCHEMA)
        result = scan_task(write_plan(staging.with_suffix(".plan"), source_files, "task"), job, note)
        assert {part.path for part in result.data_files} == {
            str(path.relative_to(staging)) for path in staging.rglob("*.parquet")
        }
        parts = [pq.read_table(staging / part.path) for part in result.data_files if part.table == "instances"]
        (entries,) = (part.path for part in result.data_files if part.table == "files")
        ledger = pq.read_table(staging / entries).to_pylist()
        assert [row["uri"] for row in ledger] == [row["uri"] for row in listed]
        assert result.files == len(paths) == sum(result.counts.values())
        readable = [row for row in ledger if row["status"] in ("ok", "partial")]
        rows = [row for part in parts for row in part.to_pylist()]
        assert sorted(row["uri"] for row in readable) == sorted(row["source_uri"] for row in rows)
        return Done({os.path.basename(row["uri"]): row for row in ledger}, rows, result, parts)

    return run


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes], Path]:
    folder = tmp_path / "source"
    folder.mkdir()

    def write(name: str, data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


Put = Callable[[str, bytes], Path]


def test_ledger_of_a_good_file(scan: Scan, put: Put) -> None:
    """The ledger says what was read, by whom and when; the row says where it came from."""
    data = make_file("1.2.3")
    done = scan([put("a", data)])
    row = done.ledger["a"]
    header = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    assert done.outcome("a") == ("ok", None, None)
    assert (row["SOPInstanceUID"], row["size"], row["attempts"], row["run_id"]) == ("1.2.3", 11, 1, "run")
    assert row["header_digest"] == done.rows[0]["header_digest"] and len(row["header_digest"]) == 16
    assert done.rows[0]["header_bytes"] == done.result.header_bytes == header
    assert (done.rows[0]["source_size"], done.rows[0]["status"], done.result.file_bytes) == (11, "ok", 11)
    assert set(done.result.seconds) == set(meter.STAGES) and done.result.peak_rss > 1 << 20


def test_rows_are_sorted_inside_a_part(scan: Scan, put: Put) -> None:
    """InstanceNumber counts as a number: 2 comes before 10."""
    paths = [put(f"f{n}", make_file(f"1.2.{n}", number=n)) for n in (10, 2, 33, 1)]
    assert [row["InstanceNumber"] for row in scan(paths).rows] == [1, 2, 10, 33]


def test_files_that_cannot_be_opened(scan: Scan, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone, forbidden, a folder, a name with a NUL: each is a row, and its neighbours are read."""
    secret, good = put("secret", make_file("1.1")), put("good", make_file("1.2"))
    (tmp_path / "source" / "folder").mkdir()
    real = os.open

    def open_file(path: str, *arguments: Any, **options: Any) -> int:
        if path == str(secret):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_file)
    names = [tmp_path / "source" / name for name in ("gone", "secret", "folder", "good")]
    long = tmp_path / ("n" * 300)
    done = scan([*names, long, b"/a\0b"])
    assert done.outcome("gone") == ("failed", "not_found", "No such file or directory")
    assert done.outcome("secret") == ("failed", "permission_denied", "Permission denied")
    assert done.outcome("folder") == ("failed", "io_error", "Is a directory")
    assert done.outcome(long.name) == ("failed", "name_too_long", "File name too long")
    assert done.outcome("a\0b") == ("failed", "not_found", "not a possible file name")
    assert done.outcome("good") == ("ok", None, None) and good.exists()


def test_read_error(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails costs the file it fails on, at the first read and at a later one."""
    first, second, good = (
        put("first", make_file("1")),
        put("second", make_file("2", blob=90_000)),
        put("good", make_file("3")),
    )
    numbers = {os.stat(path).st_ino for path in (first, second)}

    def guard(real: Callable[..., int], bad: set[int]) -> Callable[..., int]:
        def read(descriptor: int, *arguments: Any) -> int:
            if os.fstat(descriptor).st_ino in bad:
                raise OSError(errno.EIO, "Input/output error")
            return real(descriptor, *arguments)

        return read

    monkeypatch.setattr(os, "readv", guard(os.readv, {os.stat(first).st_ino}))
    monkeypatch.setattr(os, "preadv", guard(os.preadv, numbers))
    done = scan([first, second, good])
    assert done.outcome("first") == done.outcome("second") == ("failed", "io_error", "Input/output error")
    assert done.outcome("good")[0] == "ok" and [row["SOPInstanceUID"] for row in done.rows] == ["3"]


@pytest.mark.parametrize("writer", [False, True], ids=["alone", "with-a-writer"])
def test_fifo_never_blocks(scan: Scan, put: Put, tmp_path: Path, writer: bool) -> None:
    """What became a FIFO after it was listed is skipped, whether or not somebody writes to it."""
    fifo = tmp_path / "source" / "fifo"
    os.mkfifo(fifo)
    good = put("good", make_file("1"))
    held = os.open(fifo, os.O_RDWR) if writer else None
    done: list[Done] = []
    thread = threading.Thread(target=lambda: done.append(scan([fifo, good])), daemon=True)
    thread.start()
    thread.join(30)
    if held is not None:
        os.close(held)
    assert not thread.is_alive()
    assert done[0].outcome("fifo")[:2] == ("skipped", "special_file") and done[0].outcome("good")[0] == "ok"


def test_socket_and_device(scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket cannot be opened, and the null device has nothing: neither stops the task."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        done = scan([tmp_path / "s", Path("/dev/null")])
    assert done.outcome("s")[:2] == ("failed", "io_error")
    assert done.outcome("null")[:2] == ("skipped", "special_file")


@pytest.mark.parametrize("size", [1024, 1500, 32 * 1024])
def test_header_longer_than_the_first_read(scan: Scan, put: Put, size: int) -> None:
    """A longer header is read to its end, wherever the first read cut it."""
    paths = [put(f"f{blob}", make_file(f"1.{blob}", blob=blob)) for blob in (0, 700, 1200, 5000, 40_000, 3_000_000)]
    done = scan(paths, header__prefix_bytes=size)
    assert {row["status"] for row in done.ledger.values()} == {"ok"}
    assert {row["SOPInstanceUID"]: row["InstanceNumber"] for row in done.rows} == {
        f"1.{blob}": 1 for blob in (0, 700, 1200, 5000, 40_000, 3_000_000)
    }


def test_every_cut_is_partial_or_failed(scan: Scan, put: Put) -> None:
    """A file that ends inside its header is never ok, with a first read shorter or longer than the file."""
    data = make_file("1.2.3", blob=2000, pixels=10)
    stop = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    cuts = [*range(133, 200), *range(200, stop, 97)]
    paths = [put(f"c{cut}", data[:cut]) for cut in cuts]
    found = [scan(paths, header__prefix_bytes=size) for size in (1024, 65_536)]
    statuses = [[row["status"] for row in done.ledger.values()] for done in found]
    assert statuses[0] == statuses[1]
    boundaries = {cut for cut, status in zip(cuts, statuses[0], strict=True) if status == "ok"}
    assert len(boundaries) <= 4  # a cut between two elements is a file without pixels


@pytest.mark.parametrize("neighbours", [False, True])
def test_header_over_the_limit(scan: Scan, put: Put, neighbours: bool) -> None:
    """A header over the limit is partial with what came before, whatever was read before it; one below it is whole."""
    longest = [put(f"near{n}", make_file(f"1.{n}", blob=60_000)) for n in range(3 if neighbours else 0)]
    path = put("over", make_file("2.1", blob=70_000))
    giant = put("giant", make_file("2.2", blob=5_000_000))
    done = scan([*longest, path, giant], header__max_header_bytes=64 * 1024, header__prefix_bytes=1024)
    for name in ("over", "giant"):
        assert done.outcome(name)[:2] == ("partial", "limit_header_bytes")
    assert all(done.outcome(near.name)[0] == "ok" for near in longest)
    assert {row["SOPInstanceUID"]: row["status"] for row in done.rows if row["SOPInstanceUID"].startswith("2")} == {
        "2.1": "partial",
        "2.2": "partial",
    }


def test_limit_before_the_key_is_failed(scan: Scan, put: Put) -> None:
    """Without a key before the limit there is no row."""
    uid = encode(0x00080018, "UI", b"1.5")
    data = make_file("1.5").replace(uid, encode(0x00080001, "OB", b"\1" * 100_000) + uid)
    done = scan([put("f", data)], header__max_header_bytes=64 * 1024)
    assert done.outcome("f")[:2] == ("failed", "limit_header_bytes") and done.rows == []


@pytest.fixture
def first_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that the first read of each file asked for."""
    asked: list[int] = []
    real = os.readv

    def read(descriptor: int, buffers: Sequence[memoryview]) -> int:
        asked.append(sum(len(buffer) for buffer in buffers))
        return real(descriptor, buffers)

    monkeypatch.setattr(os, "readv", read)
    return asked


def test_first_read_follows_the_headers(scan: Scan, put: Put, first_reads: list[int]) -> None:
    """One long header makes it larger at once, many short ones make it small again; a giant one never makes it huge."""
    giant, long, short = (
        put("g", make_file("1", blob=6_000_000)),
        put("l", make_file("2", blob=50_000)),
        put("s", make_file("3")),
    )
    scan([short, long, *[short] * 600], header__prefix_bytes=4096)
    assert first_reads[:2] == [4096, 4096] and first_reads[2] > 50_000 and first_reads[-1] == 4096
    assert sorted(first_reads[2:], reverse=True) == first_reads[2:]
    first_reads.clear()
    scan([giant, short, *[long] * 80], header__prefix_bytes=4096)
    assert first_reads[1] == files.MAX_PREFIX_BYTES


def test_a_giant_header_gives_its_memory_back(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer of a giant header is not kept for the rest of the task."""
    sizes: list[int] = []
    real = files.HeaderReader.accept

    def accept(self: Any) -> Any:
        sizes.append(len(self.buffer))
        return real(self)

    monkeypatch.setattr(files.HeaderReader, "accept", accept)
    scan([put("g", make_file("1", blob=9_000_000)), put("s", make_file("2"))])
    assert sizes[0] > 9_000_000 and sizes[1] <= 4 * files.MAX_PREFIX_BYTES


@pytest.mark.parametrize("reported", [0, 1, 3000, 1 << 40])
def test_file_whose_size_is_not_what_was_said(
    scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch, reported: int
) -> None:
    """A file that grew or shrank between two looks is read as it is, and the task comes to its end."""
    path = put("f", make_file("1.2", blob=200_000))
    real = os.fstat

    class Stat(NamedTuple):
        st_size: int
        st_mode: int

    monkeypatch.setattr(os, "fstat", lambda descriptor: Stat(reported, real(descriptor).st_mode))
    done = scan([path], header__prefix_bytes=2048, header__max_header_bytes=1 << 22)
    assert done.outcome("f")[0] == "ok" and done.rows[0]["InstanceNumber"] == 1


def test_file_that_is_cut_while_it_is_read(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that shrinks between two reads is partial: what was read first counts, nothing is made up."""
    path = put("f", make_file("1.2", blob=200_000))
    real = os.preadv

    def shrink(descriptor: int, buffers: Any, offset: int) -> int:
        os.truncate(path, 50_000)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", shrink)
    done = scan([path], header__prefix_bytes=2048)
    assert done.outcome("f")[:2] == ("partial", "truncated") and done.rows[0]["InstanceNumber"] is None


@pytest.mark.parametrize("most", [1, 7, 150, 400])
def test_reads_that_come_back_short(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A network file system may give less than asked for; that is not the end of the file."""
    real_first, real_more = os.readv, os.preadv
    monkeypatch.setattr(os, "readv", lambda fd, buffers: real_first(fd, [buffers[0][: max(most, 150)]]))
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: real_more(fd, [buffers[0][:most]], offset))
    done = scan([put("f", make_file("1.2", blob=3000, pixels=10))])
    assert done.outcome("f") == ("ok", None, None) and done.rows[0]["InstanceNumber"] == 1


@pytest.mark.parametrize("settings", [{"header__batch_rows": 3}, {}], ids=["rows", "bytes"])
def test_batches_bound_memory(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]) -> None:
    """Full batches are written one after the other, and no row is lost between them."""
    if not settings:
        monkeypatch.setattr(files, "MAX_BATCH_BYTES", 1)
    paths = [put(f"f{n:02}", make_file(f"1.2.{n}", number=n)) for n in range(8)]
    paths.insert(4, put("bad", b"x"))
    done = scan(paths, **settings)
    assert [part.num_rows for part in done.parts] == ([3, 3, 2] if settings else [1] * 8)
    assert sorted(row["InstanceNumber"] for row in done.rows) == list(range(8))
    assert [done.ledger[f"f{n:02}"]["SOPInstanceUID"] for n in range(8)] == [f"1.2.{n}" for n in range(8)]
    assert done.ledger["bad"]["SOPInstanceUID"] is None
    assert len({str(part.schema) for part in done.parts}) == 1


def test_no_key(scan: Scan, put: Put) -> None:
    """Without a SOP Instance UID, or with one that is no text, a file has a ledger row and no other."""
    odd = make_file("1.2").replace(encode(0x00080018, "UI", b"1.2"), encode(0x00080018, "US", b"\x01\x00\x02\x00"))
    done = scan(
        [put("none", make_file(None)), put("empty", make_file("")), put("good", make_file("1")), put("odd", odd)]
    )
    for name in ("none", "empty", "odd"):
        assert done.outcome(name)[:2] == ("failed", "missing_sop_instance_uid")
        assert done.ledger[name]["SOPInstanceUID"] is None
    assert [row["SOPInstanceUID"] for row in done.rows] == ["1"]


def test_not_dicom(scan: Scan, put: Put) -> None:
    """Files without a DICOM header are told apart from empty ones."""
    done = scan([put("empty", b""), put("text", b"hello world\n" * 100)])
    assert done.outcome("empty")[:2] == ("not_dicom", "empty_file")
    assert done.outcome("text")[:2] == ("not_dicom", "no_dicom_header")
    assert done.parts == [] and len(done.result.data_files) == 1


def test_names_that_are_not_utf8(scan: Scan, tmp_path: Path) -> None:
    """Bytes of a name survive the way through a UTF-8 column."""
    path = os.fsencode(tmp_path) + b"/\xff\xfe.dcm"
    Path(os.fsdecode(path)).write_bytes(make_file("1.2"))
    assert scan([path]).outcome("%FF%FE.dcm")[0] == "ok"


def test_the_same_task_twice_gives_the_same_rows(scan: Scan, put: Put) -> None:
    """A task that Dask runs again writes equal parts, under names that do not touch those of the first attempt."""
    paths = [put(f"f{n}", make_file(f"1.2.{n}", number=n)) for n in range(5)]
    first, second = scan(paths), scan(paths)
    assert first.rows == second.rows and first.ledger == second.ledger
    parts = [[(part.table, part.rows, part.bytes) for part in done.result.data_files] for done in (first, second)]
    assert parts[0] == parts[1]
    assert not {part.path for part in first.result.data_files} & {part.path for part in second.result.data_files}


def test_the_ledger_is_written_last(scan: Scan, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the task is done, and belongs to its parts by name."""
    written: list[tuple[str, str]] = []
    real = task.write_data_file

    def write(rows: pa.Table, schema: pa.Schema, table: str, folder: Path, name: str, config: Any) -> Any:
        written.append((table, name.removesuffix(".parquet")))
        return real(rows, schema, table, folder, name, config)

    monkeypatch.setattr(task, "write_data_file", write)
    scan([put(f"f{n}", make_file(f"1.2.{n}")) for n in range(5)], header__batch_rows=2)
    assert [table for table, _ in written] == ["instances", "instances", "instances", "files"]
    stem = written[-1][1]
    assert [name for _, name in written] == [f"{stem}-0", f"{stem}-1", f"{stem}-2", stem] and stem.startswith("task-")


def test_a_result_is_small(scan: Scan, put: Put) -> None:
    """What travels back does not grow with the number of files."""
    import pickle

    paths = [put(f"f{n}", make_file(f"1.2.{n}")) for n in range(50)]
    assert len(pickle.dumps(scan(paths).result)) < 2000
