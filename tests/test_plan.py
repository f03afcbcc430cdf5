"""Tests of dicomflow.plan."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow import plan
from dicomflow.config import PlanConfig
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.plan import MAX_RESERVE, cut_slice, group_files, make_task_id

INT64 = st.integers(-(2**62), 2**62)
ROWS = st.fixed_dictionaries(
    {
        "uri": st.text(max_size=6),
        "member": st.none() | st.text(max_size=3),
        "size": st.none() | INT64,
        "mtime": st.none() | INT64,
        "status": st.sampled_from([None, None, None, "failed", "skipped"]),
    }
)
FILES = st.lists(ROWS, max_size=40, unique_by=lambda row: (row["uri"], row["member"]))
CONFIGS = st.builds(
    PlanConfig,
    files_per_task=st.none() | st.integers(1, 12),
    min_files_per_task=st.integers(1, 4),
    max_files_per_task=st.integers(4, 12),
    tasks_per_worker=st.integers(1, 4),
)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [row.get(name) for row in rows] for name in SOURCE_FILE_SCHEMA.names}
    columns["mtime"] = pa.array(columns["mtime"], pa.int64()).cast(pa.timestamp("us"))
    return pa.table(columns, schema=SOURCE_FILE_SCHEMA)


def numbered(count: int) -> pa.Table:
    return table_of([{"uri": f"/data/{i:06d}", "size": i, "mtime": i} for i in range(count)])


def group(files: pa.Table, config: PlanConfig, workers: int = 2, batch_rows: int = 1_000_000) -> list[pa.Table]:
    batches = (files.slice(start, batch_rows) for start in range(0, files.num_rows, batch_rows))
    return list(group_files(batches, config=config, workers=workers))


def sizes(groups: list[pa.Table]) -> list[int]:
    return [group.num_rows for group in groups]


def id_of(rows: list[dict[str, Any]], fingerprint: str = "v1") -> str:
    return make_task_id(table_of(rows), fingerprint)


@settings(deadline=None)
@given(FILES, CONFIGS, st.integers(0, 5), st.integers(1, 50))
def test_plan_is_a_partition_of_what_is_to_be_read(
    rows: list[dict[str, Any]], config: PlanConfig, workers: int, batch_rows: int
) -> None:
    """Every file is in exactly one group, in order, none is empty, in whatever batches listing gives them; ids are unique."""
    files = table_of(rows)
    groups = group(files, config, workers, batch_rows)
    assert pa.concat_tables([files.slice(0, 0), *groups]).equals(files)
    assert all(found.num_rows for found in groups)
    assert len({make_task_id(found, "v1") for found in groups}) == len(groups)


@settings(deadline=None)
@given(st.integers(0, 300), CONFIGS, st.integers(1, 5), st.integers(1, 50))
def test_groups_are_balanced_and_within_their_limit(
    files: int, config: PlanConfig, workers: int, batch_rows: int
) -> None:
    """Of files of one size, no group is above what the configuration allows; the last ones, of which no more may come, are even."""
    largest = config.files_per_task or config.max_files_per_task
    counts = sizes(group(numbered(files), config, workers, batch_rows))
    assert all(0 < count <= largest for count in counts)
    last = list(itertools.dropwhile(lambda count: count == largest, counts))
    assert not last or max(last) - min(last) <= 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=60), st.integers(1, 12))
def test_groups_are_balanced_by_bytes_too(file_sizes: list[int], groups: int) -> None:
    """No group weighs more than its share and one file, so one giant does not hold up what stands beside it."""
    files = table_of([{"uri": f"/{i}", "size": size} for i, size in enumerate(file_sizes)])
    found = list(plan._cut(files, groups))
    weights = [plan._weigh(part)[-1] for part in found]
    heaviest = max(1 + min(size // plan._BYTES_PER_FILE, plan._MAX_WEIGHT) for size in file_sizes)
    assert len(found) == min(groups, len(file_sizes))
    assert max(weights) <= sum(weights) / len(found) + heaviest + len(found)


def test_a_file_is_drawn_no_sooner_than_it_is_needed() -> None:
    """Groups come while listing goes on: what is held is bounded, however much is listed."""
    drawn = 0

    def listing() -> Iterator[pa.Table]:
        nonlocal drawn
        for start in range(0, 10_000_000, 1000):
            drawn = start + 1000
            yield files.set_column(0, "uri", pa.array([f"/{start + i}" for i in range(1000)]))

    files = numbered(1000)
    groups = group_files(listing(), config=PlanConfig(), workers=2)
    for number in range(1, 6):
        assert next(groups).num_rows == 16_384
        assert drawn <= 16_384 * (number + 1) + 2000
    many = group_files(listing(), config=PlanConfig(), workers=100_000)
    next(many)
    assert drawn <= MAX_RESERVE + 16_384 + 1000


def test_huge_files_go_into_groups_of_their_own_size() -> None:
    """A stretch of enhanced objects of 400 MB is cut finer than one of slices."""
    files = table_of([{"uri": f"/{i}", "size": 400 << 20} for i in range(100_000)])
    assert max(sizes(group(files, PlanConfig()))) <= 2 * 16_384 // 32


@given(st.integers(0, 100), st.integers(1, 100), st.integers(2, 10))
def test_slices_of_a_task_that_is_divided(start: int, rows: int, pieces: int) -> None:
    """Together they are the task; a single file cannot be divided."""
    found = cut_slice(start, start + rows, pieces)
    assert [place for piece in found for place in range(*piece)] == list(range(start, start + rows))
    assert all(first < last for first, last in found) and len(found) == min(rows, pieces)


@settings(deadline=None)
@given(FILES.filter(bool), st.data())
def test_id_changes_with_whatever_a_result_depends_on(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """Another name, member, size, time or fingerprint gives another id; what listing says besides does not."""
    rows = [{**row, "status": None} for row in rows]
    before = id_of(rows)
    which = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["uri", "member", "size", "mtime"]))
    values = {"uri": st.text(max_size=6), "member": st.none() | st.text(max_size=3)}.get(name, st.none() | INT64)
    value = data.draw(values.filter(lambda value: value != rows[which][name]))
    changed = [{**row, name: value} if i == which else row for i, row in enumerate(rows)]
    assert id_of(changed) != before
    assert id_of(rows, fingerprint="v2") != before
    assert id_of([{**row, "etag": "e"} for row in rows]) == before
    cut = data.draw(st.integers(0, len(rows)))
    files = table_of(rows)
    padded = pa.concat_tables([table_of([{"uri": "\u00e9 pad"}]), files.slice(0, cut), files.slice(cut)]).slice(1)
    assert make_task_id(padded, "v1") == before  # whatever chunks and offsets Arrow keeps them in


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"uri": "ab"}, {"uri": "c"}], [{"uri": "a"}, {"uri": "bc"}]),
        ([{"uri": "a", "member": "b"}], [{"uri": "ab", "member": ""}]),
        ([{"uri": "a", "member": None}], [{"uri": "a", "member": ""}]),
        ([{"uri": "a", "size": None}], [{"uri": "a", "size": 0}]),
        ([{"uri": "a", "size": 1}], [{"uri": "a", "mtime": 1}]),
        ([{"uri": "a"}, {"uri": "b"}], [{"uri": "b"}, {"uri": "a"}]),
    ],
)
def test_ids_tell_neighbouring_inputs_apart(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Bytes that could be read in two ways are told apart: lengths, nulls, columns, order."""
    assert id_of(one) != id_of(other)


