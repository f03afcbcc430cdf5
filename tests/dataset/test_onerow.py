"""A row from the encoded bytes is the row that Arrow reads, of whatever types, nulls and page sizes."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import math
import mmap
import struct
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.config import DatasetConfig
from dicomflow.dataset import lookup, onerow, writer
from dicomflow.dataset.keyfilter import KeyPlaces
from dicomflow.dataset.lookup import RowFinder
from dicomflow.dataset.onerow import RowReader
from dicomflow.dataset.writer import write_data_file

pytestmark = pytest.mark.skipif(not onerow.COMPILED, reason="not compiled")

ISSUE = pa.struct([pa.field("path", pa.string()), pa.field("code", pa.string(), nullable=False), ("raw", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("SOPInstanceUID", pa.string(), nullable=False),
        ("Modality", pa.string()),
        ("StudyDate", pa.date32()),
        ("StudyTime", pa.time64("us")),
        ("AcquisitionDateTime", pa.timestamp("us")),
        ("Rows", pa.int32()),
        ("InstanceNumber", pa.int64()),
        ("SliceThickness", pa.float64()),
        ("RecommendedDisplayFrameRateInFloat", pa.float32()),
        pa.field("source_size", pa.int64(), nullable=False),
        ("ImageType", pa.list_(pa.string())),
        ("PixelSpacing", pa.list_(pa.float64())),
        ("GridFrameOffsetVector", pa.list_(pa.field("element", pa.int64(), nullable=False))),
        ("FrameImagePositionPatient", pa.list_(pa.list_(pa.float64()))),
        pa.field("issues", pa.list_(ISSUE), nullable=False),
    ]
)
FLOATS = st.floats(allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "SOPInstanceUID": st.text(st.characters(codec="utf-8"), max_size=5),
    "Modality": st.none() | st.sampled_from(["", "CT", "MR", "x" * 300, "é\0"]),
    "StudyDate": st.none() | st.dates(),
    "StudyTime": st.none() | st.times(),
    "AcquisitionDateTime": st.none() | st.datetimes(),
    "Rows": st.none() | st.integers(-(2**31), 2**31 - 1),
    "InstanceNumber": st.none() | st.integers(-(2**63), 2**63 - 1),
    "SliceThickness": st.none() | FLOATS,
    "RecommendedDisplayFrameRateInFloat": st.none() | st.floats(width=32, allow_nan=False),
    "source_size": st.integers(0, 9),
    "ImageType": st.none() | st.lists(st.none() | st.sampled_from(["ORIGINAL", "", "π"]), max_size=4),
    "PixelSpacing": st.none() | st.lists(st.none() | FLOATS, max_size=3),
    "GridFrameOffsetVector": st.none() | st.lists(st.integers(0, 3), max_size=9),
    "FrameImagePositionPatient": st.none()
    | st.lists(st.none() | st.lists(st.none() | st.integers(0, 3).map(float), max_size=3), max_size=5),
    "issues": st.lists(
        st.none()
        | st.fixed_dictionaries(
            {"path": st.none() | st.just("a"), "code": st.just("b"), "raw": st.none() | st.text("xy", max_size=2)}
        ),
        max_size=3,
    ),
}


def write(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    config = DatasetConfig().model_copy(update=changes)
    table = pa.Table.from_pylist(rows, SCHEMA)
    return folder / write_data_file(table, SCHEMA, "instances", folder, "part.parquet", config).path


def read(part: Path, uid: str, schema: pa.Schema = SCHEMA) -> dict[str, Any] | None:
    """By our own reader alone."""
    reader, key = RowReader(schema, "SOPInstanceUID"), uid.encode()
    with open(part, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for place in KeyPlaces("SOPInstanceUID").of(part, stream.fileno()):
            found = reader.find(data, place.pages, key)
            if found is not None:
                return found
    return None


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_BATCH_ROWS", 16)
    monkeypatch.setattr(writer, "_PAGE_BYTES", 64)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6, unique_by=lambda row: row["SOPInstanceUID"]),
    st.integers(1, 6),
    st.sampled_from([8, 16384]),
    st.integers(4, 40),
)
def test_equal_to_arrow(rows: list[dict[str, Any]], repeat: int, batch: int, group: int) -> None:
    """Any rows, repeated so that there are runs, in pages and row groups of some rows."""
    rows = [{**row, "SOPInstanceUID": f"{row['SOPInstanceUID']}/{turn}"} for row in rows for turn in range(repeat)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_BATCH_ROWS", batch)
        patch.setattr(writer, "_PAGE_BYTES", 16)  # of one byte, Arrow writes pages that it cannot read
        part = write(Path(folder), rows, row_group_rows=group)
        finder = RowFinder([part], SCHEMA)  # pages this small may hold no row at all: then Arrow is asked
        for expected in pq.ParquetFile(part).read().to_pylist():
            assert finder.find(expected["SOPInstanceUID"]) == expected
        assert finder.find("no such key") is None


def make_row(number: int) -> dict[str, Any]:
    """Runs, packed bits and single values by turns."""
    day = dt.date(2020, 1, 1) + dt.timedelta(number % 500)
    return {
        "SOPInstanceUID": f"1.2.{number}",
        "Modality": None if number // 100 % 3 == 0 else ("CT", "MR", "PT")[number // 50 % 3],
        "StudyDate": day if number % 5 else None,
        "StudyTime": dt.time(number % 24, number % 60, 1, number),
        "AcquisitionDateTime": dt.datetime(1900, 1, 1) + dt.timedelta(number, microseconds=number),
        "Rows": number % 7 if number < 3000 else 512,
        "InstanceNumber": number,
        "SliceThickness": number / 3,
        "RecommendedDisplayFrameRateInFloat": None if number % 2 else math.inf,
        "source_size": number // 9,
        "ImageType": [None, [], ["ORIGINAL", str(number % 300)], [None]][number // 20 % 4 if number % 50 else 1],
        "PixelSpacing": [number / 7] * 3 if number < 4000 else None,
        "GridFrameOffsetVector": list(range(number % 40)) if number % 11 == 0 else None,
        "FrameImagePositionPatient": [
            None,
            [],
            [None, [], [1.5, None, number / 3]],
            [[float(number)] * 3] * (number % 30),
        ][0 if number % 13 else number // 13 % 4],
        "issues": [{"path": None, "code": "c", "raw": str(number)}] * (number % 97 == 0),
    }


@pytest.mark.parametrize("group", [2048, 10_000])
def test_many_rows(tmp_path: Path, group: int) -> None:
    """Pages of some thousand rows, dictionaries that are given up; rows at the edges of pages and row groups, and others."""
    rows = [make_row(number) for number in range(10_000)]
    part = write(tmp_path, rows, row_group_rows=group)
    for number in {0, 1, 7, 8, 9, 4095, 4096, 4097, 8191, 8192, 9999, *range(0, 10_000, 331), *range(2040, 2060)}:
        assert read(part, f"1.2.{number}") == rows[number]
    assert read(part, "1.2.10000") is None


def test_long_lists(tmp_path: Path) -> None:
    """A row of 12,000 items among short ones."""
    rows = [make_row(number) for number in range(60)]
    rows[30]["GridFrameOffsetVector"] = list(range(12_000))
    part = write(tmp_path, rows)
    for row in rows:
        assert read(part, row["SOPInstanceUID"]) == row


def test_parts_of_a_run_need_no_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard profile holds is known, the types of all columns included."""
    import dicomflow
    from dicomflow.synth import iter_files

    files = iter_files(files=300, seed=3, kinds=["ct", "mr", "seg", "enhanced-mr"])
    for file in files:
        path = tmp_path / "scans" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    dicomflow.extract(tmp_path / "scans", tmp_path / "headers", scheduler="threads")
    dataset = dicomflow.open_dataset(tmp_path / "headers")
    monkeypatch.setattr(lookup, "_ask_arrow", lambda *_: pytest.fail("Arrow was asked"))
    rows = dataset.to_arrow().to_pylist()
    assert len(rows) > 200
    for row in rows[::7]:
        assert repr(dataset.get(row["SOPInstanceUID"])) == repr(row)  # NaN is not equal to itself


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("SOPInstanceUID", pa.string())]),
        pa.schema([pa.field("uri", pa.string(), nullable=False)]),
        pa.schema([SCHEMA.field(0), ("x", pa.list_(pa.list_(pa.list_(pa.int32()))))]),
        pa.schema([SCHEMA.field(0), ("x", pa.timestamp("us", "UTC"))]),
        pa.schema([SCHEMA.field(0), ("x", pa.bool_())]),
    ],
)
def test_what_is_not_known(schema: pa.Schema) -> None:
    """A key that may be null, another first column, types that do not occur: refused before anything is read."""
    with pytest.raises(ValueError, match="key|type"):
        RowReader(schema, "SOPInstanceUID")


