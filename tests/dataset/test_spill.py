"""Rows by bucket: all come back, each from the bucket it belongs to, in memory or on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dicomflow.dataset import spill as module
from dicomflow.dataset.spill import BUCKETS, Buckets, cut_ranges, hash_texts
from dicomflow.errors import DatasetError


def by_number(rows: pa.Table) -> np.ndarray:
    return rows["bucket"].to_numpy()


def table(*buckets: int, start: int = 0) -> pa.Table:
    at = pa.array(range(start, start + len(buckets)), pa.int64())
    return pa.table({"bucket": pa.array(buckets, pa.int64()), "at": at, "text": [f"t{bucket}" for bucket in buckets]})


def test_what_fits_stays_in_memory(tmp_path: Path) -> None:
    """No file is written, and the rows come back as they came; asked again there are none."""
    buckets = Buckets(by_number, tmp_path / "spill", 1 << 20)
    for rows in (table(5, 1), table(), table(5, start=2)):
        buckets.add(rows)
    assert not buckets.is_spilled and buckets.nbytes > 0 and not (tmp_path / "spill").exists()
    (rows,) = buckets
    assert rows["at"].to_pylist() == [0, 1, 2] and list(buckets) == []


@pytest.mark.parametrize("part_bytes", [1, 100, 1 << 27])
def test_rows_of_a_bucket_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int) -> None:
    """However they are cut into files."""
    monkeypatch.setattr(module, "_PART_BYTES", part_bytes)
    chance = np.random.default_rng(1)
    buckets = Buckets(by_number, tmp_path / "spill", 500)
    numbers = chance.integers(0, BUCKETS, 600).tolist() + [0, BUCKETS - 1]
    for start in range(0, len(numbers), 40):
        buckets.add(table(*numbers[start : start + 40], start=start))
    buckets.spill()
    assert buckets.nbytes == 0 and buckets.sizes.sum() > 0
    seen = []
    for first, end in cut_ranges(buckets.sizes, 2000):
        rows = buckets.read(first, end)
        if rows is not None:
            assert all(first <= bucket < end for bucket in rows["bucket"].to_pylist())
            seen += sorted(zip(rows["bucket"].to_pylist(), rows["at"].to_pylist(), strict=True), key=lambda row: row[0])
    assert seen == sorted(zip(numbers, range(len(numbers)), strict=True))
    buckets.clear()
    assert not (tmp_path / "spill").exists() and buckets.read(0, BUCKETS) is None


def test_text_with_a_dictionary(tmp_path: Path) -> None:
    """Dictionaries of several tables become one in a file."""
    buckets = Buckets(by_number, tmp_path / "spill", 0)
    for number in range(3):
        rows = table(*range(3), start=3 * number)
        coded = pa.array([f"{number}", "x", None]).dictionary_encode()
        buckets._waiting.append(rows.append_column("coded", coded))
    buckets.spill()
    found = {row["at"]: row["coded"] for rows in buckets for row in rows.to_pylist()}
    assert [found[at] for at in range(9)] == ["0", "x", None, "1", "x", None, "2", "x", None]


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_disk_that_gives_back_something_else(tmp_path: Path, damage: str) -> None:
    """One line, with what to do."""
    buckets = Buckets(by_number, tmp_path / "spill", 0)
    buckets.add(table(1, 2))
    (path,) = (tmp_path / "spill").iterdir()
    path.write_bytes(path.read_bytes()[:-20]) if damage == "cut" else path.unlink()
    with pytest.raises(DatasetError, match=r"000000\.arrow: cannot be read: \w+; run again$"):
        buckets.read(0, BUCKETS)


def test_equal_texts_share_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever chunks they come; and different ones are spread."""
    monkeypatch.setattr(module, "_TEXTS_AT_ONCE", 700)
    texts = [None, "", "ü", *(f"/archive/{number}.dcm" for number in range(5000))]
    found = hash_texts(pa.array(texts))
    assert (found == hash_texts(pa.chunked_array([texts[:1], [], texts[1:1234], texts[1234:]], pa.string()))).all()
    assert found[0] == found[1] and found.min() >= 0 and found.max() < BUCKETS
    assert np.bincount(found, minlength=BUCKETS).max() < 30


@pytest.mark.parametrize("limit", [0, 1, 10, 100])
def test_ranges_are_a_partition(limit: int) -> None:
    """Each bucket is in one range, and none is larger than the limit but where one bucket is."""
    sizes = np.random.default_rng(2).integers(0, 20, BUCKETS).astype(float)
    ranges = list(cut_ranges(sizes, limit))
    assert [bucket for first, end in ranges for bucket in range(first, end)] == list(range(BUCKETS))
    assert all(sizes[first:end].sum() <= max(limit, sizes[first:end].max()) for first, end in ranges)
