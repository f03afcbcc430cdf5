"""Archives are listed: each member once, within bounds, whatever stands in the directory."""

from __future__ import annotations

import errno
import io
import os
import struct
import time
import tracemalloc
import warnings
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomflow.config import SourcesConfig
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.sources import archive, directory, list_files, rows
from dicomflow.sources.member import parse_place
from tests.zipped import pack

Row = dict[str, Any]
TWO = [("b/one", b"1" * 300), ("a", b"22")]


def list_rows(*sources: Path, batch_rows: int = 1000, **settings: Any) -> list[Row]:
    batches = list_files(list(map(str, sources)), config=SourcesConfig(**settings), batch_rows=batch_rows)
    rows: list[Row] = pa.Table.from_batches(batches, schema=SOURCE_FILE_SCHEMA).to_pylist()
    return rows


def members_of(rows: list[Row]) -> list[str]:
    return [row["member"] for row in rows if row["member"] is not None]


def said(row: Row) -> tuple[str, str, str]:
    return row["status"], row["code"], row["message"]


@pytest.fixture
def put(tmp_path: Path) -> Any:
    def write(data: bytes, name: str = "x.zip") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def change(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


# ---- what is listed --------------------------------------------------------------------------------------------------


def test_an_archive_is_a_row_and_so_is_each_member(put: Any) -> None:
    """In the order of its directory; a member is as old as the archive and as large as it unpacks to."""
    path = put(pack([("folder/", b""), *TWO]))
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    first, *members = list_rows(path)
    assert said(first) == ("skipped", "archive", "2 members, listed on their own")
    assert (first["member"], first["size"], first["etag"]) == (None, path.stat().st_size, None)
    assert [(row["member"], row["size"], row["status"], row["code"]) for row in members] == [
        ("b/one", 300, None, None),
        ("a", 2, None, None),
    ]
    assert {row["uri"] for row in (first, *members)} == {str(path)}
    assert {row["mtime"] for row in (first, *members)} == {datetime(2023, 11, 14, 22, 13, 20, 123456)}


@pytest.mark.parametrize("how", [{}, {"stream": True}, {"zip64": True}, {"prefix": b"#!/bin/sh\n" * 9}])
@pytest.mark.parametrize("comment", [b"", b"x" * 65_535])
def test_places_are_those_that_zipfile_finds(put: Any, how: dict[str, Any], comment: bytes) -> None:
    """Names, sizes, checksums and offsets."""
    data = pack([*TWO, ("ü", b""), ("../up", b"3"), ("c:\\d", b"4" * 99)], comment=comment, **how)
    _, *members = list_rows(put(data))
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        infos = opened.infolist()
    assert [row["member"] for row in members] == [info.filename for info in infos]
    for row, info in zip(members, infos, strict=True):
        place = parse_place(row["etag"])
        assert (row["size"], place.packed, place.crc) == (info.file_size, info.compress_size, info.CRC)
        assert (place.method, place.flags) == (info.compress_type, info.flag_bits)
        assert data[place.offset :].startswith(b"PK\3\4") and place.offset == info.header_offset


def test_a_comment_that_looks_like_an_end_record(put: Any) -> None:
    """The one counts that is followed by its comment and nothing else; else the last one."""
    data = pack(TWO, comment=b"PK\5\6".ljust(40, b"x"))
    assert members_of(list_rows(put(data))) == members_of(list_rows(put(pack(TWO) + b"left behind"))) == ["b/one", "a"]


def widen(data: bytes, *, prefix: bytes = b"", behind: bytes = b"", parts: int = 0) -> bytes:
    """The same archive with all numbers where ZIP64 has them."""
    first, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entries, at, count = b"", first, 0
    while at < end:
        packed, size, name_bytes = struct.unpack_from("<LLH", data, at + 20)
        (offset,) = struct.unpack_from("<L", data, at + 42)
        field = struct.pack("<HHBL", 0x5455, 5, 1, 0) + struct.pack("<HHQQQ", 1, 24, size, packed, offset)
        entries += data[at : at + 20] + struct.pack("<LLHHH", 0xFFFFFFFF, 0xFFFFFFFF, name_bytes, len(field), 0)
        entries += data[at + 34 : at + 42] + b"\xff" * 4 + data[at + 46 : at + 46 + name_bytes] + field
        at, count = at + 46 + name_bytes, count + 1
    wide = struct.pack(
        "<4sQHHLLQQQQ", b"PK\6\6", 44 + len(behind), 45, 45, parts, parts, count, count, len(entries), first
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, first + len(entries), 1)
    most = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return prefix + data[:first] + entries + wide + behind + locator + most


@pytest.mark.parametrize("prefix", [b"", b"MZ" * 50])
def test_numbers_of_zip64(put: Any, prefix: bytes) -> None:
    """In the end record and in each entry."""
    data = widen(pack(TWO), prefix=prefix)
    _, *members = list_rows(put(data))
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        infos = opened.infolist()
        assert opened.testzip() is None
    for row, info in zip(members, infos, strict=True):
        place = parse_place(row["etag"])
        found = (row["member"], row["size"], place.packed, place.offset)
        assert found == (info.filename, info.file_size, info.compress_size, info.header_offset)


def test_zip64_that_is_not_where_it_mostly_is(put: Any) -> None:
    """With data of somebody else's behind its end record, it is where the locator says; in several parts, it is refused."""
    assert members_of(list_rows(put(widen(pack(TWO), behind=b"more" * 5)))) == ["b/one", "a"]
    (row,) = list_rows(put(widen(pack(TWO), parts=1)))
    assert said(row)[1] == "bad_archive" and "several parts" in row["message"]
    (row,) = list_rows(put(widen(pack(TWO)).replace(b"PK\6\6", b"none")))
    assert said(row)[1] == "bad_archive" and "not where" in row["message"]


def test_archives_stand_behind_the_files_of_a_folder(tmp_path: Path) -> None:
    """Whatever the size of batches; a name of any case, in a folder or as a SOURCE."""
    (tmp_path / "sub").mkdir()
    for name in ("b.ZIP", "a.zip", "sub/c.Zip"):
        (tmp_path / name).write_bytes(pack(TWO))
    for name in ("a", "z", "a.zip.bak", "sub/y"):
        (tmp_path / name).touch()
    (tmp_path / "f.zip").mkdir()
    (tmp_path / "f.zip" / "inside").touch()
    for batch_rows in (1, 2, 1000):
        rows = list_rows(tmp_path, batch_rows=batch_rows)
        found = [os.path.relpath(row["uri"], tmp_path) + (f":{row['member']}" if row["member"] else "") for row in rows]
        first, last = ([name, f"{name}:b/one", f"{name}:a"] for name in ("a.zip", "b.ZIP"))
        sub = ["sub/y", "sub/c.Zip", "sub/c.Zip:b/one", "sub/c.Zip:a"]
        assert found == ["a", "a.zip.bak", "z", *first, *last, "f.zip/inside", *sub]
    named = list_rows(tmp_path / "b.ZIP", tmp_path)
    assert [row["member"] for row in named[:3]] == [None, "b/one", "a"] and len(named) == len(rows)


def test_members_are_streamed(put: Any) -> None:
    """An archive fills many batches, none larger than asked for."""
    path = put(pack([(f"{number}", b"") for number in range(5000)], method=zipfile.ZIP_STORED))
    sizes = [batch.num_rows for batch in list_files([str(path)], config=SourcesConfig(), batch_rows=100)]
    assert sizes == [100] * 50 + [1]


def test_long_names_are_streamed_sooner(put: Any) -> None:
    """What is held at a time does not depend on what an archive calls its members."""
    put(pack([(f"{number:>60000}", b"") for number in range(900)]))
    batches = list_files([str(put(b"", "y").parent)], config=SourcesConfig())
    sizes = [batch.nbytes for batch in batches]
    assert len(sizes) > 1 and max(sizes) < 4 * rows.BATCH_CHARACTERS


def test_with_the_setting_off_an_archive_is_a_file(put: Any) -> None:
    """As it was before there was the setting."""
    path = put(pack(TWO))
    (row,) = list_rows(path.parent, archives=False)
    assert (row["uri"], row["member"], row["size"], row["status"]) == (str(path), None, path.stat().st_size, None)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", b"PK\3\4".ljust(128, b"\0") + b"DICM" + bytes(9)])
def test_a_file_that_is_no_archive_is_a_file(put: Any, data: bytes) -> None:
    """Whatever its name."""
    (row,) = list_rows(put(data))
    assert (row["member"], row["size"], row["status"]) == (None, len(data), None)


def test_an_archive_with_nothing_in_it(put: Any) -> None:
    """Is one all the same."""
    (row,) = list_rows(put(pack([])))
    assert said(row) == ("skipped", "archive", "0 members, listed on their own")


# ---- what listing settles --------------------------------------------------------------------------------------------


def test_of_members_with_one_name_the_last_one_counts(put: Any) -> None:
    """As in zipfile; the archive's row says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pack([("a", b"1"), ("b", b"22"), ("a", b"333"), ("b", b"4444"), ("a", b"55555"), ("c", b"")])
    first, *members = list_rows(put(data))
    assert [(row["member"], row["size"]) for row in members] == [("b", 4), ("a", 5), ("c", 0)]
    assert first["message"] == "3 members, listed on their own; 2 names stand more than once, the last one counts"
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert all(opened.getinfo(row["member"]).file_size == row["size"] for row in members)


def test_a_member_without_a_name_is_said(put: Any) -> None:
    """It has no row: it could not be told from the archive."""
    (first, row) = list_rows(put(pack([("n", b"1"), ("a", b"1")]).replace(b"n", b"\0")))
    assert row["member"] == "a"
    assert first["message"] == "1 member, listed on their own; 1 without a name cannot be listed"


@pytest.mark.parametrize(
    ("flag", "method", "code", "words"),
    [
        (1, 8, "encrypted", "password"),
        (0x41, 0, "encrypted", "password"),
        (0x2001, 8, "encrypted", "password"),
        (0, 12, "unsupported_compression", "bzip2"),
        (0, 14, "unsupported_compression", "LZMA"),
        (0, 9, "unsupported_compression", "deflate64"),
        (0, 77, "unsupported_compression", "method 77"),
        (0x20, 8, "unsupported_compression", "patch"),
    ],
)
def test_members_that_cannot_be_unpacked(put: Any, flag: int, method: int, code: str, words: str) -> None:
    """They fail, and the others are read."""
    data = pack([("a", b"1" * 99), ("b", b"2")])
    data = change(data, data.index(b"PK\1\2") + 8, struct.pack("<HH", flag, method))
    _, a, b = list_rows(put(data))
    assert said(a)[:2] == ("failed", code) and words in a["message"] and b["status"] is None


def test_an_archive_in_an_archive_is_not_opened(put: Any) -> None:
    """One level, and no more."""
    _, row, other = list_rows(put(pack([("deep/in.Zip", pack(TWO)), ("in.zipped", b"")])))
    assert said(row) == ("skipped", "archive", "an archive inside an archive is not read: unpack it")
    assert other["status"] is None


@pytest.mark.parametrize(
    ("at", "value"),
    [(42, 10_000), (42, 0xFFFFFFFF), (24, 0xFFFFFFFF), (20, 0xFFFFFFFF), (24, 7)],
    ids=["beyond", "no zip64", "no size", "no packed", "stored otherwise"],
)
def test_an_entry_that_says_what_cannot_be(put: Any, at: int, value: int) -> None:
    """Its member fails, and the others are read."""
    data = pack([("a", b"1" * 99), ("b", b"2")], method=zipfile.ZIP_STORED)
    _, a, b = list_rows(put(change(data, data.index(b"PK\1\2") + at, struct.pack("<L", value))))
    assert said(a)[:2] == ("failed", "bad_archive") and a["member"] == "a" and b["status"] is None


def test_numbers_that_no_column_holds(put: Any) -> None:
    """A size of 64 bits in the ZIP64 field is no reason to end a run."""
    data = bytearray(pack([("a", b"1")], zip64=True, method=zipfile.ZIP_STORED))
    entry = data.index(b"PK\1\2")
    struct.pack_into("<L", data, entry + 24, 0xFFFFFFFF)
    struct.pack_into("<H", data, entry + 30, 12)
    data[entry + 47 : entry + 47] = struct.pack("<HHQ", 1, 8, (1 << 64) - 1)
    struct.pack_into("<L", data, data.index(b"PK\5\6") + 12, data.index(b"PK\5\6") - entry)
    _, row = list_rows(put(bytes(data)))
    assert said(row)[:2] == ("failed", "bad_archive") and row["size"] is None


@pytest.mark.parametrize(
    ("method", "at", "value"),
    [(8, 24, 1032 * 13 + 1), (8, 20, 1 << 20), (0, 24, 100), (0, 20, 1 << 20)],
    ids=["deflated to less than can be", "deflated beyond", "stored as less", "stored beyond"],
)
def test_sizes_that_cannot_be(put: Any, method: int, at: int, value: int) -> None:
    """Sizes are summed: those that no bytes in the archive could make are not taken for true."""
    data = pack([("a", b"1" * 99), ("b", b"2")], method=method)
    entry = data.index(b"PK\1\2")
    if method:
        data = change(data, entry + 20, struct.pack("<L", 13))
    _, a, b = list_rows(put(change(data, entry + at, struct.pack("<L", value))))
    assert said(a)[:2] == ("failed", "bad_archive") and a["size"] is None and b["status"] is None


def test_the_most_that_deflate_can_do(put: Any) -> None:
    """A bomb is a member like others: how far it is read is bounded."""
    _, row = list_rows(put(pack([("zeros", bytes(64 << 20))])))
    assert row["status"] is None and row["size"] == 64 << 20


# ---- archives that cannot be listed ----------------------------------------------------------------------------------


def broken() -> dict[str, tuple[bytes, str]]:
    data = pack(TWO)
    end, first = data.index(b"PK\5\6"), data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 1)
    return {
        "cut": (data[: len(data) - 30], "cut short"),
        "several parts": (change(data, end + 4, b"\1\0"), "several parts"),
        "directory elsewhere": (change(data, end + 16, struct.pack("<L", len(data))), "not where"),
        "directory larger than the file": (change(data, end + 12, struct.pack("<L", 1 << 30)), "not where"),
        "front cut off": (data[20:], "not where"),
        "no entry": (change(data, second, b"xx"), "no entry"),
        "entry too long": (change(data, second + 28, b"\xff\xff"), "reaches beyond"),
        "one less": (change(data, end + 10, b"\1\0"), "its end record says 1"),
        "many more": (change(data, end + 10, b"\xff\xff"), "too short"),
    }


@pytest.mark.parametrize("what", broken())
def test_an_archive_that_is_broken(put: Any, what: str) -> None:
    """Is one row that fails, and says why."""
    data, words = broken()[what]
    (row,) = list_rows(put(data))
    assert said(row)[:2] == ("failed", "bad_archive") and words in row["message"] and row["size"] == len(data)


def test_more_members_than_are_allowed(put: Any) -> None:
    """The message says which setting."""
    path = put(pack([(f"{number}", b"") for number in range(11)]))
    assert len(list_rows(path, max_archive_members=11)) == 12
    (row,) = list_rows(path, max_archive_members=10)
    assert said(row)[1] == "bad_archive" and "11 entries, more than sources.max_archive_members (10)" in row["message"]


def test_a_directory_that_is_too_large_is_not_read(put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of that size is asked for."""
    monkeypatch.setattr(directory, "MAX_DIRECTORY_BYTES", 100)
    asked: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda file, count, at: asked.append(count) or real(file, count, at))
    (row,) = list_rows(put(pack([("long" * 50, b"")])))
    assert said(row)[1] == "bad_archive" and "more than the 100" in row["message"] and len(asked) == 1