def test_id_is_xxh3_of_the_rows_column_by_column() -> None:
    """The id is the same on every machine and release: a change of it makes every dataset start again."""
    files = table_of([{"uri": "/a/é.dcm", "size": 10, "mtime": 1_700_000_000_000_000}, {"uri": "/b", "member": "x"}])
    parts = [
        struct.pack("<q", 10) + b"standard-1" + struct.pack("<q", 2),
        b"\1\1" + struct.pack("<qq", 9, 2) + "/a/é.dcm/b".encode(),
        b"\0\1" + struct.pack("<qq", 0, 1) + b"x",
        b"\1\0" + struct.pack("<qq", 10, 0),
        b"\1\0" + struct.pack("<qq", 1_700_000_000_000_000, 0),
    ]
    assert make_task_id(files, "standard-1") == xxhash.xxh3_128_hexdigest(b"".join(parts))


def test_id_does_not_depend_on_bytes_under_a_null() -> None:
    """What a null hides in Arrow's buffers is not part of the file."""
    hidden = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"junkx"[:4]), pa.py_buffer(b"\2")
    )
    clean = pa.array([None, "k"], pa.string())
    assert hidden.equals(clean)
    files = table_of([{"uri": "a"}, {"uri": "b"}])
    index = SOURCE_FILE_SCHEMA.get_field_index("member")
    field = SOURCE_FILE_SCHEMA.field(index)
    ids = [make_task_id(files.set_column(index, field, column), "v1") for column in (hidden, clean)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("files", "workers", "settings", "expected"),
    [
        (0, 2, {}, []),
        (1, 8, {}, [1]),
        (1000, 1, {}, [1000]),
        (1000, 2, {}, [1000]),
        (5000, 3, {}, [1667, 1667, 1666]),
        (10_000, 2, {}, [1667, 1667, 1666, 1667, 1667, 1666]),
        (10_000, 0, {}, [10_000]),
        (40_000, 2, {}, [16_384] + [2952] * 8),
        (200_000, 1, {}, [16_384] * 11 + [9888] * 2),
        (10, 2, {"files_per_task": 4}, [4, 3, 3]),
        (10, 2, {"files_per_task": 10}, [10]),
        (3, 2, {"files_per_task": 1}, [1, 1, 1]),
    ],
)
def test_task_sizes(files: int, workers: int, settings: dict[str, int], expected: list[int]) -> None:
    """A small job has few tasks, a large one enough for its workers, and none is tiny."""
    assert sizes(group(numbered(files), PlanConfig(**settings), workers)) == expected


def test_planning_needs_no_dask_and_no_pandas() -> None:
    """Planning is pure: it brings in neither."""
    code = "import dicomflow.plan, sys; print(*sorted({'dask', 'pandas', 'pydicom'} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == ""
