"""One row by its key beside a scan of the key column, in a million rows.  Nothing here asserts a time."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from conftest import cpu_of_self

from dicomflow import read_headers
from dicomflow.config import DatasetConfig
from dicomflow.dataset.lookup import RowFinder, find_row
from dicomflow.dataset.writer import DISTINCT_COLUMNS, write_data_file
from dicomflow.synth import iter_files

ROWS = 1_000_000
LAYOUTS = {"fresh": 12_500, "compact": 500_000}
"""Rows of a part: as a run writes them, and as they are after many have been merged into few."""

LOOKUPS = 15
SCANS = 3
SORTING = [(name, "ascending") for name in ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber")]


@pytest.fixture(scope="module")
def headers() -> tuple[pa.Table, pa.Schema]:
    """5,000 rows in the order of a part, text as the writer gets it; and their schema."""
    files = iter_files(files=5_000, seed=1, kinds=["ct", "mr", "pet", "cr"])
    rows = read_headers((file.data for file in files), errors="skip").sort_by(SORTING)
    repeated = {field.name for field in rows.schema if field.type == pa.string()} - DISTINCT_COLUMNS
    columns = [rows[name].combine_chunks() for name in rows.column_names]
    encoded = [
        column.dictionary_encode() if name in repeated else column
        for name, column in zip(rows.column_names, columns, strict=True)
    ]
    return pa.table(encoded, rows.column_names), rows.schema


def _tile(rows: pa.Table, start: int, stop: int, draw: np.random.Generator) -> pa.Table:
    """These rows again and again, with what differs from row to row made anew."""
    count = stop - start
    numbers = range(start, stop)
    made = {
        "SOPInstanceUID": list(map(_uid, numbers)),
        "source_uri": [f"file:///archive/{row // 200:06d}/IM{row % 200:06d}.dcm" for row in numbers],
        "header_digest": [f"{value:016x}" for value in draw.integers(0, 2**63, count).tolist()],
        "SliceLocation": draw.normal(size=count).round(4),
        "ImagePositionPatient": draw.normal(size=(count, 3)).round(4).tolist(),
    }
    table = rows.take(pa.array(np.arange(start, stop) % rows.num_rows))
    for name, values in made.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, rows.schema.field(place).type))
    return table


def _uid(row: int) -> str:
    """By turns series of UIDs that count upwards, and random ones."""
    if row // 200 % 2:
        return f"2.25.{random.Random(row).getrandbits(128)}"
    return f"1.2.840.113619.2.{row // 200 % 97}.{1_000_000 + row // 200 * 7919}.{row % 200 + 1}"


@pytest.fixture(scope="module", params=LAYOUTS)
def dataset(
    request: pytest.FixtureRequest, headers: Any, tmp_path_factory: Any
) -> Iterator[tuple[str, list[Path], Any]]:
    """A million rows of the standard profile; their parts have just been written, so they are in the page cache."""
    rows, schema = headers
    folder, size, draw = tmp_path_factory.mktemp("lookup"), LAYOUTS[request.param], np.random.default_rng(1)
    parts = []
    for start in range(0, ROWS, size):
        table = _tile(rows, start, start + size, draw)
        made = write_data_file(table, schema, "instances", folder, f"{start:07d}.parquet", DatasetConfig())
        parts.append(folder / made.path)
    yield request.param, parts, schema
    for part in parts:
        part.unlink()


@pytest.mark.benchmark(group="lookup", timer=cpu_of_self)
@pytest.mark.parametrize("key", ["present", "absent"])
def test_lookup(benchmark: Any, dataset: tuple[str, list[Path], Any], key: str) -> None:
    """A row at a time, of parts and places drawn at random, in turns with both scans."""
    layout, parts, schema = dataset
    rows = random.Random(7).sample(range(ROWS), LOOKUPS)
    uids = [_uid(row) + ("" if key == "present" else ".0") for row in rows]
    expected = int(key == "present")
    with duckdb.connect() as connection:
        ways = _ways(parts, schema, connection)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for name in ("", "_opened", "_all"):
            _cpu(ways[name], uids[0], expected)

        def measure() -> None:
            for turn, uid in enumerate(uids):
                scans = turn % (LOOKUPS // SCANS) == 0
                for name in ways if scans else ("", "_opened"):
                    found[name].append(_cpu(ways[name], uid, expected))

        benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update({f"{layout}_{key}{each}": statistics.median(times) for each, times in found.items()})


def _ways(
    parts: list[Path], schema: pa.Schema, connection: duckdb.DuckDBPyConnection
) -> dict[str, Callable[[str], int]]:
    """How to look for a key: what each returns is how many rows there are."""
    names, opened = list(map(str, parts)), RowFinder(parts, schema)

    def scan(uid: str, columns: list[str] | None = None) -> int:
        whole = pads.dataset(names, format="parquet", schema=schema)  # opened anew, as find_row opens its parts anew
        return int(whole.to_table(columns=columns, filter=pc.field("SOPInstanceUID") == uid).num_rows)

    def read_key(uid: str) -> int:
        """As pandas reads it; the row is not fetched."""
        return int(pc.index(pq.read_table(names, columns=["SOPInstanceUID"])["SOPInstanceUID"], uid).as_py() >= 0)

    def ask(uid: str) -> int:
        sql = "select * from read_parquet($parts) where SOPInstanceUID = $uid"
        return int(connection.sql(sql, params={"parts": names, "uid": uid}).to_arrow_table().num_rows)

    return {
        "": lambda uid: int(find_row(parts, schema, uid) is not None),
        "_opened": lambda uid: int(opened.find(uid) is not None),
        "_scan": lambda uid: scan(uid, ["SOPInstanceUID"]),
        "_read": read_key,
        "_duckdb": ask,
        "_all": scan,
    }


def _cpu(find: Callable[[str], int], uid: str, expected: int) -> float:
    start = cpu_of_self()
    assert find(uid) == expected
    return cpu_of_self() - start