def test_more_members_than_16_bits_count(put: Any) -> None:
    """Programs that know no ZIP64 begin at 0 again; what is allowed is counted, not believed."""
    data = pack([(f"{number:x}", b"") for number in range(5)], method=zipfile.ZIP_STORED)
    end, first = data.index(b"PK\5\6"), data.index(b"PK\1\2")
    entry = data[first : data.index(b"PK\1\2", first + 1)]
    many = b"".join(entry[:46] + name for name in (b"%x" % number for number in range(65_541)))
    many = b"".join(
        entry[:28] + struct.pack("<H", len(n)) + entry[30:46] + n for n in (b"%x" % i for i in range(65_541))
    )
    data = data[:first] + many + change(data[end:], 12, struct.pack("<L", len(many)))
    path = put(data)
    assert len(list_rows(path)) == 65_542
    (row,) = list_rows(path, max_archive_members=65_540)
    assert said(row)[1] == "bad_archive"


@pytest.mark.parametrize(("error", "code"), [(errno.EACCES, "permission_denied"), (errno.EIO, "io_error")])
@pytest.mark.parametrize("call", ["open", "pread"])
def test_faults_of_the_storage(put: Any, monkeypatch: pytest.MonkeyPatch, call: str, error: int, code: str) -> None:
    """They are the archive's outcome, with its size and time, and no descriptor stays open."""
    path = put(pack(TWO))
    real = getattr(os, call)

    def fail(first: Any, *rest: Any, **more: Any) -> Any:
        if call == "pread" or os.fspath(first) == str(path):
            raise OSError(error, "")
        return real(first, *rest, **more)

    monkeypatch.setattr(os, call, fail)
    (row,) = list_rows(path.parent)
    held = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [name for name in held if name.startswith(str(path.parent))]
    assert said(row)[:2] == ("failed", code) and row["size"] == path.stat().st_size


