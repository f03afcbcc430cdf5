"""Tests of dicomflow.plan."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.config import PlanConfig
from dicomflow.model import SOURCE_FILE_SCHEMA, ScanTask
from dicomflow.plan import plan_tasks, split_settled

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


def plan(files: pa.Table, fingerprint: str = "v1", workers: int = 2, **settings: int) -> list[ScanTask]:
    return plan_tasks(files, config=PlanConfig(**settings), workers=workers, fingerprint=fingerprint)


def sizes(tasks: list[ScanTask]) -> list[int]:
    return [task.files.num_rows for task in tasks]


@settings(deadline=None)
@given(FILES, CONFIGS, st.integers(1, 5), st.data())
def test_plan_is_a_partition_of_what_is_to_be_read(
    rows: list[dict[str, Any]], config: PlanConfig, workers: int, data: st.DataObject
) -> None:
    """Every file to be read is in exactly one task, in order; ids are unique, and do not depend on Arrow's chunks."""
    files = table_of(rows)
    tasks = plan_tasks(files, config=config, workers=workers, fingerprint="v1")
    to_read, settled = split_settled(files)
    joined = pa.concat_tables([files.slice(0, 0), *(task.files for task in tasks)])
    assert joined.equals(to_read)
    assert to_read.num_rows + settled.num_rows == files.num_rows
    assert len({task.task_id for task in tasks}) == len(tasks)
    cut = data.draw(st.integers(0, len(rows)))
    padded = pa.concat_tables([table_of([{"uri": "\u00e9 pad"}]), files.slice(0, cut), files.slice(cut)]).slice(1)
    again = plan_tasks(padded, config=config, workers=workers, fingerprint="v1")
    assert [task.task_id for task in again] == [task.task_id for task in tasks]


@settings(deadline=None)
@given(FILES, CONFIGS, st.integers(1, 5))
def test_tasks_are_balanced_and_within_their_limit(
    rows: list[dict[str, Any]], config: PlanConfig, workers: int
) -> None:
    """Sizes differ by one at most, and none is above what the configuration allows."""
    counts = sizes(plan_tasks(table_of(rows), config=config, workers=workers, fingerprint="v1"))
    assert not counts or max(counts) - min(counts) <= 1
    assert all(0 < count <= (config.files_per_task or config.max_files_per_task) for count in counts)


@settings(deadline=None)
@given(FILES.filter(bool), st.data())
def test_id_changes_with_whatever_a_result_depends_on(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """Another name, member, size, time or fingerprint gives another id; what listing says besides does not."""
    rows = [{**row, "status": None} for row in rows]
    (task,) = plan(table_of(rows))
    which = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["uri", "member", "size", "mtime"]))
    values = {"uri": st.text(max_size=6), "member": st.none() | st.text(max_size=3)}.get(name, st.none() | INT64)
    value = data.draw(values.filter(lambda value: value != rows[which][name]))
    changed = [{**row, name: value} if i == which else row for i, row in enumerate(rows)]
    assert plan(table_of(changed))[0].task_id != task.task_id
    assert plan(table_of(rows), fingerprint="v2")[0].task_id != task.task_id
    assert plan(table_of([{**row, "etag": "e"} for row in rows]))[0].task_id == task.task_id


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
    assert plan(table_of(one))[0].task_id != plan(table_of(other))[0].task_id


def test_id_is_xxh3_of_the_rows_column_by_column() -> None:
    """The id is the same on every machine and release: a change of it makes every dataset start again."""
    files = table_of([{"uri": "/a/é.dcm", "size": 10, "mtime": 1_700_000_000_000_000}, {"uri": "/b", "member": "x"}])
    (task,) = plan(files, fingerprint="standard-1")
    parts = [
        struct.pack("<q", 10) + b"standard-1" + struct.pack("<q", 2),
        b"\1\1" + struct.pack("<qq", 9, 2) + "/a/é.dcm/b".encode(),
        b"\0\1" + struct.pack("<qq", 0, 1) + b"x",
        b"\1\0" + struct.pack("<qq", 10, 0),
        b"\1\0" + struct.pack("<qq", 1_700_000_000_000_000, 0),
    ]
    assert task.task_id == xxhash.xxh3_128_hexdigest(b"".join(parts))


def test_id_does_not_depend_on_bytes_under_a_null() -> None:
    """What a null hides in Arrow's buffers is not part of the file."""
    hidden = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"junkx"[:4]), pa.py_buffer(b"\2")
    )
    clean = pa.array([None, "k"], pa.string())
    assert hidden.equals(clean)
    files = table_of([{"uri": "a"}, {"uri": "b"}])
    index = SOURCE_FILE_SCHEMA.get_field_index("member")
    ids = [
        plan(files.set_column(index, SOURCE_FILE_SCHEMA.field(index), column))[0].task_id for column in (hidden, clean)
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("files", "workers", "settings", "expected"),
    [
        (0, 2, {}, []),
        (1, 8, {}, [1]),
        (1000, 1, {}, [1000]),
        (1000, 2, {}, [1000]),
        (5000, 3, {}, [1666, 1667, 1667]),
        (10_000, 2, {}, [1666, 1667, 1667] * 2),
        (10_000, 0, {}, [10_000]),
        (40_000, 2, {}, [5000] * 8),
        (200_000, 1, {}, [15384, 15385, 15384, 15385, 15385, 15384, 15385, 15384, 15385, 15385, 15384, 15385, 15385]),
        (10, 2, {"files_per_task": 4}, [3, 3, 4]),
        (10, 2, {"files_per_task": 10}, [10]),
        (3, 2, {"files_per_task": 1}, [1, 1, 1]),
    ],
)
def test_task_sizes(files: int, workers: int, settings: dict[str, int], expected: list[int]) -> None:
    """A small job has few tasks, a large one enough for its workers, and none is tiny."""
    tasks = plan_tasks(numbered(files), config=PlanConfig(**settings), workers=workers, fingerprint="v1")
    assert sizes(tasks) == expected


def test_settled_rows_are_not_planned() -> None:
    """What listing settled goes to the ledger, not to a worker."""
    files = table_of([{"uri": "a"}, {"uri": "p", "status": "skipped", "code": "special_file"}, {"uri": "b"}])
    to_read, settled = split_settled(files)
    assert to_read["uri"].to_pylist() == ["a", "b"]
    assert settled["code"].to_pylist() == ["special_file"]
    assert [task.files["uri"].to_pylist() for task in plan(files)] == [["a", "b"]]


def test_task_carries_only_its_own_rows() -> None:
    """A pickled task does not drag the whole listing to its worker."""
    tasks = plan(numbered(10_000), files_per_task=100)
    assert len(pickle.dumps(tasks[50])) < 12_000
    assert pickle.loads(pickle.dumps(tasks[50])).files.equals(tasks[50].files)
    assert tasks[50].files.schema.equals(SOURCE_FILE_SCHEMA)


def test_planning_needs_no_dask_and_no_pandas() -> None:
    """Planning is pure: it brings in neither."""
    code = "import dicomflow.plan, sys; print(*sorted({'dask', 'pandas', 'pydicom'} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == ""
