"""The order of exported rows says nothing of the UIDs that were taken out."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.config import ExportConfig
from dicomflow.deidentify import Pseudonyms
from dicomflow.errors import DatasetError
from dicomflow.export import order as module
from dicomflow.export.order import Order, find_ranges, sort_batches

KEY = b"0123456789abcdef"
NAMES = ["study", "series", "instance"]


def make_rows(studies: int, instances: int) -> pa.Table:
    """As a dataset has them: sorted by UIDs that count upwards."""
    rows = [
        {
            "study": f"1.2.{study:05}",
            "series": f"1.3.{study:05}.{number % 2}",
            "instance": f"1.4.{study:05}.{number:05}",
        }
        for study, number in itertools.product(range(studies), range(instances))
    ]
    table = pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in NAMES]))
    return table.set_column(0, "study", table["study"].dictionary_encode())


def ordered(rows: pa.Table, names: list[str] = NAMES, key: bytes = KEY, batch_rows: int = 50) -> list[str]:
    """Instances in the order that comes out."""
    order = Order(names, Pseudonyms(key))
    batches = rows.to_batches(batch_rows)
    ranges = find_ranges(order, iter(batches))
    done = sort_batches(((batch, order.keys(batch)) for batch in batches), ranges)
    return [uid for batch in done for uid in batch.column("instance").to_pylist()]


def expected(rows: pa.Table, names: list[str] = NAMES, key: bytes = KEY) -> list[str]:
    """By the definition: keyed BLAKE2b of each UID, computed here."""
    secret = hashlib.blake2b(key, digest_size=32, person=b"dicomflow key").digest()

    def digest(uid: str) -> bytes:
        return hashlib.blake2b(uid.encode(), key=secret, digest_size=8, person=b"order").digest()

    found = rows.to_pylist()
    return [row["instance"] for row in sorted(found, key=lambda row: [digest(row[name]) for name in names])]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """So few rows in memory that the disk is needed; where its files are."""
    monkeypatch.setattr(module, "RANGE_ROWS", 100)
    monkeypatch.setattr(module, "SAMPLES", 2000)
    monkeypatch.setattr(module, "SHARE", 1.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("studies", "instances"), [(0, 0), (1, 1), (40, 20), (1, 800), (799, 1)])
def test_in_memory_and_on_the_disk(few: Path, studies: int, instances: int) -> None:
    """The same order, which follows from key and UIDs alone: not from the order of the rows, nor from how many there are."""
    rows = make_rows(studies, instances)
    mixed = rows.take(pa.array(np.random.default_rng(1).permutation(rows.num_rows)))
    assert ordered(rows) == ordered(mixed) == ordered(rows, batch_rows=7) == expected(rows)


@pytest.mark.parametrize("studies", [3, 40])
def test_rows_that_are_long(few: Path, monkeypatch: pytest.MonkeyPatch, studies: int) -> None:
    """Runs end before they fill the memory; the order is the same, also where all rows are one range."""
    monkeypatch.setattr(module, "RUN_BYTES", 1000)
    rows = make_rows(studies, 20)
    sizes: list[int] = []
    sort = module.sort_rows

    def count(pieces: list[pa.Table], keys: list[str]) -> pa.Table:
        sizes.append(sum(piece.num_rows for piece in pieces))
        return sort(pieces, keys)

    monkeypatch.setattr(module, "sort_rows", count)
    assert ordered(rows, batch_rows=5) == expected(rows)
    assert min(sizes) <= 20 and len(sizes) > rows.num_rows / 25


def test_ranges_are_of_about_the_same_size(few: Path) -> None:
    """Also where one study is nearly all there is."""
    for rows in (make_rows(100, 50), pa.concat_tables([make_rows(1, 5000), make_rows(50, 2)])):
        order = Order(NAMES, Pseudonyms(KEY))
        ranges = find_ranges(order, iter(rows.to_batches(64)))
        keys = np.sort(np.concatenate([order.keys(batch) for batch in rows.to_batches()]))
        sizes = np.diff([0, *np.searchsorted(keys, ranges), len(keys)])
        assert len(sizes) == -(-rows.num_rows // 100) and sizes.max() < 300 and sizes.sum() == rows.num_rows


def test_another_key_another_order() -> None:
    """And none of them is that of the dataset."""
    rows = make_rows(30, 10)
    first, second = ordered(rows), ordered(rows, key=KEY + b"!")
    assert sorted(first) == sorted(second) == rows["instance"].to_pylist()
    places = np.argsort(first), np.argsort(second), np.arange(300)
    for one, other in itertools.combinations(places, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.4  # studies are 30


def test_rows_without_a_uid() -> None:
    """They stand somewhere, each of them once."""
    rows = pa.table({"study": pa.array([None, "1.2", None]), "instance": ["a", "b", "c"]})
    assert sorted(ordered(rows, ["study", "instance"])) == ["a", "b", "c"]


def test_what_fails_leaves_no_file(few: Path) -> None:
    """A part that breaks off, a reader that stops, a folder that is not there."""
    rows = make_rows(10, 50)
    order = Order(NAMES, Pseudonyms(KEY))
    ranges = find_ranges(order, iter(rows.to_batches(50)))

    def batches() -> Iterator[tuple[pa.RecordBatch, module.Keys]]:
        for batch in rows.to_batches(50)[:6]:
            yield batch, order.keys(batch)
        raise DatasetError("a part is damaged")

    with pytest.raises(DatasetError, match="a part is damaged"):
        list(sort_batches(batches(), ranges))
    done = sort_batches(((batch, order.keys(batch)) for batch in rows.to_batches(50)), ranges)
    assert next(done).num_rows and any(few.iterdir())
    done.close()
    tempfile.tempdir = str(few / "gone")
    with pytest.raises(DatasetError, match="set TMPDIR"):
        list(sort_batches(((batch, order.keys(batch)) for batch in rows.to_batches(50)), ranges))


# ---- an export -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("order")
    dicomflow.write_studies(folder / "scans", files=200, seed=3)
    dicomflow.extract(folder / "scans", folder / "dest", scheduler="threads")
    return folder / "dest"


def export(dest: Path, path: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> pa.Table:
    monkeypatch.setenv("DICOMFLOW_EXPORT_KEY", KEY.decode())
    dicomflow.export_dataset(dest, path, "parquet", **options)  # type: ignore[arg-type]
    return pq.read_table(path)


def count_changes(values: list[object]) -> int:
    return sum(one != other for one, other in itertools.pairwise(values))


def test_an_export_bears_no_trace_of_the_order(
    dest: Path, few: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Studies and series stay together, in an order of their own; on the disk as in memory."""
    path = tmp_path_factory.mktemp("out") / "x.parquet"
    found = export(dest, path, monkeypatch)
    names = Pseudonyms(KEY)
    original = dicomflow.open_dataset(dest).to_arrow()
    for column in ("StudyInstanceUID", "SeriesInstanceUID"):
        uids = list(dict.fromkeys(original[column].to_pylist()))
        there = found[column].to_pylist()
        assert count_changes(there) == len(uids) - 1 and list(dict.fromkeys(there)) != [
            names.replace_uid(u) for u in uids
        ]
    assert found["SOPInstanceUID"].to_pylist() != [
        names.replace_uid(uid) for uid in original["SOPInstanceUID"].to_pylist()
    ]
    monkeypatch.setattr(module, "RANGE_ROWS", 65_536)
    assert export(dest, path, monkeypatch).equals(found)