def test_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arrow does it."""
    monkeypatch.setattr(onerow, "COMPILED", False)
    rows = [make_row(number) for number in range(50)]
    finder = RowFinder([write(tmp_path, rows)], SCHEMA)
    assert finder._reader is None
    assert finder.find("1.2.7") == rows[7]


def read_with_arrow(data: bytes, row: int) -> Any:
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read().to_pylist()[row]


def test_noise(tmp_path: Path, small_pages: None) -> None:
    """A bit changed anywhere: the true row, none, an error that sends the caller to Arrow, or what Arrow itself reads there.

    Page headers have no checksum, so that neither can tell; nor has the page index, which Arrow does not use.
    """
    rows = [make_row(number) for number in range(40)]
    part = write(tmp_path, rows)
    data = part.read_bytes()
    places = KeyPlaces("SOPInstanceUID")
    with open(part, "rb") as stream:
        (place,) = places.of(part, stream.fileno())
    reader, told = RowReader(SCHEMA, "SOPInstanceUID"), 0
    for at in range(4, len(data) - 8, 3):
        for bit in (0, 3, 7):
            with mmap.mmap(-1, len(data)) as broken:
                broken[:] = data
                broken[at] ^= 1 << bit
                try:
                    found = reader.find(broken, place.pages, b"1.2.33")
                except (ValueError, IndexError, OverflowError, OSError):
                    told += 1
                else:
                    assert found in (None, rows[33]) or found == read_with_arrow(bytes(broken[:]), 33)
    assert told > 100


def test_texts_of_a_row_walk_a_dictionary_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with thousands of texts does not look for each from the begin of a large dictionary."""
    walked: list[int] = []
    real = onerow.cells.read_texts

    def count(page: Any, at: int, before: int, number: int) -> Any:
        walked.append(before + number)
        return real(page, at, before, number)

    monkeypatch.setattr(onerow.cells, "read_texts", count)
    texts = [f"{number:x}" for number in range(5000)]
    row = {**make_row(1), "ImageType": texts[::-1]}
    part = write(tmp_path, [row])
    assert read(part, row["SOPInstanceUID"]) == row
    assert sum(walked) <= 2 * len(texts)


