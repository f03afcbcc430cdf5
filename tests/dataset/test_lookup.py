"""One row by its key: equal to a full read with a filter, whatever the parts are like."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.config import DatasetConfig
from dicomflow.dataset import lookup
from dicomflow.dataset.keyfilter import KeyFilter
from dicomflow.dataset.lookup import RowFinder, find_row
from dicomflow.dataset.onerow import COMPILED
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import DatasetError

SCHEMA = pa.schema(
    [
        pa.field("SOPInstanceUID", pa.string(), nullable=False, metadata={"dicom.tag": "00080018"}),
        pa.field("Modality", pa.string()),
        pa.field("Rows", pa.int32()),
        pa.field("Laterality", pa.string()),
        pa.field("PixelSpacing", pa.list_(pa.float64())),
        pa.field("ImageType", pa.list_(pa.string())),
    ],
    metadata={"dicomflow.format": "1"},
)
KEY_METADATA = b"\x19\x18\x0eSOPInstanceUID"


def make_rows(uids: list[str], **columns: list[Any]) -> pa.Table:
    count = len(uids)
    made: dict[str, list[Any]] = {
        "SOPInstanceUID": uids,
        "Modality": [None if i % 7 == 0 else ("CT", "MR")[i % 2] for i in range(count)],
        "Rows": list(range(count)),
        "Laterality": [None] * count,
        "PixelSpacing": [([0.5, None], [], None)[i % 3] for i in range(count)],
        "ImageType": [(["ORIGINAL", str(i)], None)[i % 2] for i in range(count)],
    }
    table = pa.table({**made, **columns}, SCHEMA)
    return table.set_column(1, "Modality", table["Modality"].combine_chunks().dictionary_encode())


def write(folder: Path, name: str, rows: pa.Table, **changes: Any) -> Path:
    config = DatasetConfig().model_copy(update=changes)  # row groups smaller than users may have them
    return folder / write_data_file(rows, SCHEMA, "instances", folder, f"{name}.parquet", config).path


def read_and_filter(parts: list[Path], uid: str) -> pa.Table:
    """The oracle."""
    rows = pa.concat_tables([SCHEMA.empty_table(), *(pq.ParquetFile(part).read() for part in parts)])
    return rows.filter(pc.equal(rows["SOPInstanceUID"], uid)).slice(0, 1)


def check(parts: list[Path], uid: str, rows: int) -> None:
    """By our own reader where it can, and by Arrow alone."""
    expected = read_and_filter(parts, uid).to_pylist()
    assert len(expected) == rows
    with_arrow = RowFinder(parts, SCHEMA)
    with_arrow._reader = None
    for finder in (RowFinder(parts, SCHEMA), with_arrow):
        for _ in range(2):  # the second time what the footers say is known
            found = finder.find(uid)
            assert ([] if found is None else [found]) == expected
            assert found is None or [*found] == SCHEMA.names


@pytest.fixture
def no_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own reader must do."""
    if not COMPILED:
        pytest.skip("not compiled")
    monkeypatch.setattr(lookup, "_ask_arrow", lambda *_: pytest.fail("Arrow was asked"))


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Three parts of five row groups each."""
    return [
        write(tmp_path, str(part), make_rows([f"1.2.{part}.{row}" for row in range(4500)]), row_group_rows=1000)
        for part in range(3)
    ]


@pytest.mark.parametrize("row", [0, 1, 999, 1000, 2500, 4000, 4499])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_present(parts: list[Path], part: int, row: int) -> None:
    """First and last row of a part and of a row group, and others."""
    check(parts, f"1.2.{part}.{row}", 1)


@pytest.mark.parametrize(
    "uid", ["", "1.2.0.4500", "1.2.0", "1.2.0.1 ", "1.2.%", "'; --", "\x00", "1.2.0.1\x00", "é" * 500]
)
def test_absent(parts: list[Path], uid: str) -> None:
    """Compared exactly; nothing in it is a pattern or a query."""
    check(parts, uid, 0)


def test_lone_surrogate_is_absent(parts: list[Path]) -> None:
    """A text that Parquet cannot store."""
    assert find_row(parts, SCHEMA, "1.2\udc80") is None


@pytest.mark.parametrize(
    "uid", ["it's", 'a "b"', "[a]*?", "{x}", "\x19\x18\x0eSOPInstanceUID", "π.1", "1.2\n3", "x" * 3000]
)
def test_odd_keys_are_found(tmp_path: Path, uid: str) -> None:
    """Keys are kept as found, so they may be any text."""
    check([write(tmp_path, "part", make_rows(["1", uid, "zz"]))], uid, 1)


def test_odd_folders(tmp_path: Path) -> None:
    """A path is a path, not a pattern."""
    part = write(tmp_path / "[a]* it's {b}?", "part", make_rows(["1", "2"]))
    check([part], "2", 1)


def test_no_parts() -> None:
    """A table without parts has no row."""
    assert find_row([], SCHEMA, "1") is None


def test_empty_parts(tmp_path: Path) -> None:
    """Parts without rows are passed over."""
    parts = [
        write(tmp_path, "a", make_rows([])),
        write(tmp_path, "b", make_rows(["1"])),
        write(tmp_path, "c", make_rows([])),
    ]
    check(parts, "1", 1)
    check(parts, "2", 0)


def test_without_bloom_filter(tmp_path: Path) -> None:
    """Slower, but right; alone and beside parts that have one."""
    uids = [f"1.2.{row}" for row in range(3000)]
    bare = write(tmp_path, "bare", make_rows(uids), bloom_filter=False, row_group_rows=1000)
    other = write(tmp_path, "other", make_rows(["9"]))
    assert KeyFilter("SOPInstanceUID", b"1.2.5").ask(bare) is None
    for parts in ([bare], [bare, other], [other, bare]):
        check(parts, "1.2.2999", 1)
        check(parts, "2", 0)


def test_filters_exclude(parts: list[Path]) -> None:
    """Nothing that is there is excluded, and nearly everything that is not."""
    for row in range(0, 4500, 83):
        assert row // 1000 in (KeyFilter("SOPInstanceUID", f"1.2.1.{row}".encode()).ask(parts[1]) or [])
    wrong = sum(len(KeyFilter("SOPInstanceUID", f"9.{row}".encode()).ask(parts[1]) or []) for row in range(400))
    assert wrong < 0.05 * 400 * 5


def test_filter_agrees_with_duckdb(parts: list[Path]) -> None:
    """Another implementation of the same filters says the same of each row group."""
    duckdb = pytest.importorskip("duckdb")
    sql = "select row_group_id from parquet_bloom_probe(?, 'SOPInstanceUID', ?) where not bloom_filter_excludes order by 1"
    for uid in (f"1.2.{number}.{number * 37 % 5000}" for number in range(200)):
        found = [group for (group,) in duckdb.execute(sql, [str(parts[0]), uid]).fetchall()]
        assert KeyFilter("SOPInstanceUID", uid.encode()).ask(parts[0]) == found


def test_value_that_looks_like_metadata(tmp_path: Path) -> None:
    """Statistics quote values: one that imitates the key's metadata must not lead the search astray."""
    forged = KEY_METADATA.decode() + "\x15\x0c\x16\x02" + "\xc6\x02" + "\x00"
    rows = make_rows(["1", "2"]).set_column(3, SCHEMA.field("Laterality"), pa.array([forged, forged]))
    part = write(tmp_path, "part", rows)
    assert KeyFilter("SOPInstanceUID", b"2").ask(part) is None
    check([part], "2", 1)
    check([part], "3", 0)


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two row groups of 50,000 rows and a rest; pages of 20,000 rows, but of fewer where values are long."""
    count = 101_000
    rows = make_rows(
        [f"1.2.{row:0100d}" for row in range(count)],
        Laterality=[f"{row % 9000:0200d}" for row in range(count)],
        ImageType=[[str(row)] * (row % 3) for row in range(count)],
    )
    return write(tmp_path_factory.mktemp("paged"), "part", rows, row_group_rows=50_000)


@pytest.mark.parametrize(
    "row", [16_384, 19_999, 20_000, 39_999, 40_000, 49_999, 50_000, 69_999, 90_000, 99_999, 100_999]
)
def test_row_behind_other_pages(paged: Path, row: int) -> None:
    """First and last row of a page, of a row group, of the part."""
    check([paged], f"1.2.{row:0100d}", 1)


def test_pages_before_the_row_are_not_read(paged: Path, tmp_path: Path, no_arrow: None) -> None:
    """With all bytes of a column's first data page destroyed, a row of a later page is still there."""
    data = bytearray(paged.read_bytes())
    column = pq.read_metadata(paged).row_group(1).column(3)
    data[column.data_page_offset + 64 : column.data_page_offset + 2000] = bytes(1936)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(data)
    uid = f"1.2.{95_000:0100d}"
    assert [find_row([broken], SCHEMA, uid)] == read_and_filter([paged], uid).to_pylist()