def test_rows_of_a_study_are_not_told_by_their_places(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its pseudonym is not written, or says nothing, its rows lie among all others."""
    rows = export(dest, tmp_path / "x.parquet", monkeypatch, columns=["SOPInstanceUID", "Modality", "Rows"])
    study = dict(
        zip(
            map(Pseudonyms(KEY).replace_uid, dicomflow.open_dataset(dest).to_arrow()["SOPInstanceUID"].to_pylist()),
            dicomflow.open_dataset(dest).to_arrow()["StudyInstanceUID"].to_pylist(),
            strict=True,
        )
    )
    studies = [study[uid] for uid in rows["SOPInstanceUID"].to_pylist()]
    assert count_changes(studies) > 2 * len(set(studies))
    config = ExportConfig(rules={"StudyInstanceUID": "empty", "SeriesInstanceUID": "dummy"})
    emptied = export(dest, tmp_path / "y.parquet", monkeypatch, config=config)
    assert emptied["SOPInstanceUID"].to_pylist() == rows["SOPInstanceUID"].to_pylist()


def test_with_identities_the_order_is_that_of_the_dataset(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then there is nothing to hide."""
    found = export(dest, tmp_path / "x.parquet", monkeypatch, with_patient_identity=True)
    assert found.equals(dicomflow.open_dataset(dest).to_arrow())
