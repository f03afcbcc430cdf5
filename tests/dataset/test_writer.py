"""Writing DataFiles."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset import writer
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import DatasetError

from .conftest import describe_schema

SCHEMA = pa.schema(
    [
        pa.field("SOPInstanceUID", pa.string(), nullable=False, metadata={"dicom.tag": "00080018"}),
        pa.field("Modality", pa.string(), metadata={"dicom.tag": "00080060", "dicom.vr": "CS"}),
        pa.field("Rows", pa.int32()),
        pa.field("PixelSpacing", pa.list_(pa.float64())),
    ],
    metadata={"dicomflow.format": "1"},
)


def make_rows(count: int = 5000) -> pa.Table:
    modality = pa.DictionaryArray.from_arrays(
        pa.array([None if i % 7 == 0 else i % 2 for i in range(count)], pa.int32()), pa.array(["CT", "MR"])
    )
    return pa.table(
        {
            "SOPInstanceUID": pa.array([f"1.2.{i}" for i in range(count)]),
            "Modality": modality,
            "Rows": pa.array([512] * count, pa.int32()),
            "PixelSpacing": pa.array([[0.5, None] if i % 2 else None for i in range(count)], pa.list_(pa.float64())),
        }
    )


def write(folder: Path, rows: pa.Table | None = None, **settings: Any) -> Path:
    rows = make_rows() if rows is None else rows
    made = write_data_file(rows, SCHEMA, "instances", folder, "part.parquet", DatasetConfig(**settings))
    path = folder / made.path
    assert (made.table, made.rows, made.bytes) == ("instances", rows.num_rows, path.stat().st_size)
    return path


def test_schema_is_the_one_declared(tmp_path: Path) -> None:
    """Dictionary-encoded text reads back as string, and fields and schema keep their metadata."""
    path = write(tmp_path)
    assert describe_schema(pq.read_schema(path)) == describe_schema(SCHEMA)
    rows = make_rows()
    plain = rows.set_column(1, "Modality", rows["Modality"].cast(pa.string()))
    assert pq.read_table(path).to_pydict() == plain.to_pydict()


def test_plain_and_dictionary_text_give_the_same_rows(tmp_path: Path) -> None:
    """How text arrives leaves no trace in what is read."""
    rows = make_rows()
    plain = rows.set_column(1, "Modality", rows["Modality"].cast(pa.string()))
    found = [pq.read_table(write(tmp_path / name, each)) for name, each in (("a", rows), ("b", plain))]
    assert found[0].equals(found[1], check_metadata=True)


def test_physical_layout(tmp_path: Path) -> None:
    """Zstandard, statistics, page index, page checksums, row groups as configured."""
    path = write(tmp_path, row_group_rows=1024)
    about = pq.read_metadata(path)
    assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [1024, 1024, 1024, 1024, 904]
    for index in range(about.row_group(0).num_columns):
        column = about.row_group(0).column(index)
        assert column.compression == "ZSTD"
        assert column.has_column_index and column.has_offset_index and column.is_stats_set
    pq.read_table(path, page_checksum_verification=True)


def test_page_checksum_finds_a_flipped_bit(tmp_path: Path) -> None:
    """One bit that the disk got wrong is an error, never a wrong value."""
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"CRC|checksum"):
        pq.read_table(path, columns=["SOPInstanceUID"], page_checksum_verification=True)


def test_bloom_filter_answers(tmp_path: Path) -> None:
    """The filter on the key excludes keys that are not there; without it in the settings there is none."""
    duckdb = pytest.importorskip("duckdb")
    sql = "select bloom_filter_excludes from parquet_bloom_probe(?, 'SOPInstanceUID', ?)"
    path = write(tmp_path)
    held = duckdb.execute(sql, [str(path), "1.2.77"]).fetchall()
    absent = duckdb.execute(sql, [str(path), "9.9.9"]).fetchall()
    assert (held, absent) == ([(False,)], [(True,)])
    bare = write(tmp_path / "bare", bloom_filter=False)
    assert duckdb.execute(sql, [str(bare), "9.9.9"]).fetchall() == [(False,)]
    assert bare.stat().st_size < path.stat().st_size


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows.drop_columns("Rows"), "columns"),
        (lambda rows: rows.select([1, 0, 2, 3]), "columns"),
        (lambda rows: rows.set_column(2, "Rows", rows["Rows"].cast(pa.int64())), "Rows: int64 instead of int32"),
        (lambda rows: rows.set_column(1, "Modality", rows["Rows"].dictionary_encode()), "Modality"),
    ],
)
def test_other_schema_is_refused(tmp_path: Path, change: Any, problem: str) -> None:
    """Rows that are not as declared are never written, nor converted in silence."""
    with pytest.raises(ValueError, match=problem):
        write(tmp_path, change(make_rows()))
    assert list(tmp_path.rglob("*.parquet*")) == []


def test_nothing_is_left_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A write that fails is one clear error, without the file and without a temporary one."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer.pq.ParquetWriter, "write_table", fail)
    with pytest.raises(DatasetError, match=r"part\.parquet: cannot be written: No space left on device$"):
        write(tmp_path)
    assert list((tmp_path / "instances").iterdir()) == []


def test_an_old_file_stays_when_writing_its_successor_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name appears whole or not at all, also where the name is taken."""
    path = write(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(writer.pq.ParquetWriter, "write_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, make_rows(3))
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["part.parquet"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """On a disk that is really full the error says so, and all its space is free again."""
    rows = pa.table(
        {
            "SOPInstanceUID": pa.array([os.urandom(32).hex() for _ in range(20_000)]),
            "Modality": pa.nulls(20_000, pa.string()),
            "Rows": pa.nulls(20_000, pa.int32()),
            "PixelSpacing": pa.nulls(20_000, pa.list_(pa.float64())),
        }
    )
    free = os.statvfs(small_disk).f_bavail
    with pytest.raises(DatasetError, match="cannot be written: .*No space left on device") as caught:
        write(small_disk, rows)
    assert "\n" not in str(caught.value)
    assert free - os.statvfs(small_disk).f_bavail <= 1  # the folder itself
    assert list((small_disk / "instances").iterdir()) == []