def test_damage_before_the_row_is_told(paged: Path, tmp_path: Path) -> None:
    """And a row of that very page is an error."""
    data = bytearray(paged.read_bytes())
    column = pq.read_metadata(paged).row_group(1).column(3)
    data[column.data_page_offset + 64 : column.data_page_offset + 2000] = bytes(1936)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(data)
    expect_error(broken, f"1.2.{50_001:0100d}")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"write_page_index": True, "max_rows_per_page": 100},
        {"write_page_index": True, "data_page_version": "2.0"},
        {"write_page_index": True, "write_page_checksum": True, "compression": "zstd", "use_dictionary": False},
        {"write_page_index": True, "write_page_checksum": True, "compression": "zstd", "data_page_version": "2.0"},
        {"write_page_index": True, "write_page_checksum": True, "compression": "none"},
    ],
)
def test_parts_of_another_writer(tmp_path: Path, options: dict[str, Any]) -> None:
    """Without a page index or checksums, with small pages, with pages of the second version, with other codecs."""
    rows = make_rows([f"1.2.{row}" for row in range(1000)]).cast(SCHEMA)
    pq.write_table(rows, tmp_path / "part.parquet", write_batch_size=100, **options)
    for row in (0, 99, 100, 555, 999):
        check([tmp_path / "part.parquet"], f"1.2.{row}", 1)