def test_an_archive_that_shrinks_while_it_is_listed(put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory ends too soon."""
    path = put(pack(TWO))
    real = directory._read_end

    def cut(*arguments: Any) -> Any:
        found = real(*arguments)
        os.truncate(path, found.at - 10)
        return found

    monkeypatch.setattr(directory, "_read_end", cut)
    (row,) = list_rows(path)
    assert said(row) == ("failed", "bad_archive", "ends inside its directory")


# ---- whatever stands there -------------------------------------------------------------------------------------------

SMALL = pack([("a", b"1" * 50), ("é/b", b"2"), ("f/", b"")], comment=b"said") + b""
WIDE = pack([("a", b"1" * 50), ("b", b"2")], zip64=True, stream=True)


@given(
    data=st.sampled_from([SMALL, WIDE]),
    edits=st.lists(st.tuples(st.integers(0, 500), st.sampled_from([0, 1, 2, 80, 255])), max_size=4),
    cut=st.integers(0, 60),
)
def test_any_bytes_end_in_rows(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    """Never an exception; (uri, member) is there once; what is to be read has a place that can be read."""
    path = tmp_path_factory.getbasetemp() / "any.zip"
    changed = bytearray(data[: len(data) - cut] if cut < 30 else data)
    for at, value in edits:
        changed[-1 - at % len(changed)] = value
    path.write_bytes(changed)
    rows = list_rows(path)
    assert len({row["member"] for row in rows}) == len(rows) and rows[0]["member"] is None
    for row in rows[1:]:
        if row["status"] is None:
            assert parse_place(row["etag"]).offset < len(changed) and row["size"] >= 0


def test_a_hundred_thousand_members(put: Any) -> None:
    """In seconds, and in no more memory than the directory and some batches take."""
    path = put(pack([(f"study/{number:08}.dcm", b"") for number in range(100)], method=zipfile.ZIP_STORED))
    data = path.read_bytes()
    first = data.index(b"PK\1\2")
    entry = data[first : first + 46]
    many = b"".join(entry + b"study/%08d.dcm" % number for number in range(100_000))
    tail = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 100_000 & 0xFFFF, 100_000 & 0xFFFF, len(many), first, 0)
    path.write_bytes(data[:first] + many + tail)
    began = time.perf_counter()
    assert sum(batch.num_rows for batch in list_files([str(path)], config=SourcesConfig())) == 100_001
    print(f"100,000 members listed in {time.perf_counter() - began:.2f} s")


def test_memory_of_listing_is_that_of_the_directory(put: Any) -> None:
    """Not that of an object for each member."""
    members = [(f"study/{number:08}.dcm", b"") for number in range(4000)]
    path = put(pack(members, method=zipfile.ZIP_STORED))
    tracemalloc.start()
    try:
        rows = sum(batch.num_rows for batch in list_files([str(path)], config=SourcesConfig(), batch_rows=500))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 4001 and peak < 2_000_000


def test_all_cases_of_the_suffix() -> None:
    """And no other name."""
    assert len(archive.SUFFIXES) == 8 and {name.lower() for name in archive.SUFFIXES} == {".zip"}
