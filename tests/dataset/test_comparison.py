"""A listing held against a ledger a bucket at a time: what comes out is what ``compare`` says of all at once."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.dataset.changes import Mode, compare
from dicomflow.dataset.comparison import KNOWN_SCHEMA, Comparison
from dicomflow.dataset.known import count_staying
from dicomflow.model import SOURCE_FILE_SCHEMA

from .test_changes import KNOWN, LISTED, NOW, SOURCES, Rows, rows_of

STAGED = st.lists(KNOWN, max_size=2)
"""Of two attempts at a task both may be there, with rows of the same files."""


def cut(rows: pa.Table, size: int) -> Sequence[pa.Table]:
    return [rows.slice(start, size) for start in range(0, rows.num_rows, size)]


def key(row: dict[str, Any]) -> str:
    return json.dumps([row["uri"], row["member"]])


def rows_in(tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """In an order that does not depend on buckets."""
    return sorted((row for table in tables for row in table.to_pylist()), key=key)


@given(
    listed=LISTED,
    before=KNOWN,
    staged=STAGED,
    sources=st.lists(st.sampled_from(SOURCES), max_size=3),
    mode=st.sampled_from(Mode),
    memory=st.sampled_from([0, 0, 1000, 4000, 1 << 30]),
    size=st.integers(1, 12),
)
@settings(max_examples=100, deadline=None)
def test_buckets_find_what_is_found_of_all_at_once(
    listed: Rows, before: Rows, staged: list[Rows], sources: list[str], mode: Mode, memory: int, size: int
) -> None:
    """Whatever is listed, known and staged, in whatever mode and memory, in whatever pieces it comes."""
    now_listed, known = rows_of(listed, SOURCE_FILE_SCHEMA), rows_of(before, KNOWN_SCHEMA)
    taken_up = pa.concat_tables([KNOWN_SCHEMA.empty_table(), *(rows_of(rows, KNOWN_SCHEMA) for rows in staged)])
    whole = compare(now_listed, known, sources, mode, NOW)
    left = compare(whole.to_read, taken_up, [], Mode.INCREMENT, NOW)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(Path(folder) / "spill", memory)
        for rows in cut(now_listed, size):
            comparison.add_listed(rows)
        for rows in cut(known, size):
            comparison.add_known(rows)
        for rows in cut(taken_up, size):
            comparison.add_staged(rows)
        buckets = [*comparison.compare(sources, mode, NOW)]
        to_read = pa.concat_tables([left.to_read.slice(0, 0), *comparison.to_read()])
        assert not any(path.is_file() for path in Path(folder).rglob("*"))
    assert to_read.equals(left.to_read) and sum(bucket.left for bucket in buckets) == to_read.num_rows
    for name in ("settled", "replaced", "removed"):
        found = [getattr(bucket.changes, name) for bucket in buckets]
        columns = getattr(whole, name).column_names
        assert rows_in([table.select(columns) for table in found]) == rows_in([getattr(whole, name)]), name
    assert sum(bucket.changes.to_read.num_rows for bucket in buckets) == whole.to_read.num_rows
    assert sum(bucket.changes.listed for bucket in buckets) == whole.listed
    assert sum(count_staying(bucket.known, bucket.changes) for bucket in buckets) == count_staying(known, whole)
    assert np.flatnonzero(comparison.staged_kept).tolist() == sorted(left.kept.tolist())


def many(count: int, folders: int) -> Rows:
    """Files of few names in many folders."""
    return {
        (f"/s/{number % folders:05}/{number // folders}", None): {"size": 7, "mtime": 100} for number in range(count)
    }


@pytest.mark.parametrize("memory", [0, 10_000, 1 << 30])
def test_files_to_read_come_as_they_were_listed(tmp_path: Path, memory: int) -> None:
    """Neighbours in a folder stay neighbours, wherever their buckets are, and however many pieces they come in."""
    files = rows_of(dict(sorted(many(600, 20).items())), SOURCE_FILE_SCHEMA)
    comparison = Comparison(tmp_path / "spill", memory)
    for rows in cut(files, 100):
        comparison.add_listed(rows)
    buckets = sum(1 for _ in comparison.compare(["/s"], Mode.INCREMENT, NOW))
    pieces = [*comparison.to_read()]
    assert pa.concat_tables(pieces)["uri"].to_pylist() == files["uri"].to_pylist()
    assert (buckets > 5) is (len(pieces) > 5) is (memory < 1 << 30)


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """Four times as many files, all of them changed, take no more: held in memory they would."""
    few, many = (measure(tmp_path / str(files), files) for files in (40_000, 160_000))
    assert many < few + 30, (few, many)


def measure(folder: Path, files: int) -> int:
    """Peak memory in MiB of a process that compares so many files in 16 MiB."""
    call = [sys.executable, "-c", _COMPARE, str(folder), str(files)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return int(done.stdout)


_COMPARE = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from dicomflow.dataset import comparison as module, spill
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.comparison import KNOWN_SCHEMA, Comparison
from dicomflow.dataset.findings import Findings
from dicomflow.model import SOURCE_FILE_SCHEMA

MEMORY = 16 << 20
module.BUCKETS = spill.BUCKETS = 64  # little memory needs few
folder, files = Path(sys.argv[1]), int(sys.argv[2])

def rows(schema, start, size, **more):
    count = min(start + 16_384, files) - start
    names = [f"/archive/2019/1.2.840.113619.2.1/{number // 400}/series/{number}" for number in range(start, start + count)]
    columns = {"uri": names, "size": [size] * count, "mtime": pa.array(np.full(count, 1)).cast(pa.timestamp("us"))}
    columns |= {name: [value] * count for name, value in more.items()}
    return pa.table({field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}).cast(schema)

comparison, findings = Comparison(folder / "spill", MEMORY), Findings.none(folder / "spill", MEMORY)
for start in range(0, files, 16_384):
    comparison.add_listed(rows(SOURCE_FILE_SCHEMA, start, 8))
    comparison.add_known(rows(KNOWN_SCHEMA, start, 7, status="ok"))
for bucket in comparison.compare(["/archive"], Mode.INCREMENT, 10):
    findings.add(bucket.changes)
assert sum(table.num_rows for table in comparison.to_read()) == findings.replaced.num_rows == files
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