def test_the_same_key_twice(tmp_path: Path) -> None:
    """The ledger may have it twice: the first row counts."""
    parts = [write(tmp_path, "a", make_rows(["1", "2", "2"])), write(tmp_path, "b", make_rows(["2"]))]
    check(parts, "2", 1)


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
ROW = st.tuples(TEXT, st.none() | TEXT, st.none() | st.lists(st.none() | TEXT, max_size=3))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(ROW, max_size=12), max_size=3), TEXT, st.integers(1, 6), st.booleans())
def test_equal_to_read_and_filter(tables: list[list[Any]], other: str, group: int, bloom: bool) -> None:
    """Any small tables, any keys."""
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for number, rows in enumerate(tables):
            table = make_rows(
                [row[0] for row in rows], Laterality=[row[1] for row in rows], ImageType=[row[2] for row in rows]
            )
            parts.append(write(Path(folder), str(number), table, row_group_rows=group, bloom_filter=bloom))
        for uid in {other, *(row[0] for rows in tables for row in rows)}:
            check(parts, uid, read_and_filter(parts, uid).num_rows)


# ---- damage ----------------------------------------------------------------------------------------------------------


def expect_error(part: Path, uid: str) -> None:
    with pytest.raises(DatasetError) as caught:
        find_row([part], SCHEMA, uid)
    message = str(caught.value)
    assert message.startswith(f"{part}: ") and "\n" not in message and uid not in message.removeprefix(str(part))


def test_missing_part(tmp_path: Path) -> None:
    """Gone between listing and reading."""
    expect_error(tmp_path / "gone.parquet", "1.2.3.77")


@pytest.mark.parametrize("keep", [0, 3, 8, 1000, 0.5, 0.99, -1])
def test_truncated_part(parts: list[Path], keep: float) -> None:
    """However much of it is left."""
    data = parts[0].read_bytes()
    parts[0].write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    expect_error(parts[0], "1.2.0.77")


def test_damaged_page(parts: list[Path]) -> None:
    """The page checksum is looked at: never a wrong value."""
    data = bytearray(parts[0].read_bytes())
    column = pq.read_metadata(parts[0]).row_group(0).column(2)
    end = column.dictionary_page_offset + column.total_compressed_size
    data[(column.data_page_offset + end) // 2] ^= 1
    parts[0].write_bytes(data)
    expect_error(parts[0], "1.2.0.77")


def test_damaged_dictionary(parts: list[Path]) -> None:
    """Nor from a dictionary."""
    data = bytearray(parts[0].read_bytes())
    column = pq.read_metadata(parts[0]).row_group(0).column(2)
    data[(column.dictionary_page_offset + column.data_page_offset) // 2] ^= 1
    parts[0].write_bytes(data)
    expect_error(parts[0], "1.2.0.77")


def test_another_schema(tmp_path: Path) -> None:
    """A part that lacks a column is not of this table."""
    pq.write_table(make_rows(["1.2.0.77"]).drop_columns("Rows"), tmp_path / "part.parquet")
    expect_error(tmp_path / "part.parquet", "1.2.0.77")


def test_noise_in_the_footer(tmp_path: Path) -> None:
    """Whatever stands there: the row, none, or the one error; and it ends soon."""
    part = write(tmp_path, "part", make_rows(["1", "2", "3"]))
    row = find_row([part], SCHEMA, "2")
    assert row is not None
    data = part.read_bytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for at in range(begin, len(data), 5):
        for value in (0x00, 0x19, 0x7F, 0xFF):
            part.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            with contextlib.suppress(DatasetError):
                assert (find_row([part], SCHEMA, "2") or row)["SOPInstanceUID"] == "2"