def test_what_was_not_compiled_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cython's stand-in lets the source be imported; it would fail when it is called."""
    try:
        monkeypatch.setattr(onerow.cells, "__file__", "cells.py")
        assert not importlib.reload(onerow).COMPILED
        with pytest.raises(ValueError, match="the key is not first"):
            onerow.RowReader(SCHEMA, "SOPInstanceUID")
    finally:
        monkeypatch.undo()
        importlib.reload(onerow)


def _levels(*runs: tuple[int, int]) -> bytes:
    """Levels of a data page: runs of (how many, which), behind their length."""

    def varint(number: int) -> bytes:
        return (bytes([number & 127 | 128]) + varint(number >> 7)) if number > 127 else bytes([number])

    body = b"".join(varint(count << 1) + bytes([value]) for count, value in runs)
    return struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(("more", "is_read"), [(1000, True), (1 << 25, False)])
def test_row_that_claims_many_entries(more: int, is_read: bool) -> None:
    """A run of levels is five bytes, however long: a row that is made of one is refused before there is memory for it."""
    flat = _levels((1, 0), (more, 1)) + _levels((more + 1, 1))
    nested = _levels((1, 0), (more, 2)) + _levels((more + 1, 1))
    with contextlib.nullcontext() if is_read else pytest.raises(ValueError, match="too many entries"):
        levels, before, at = onerow.cells.find_entries(
            onerow.cells.Page(flat, 0, len(flat), more + 1, 0), 0, 1, True, 1
        )
        assert (len(levels), before, at) == (more + 1, 0, len(flat))
    with contextlib.nullcontext() if is_read else pytest.raises(ValueError, match="too many entries"):
        page = onerow.cells.Page(nested, 0, len(nested), more + 1, 0)
        repeats, levels, before, at = onerow.cells.find_nested(page, 0, 1, 1)
        assert (len(repeats), len(levels), before, at) == (more + 1, more + 1, 0, len(nested))
