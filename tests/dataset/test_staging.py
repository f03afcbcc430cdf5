"""What tasks staged: taken up by the next run where it still holds, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicomflow.config import DatasetConfig
from dicomflow.dataset import staging as module
from dicomflow.dataset.changes import Mode, compare
from dicomflow.dataset.comparison import KNOWN_SCHEMA
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.staging import Schemas, Staging
from dicomflow.errors import DatasetError
from dicomflow.model import SOURCE_FILE_SCHEMA
from tests.durable.disk import Crash, dying

from .conftest import NOON, describe_schema

Stage = Callable[..., None]

RUN = NOON + timedelta(hours=1)
"""When the run began that was killed."""
NOW = int((NOON + timedelta(hours=2) - NOON.replace(1970, 1, 1, 0)) / timedelta(microseconds=1))
"""When the next one lists."""
AGES_AGO = NOON - timedelta(days=365)


@pytest.fixture
def staging(layout: Layout, instances: pa.Schema, files: pa.Schema) -> Staging:
    held = Staging(layout, Schemas(instances=instances, files=files, config=DatasetConfig()))
    held.open("job")
    return held


def read(uri: str, **more: Any) -> dict[str, Any]:
    """What a task says of a file that it read."""
    return {"uri": uri, "SOPInstanceUID": f"1.{uri}", "size": 7, "last_seen": RUN, "first_seen": RUN, **more}


def listed(*uris: str, **more: Any) -> pa.Table:
    """What the next run wants to read."""
    rows = [{"uri": uri, "size": 7, "mtime": NOON, "first_seen": AGES_AGO, **more} for uri in uris]
    return pa.Table.from_pylist(rows, SOURCE_FILE_SCHEMA.append(pa.field("first_seen", pa.timestamp("us"))))


def adopt(staging: Staging, to_read: pa.Table, now: int) -> pa.Table:
    """Take up what still holds; the files that are left to be read."""
    rows = [*staging.read_rows()]
    changes = compare(to_read, pa.concat_tables([KNOWN_SCHEMA.empty_table(), *rows]), [], Mode.INCREMENT, now)
    kept = np.zeros(sum(table.num_rows for table in rows), bool)
    kept[changes.kept] = True
    staging.keep_rows(kept)
    return changes.to_read


def staged(layout: Layout) -> dict[str, list[str]]:
    """Files by table, as they lie in staging."""
    tables = {}
    for table, name in (("files", "uri"), ("instances", "source_uri")):
        parts = sorted((layout.staging / table).glob("*.parquet"))
        tables[table] = sorted(uri for part in parts for uri in pq.read_table(part)[name].to_pylist())
    return tables


def test_what_still_holds_is_not_read_again(layout: Layout, staging: Staging, stage: Stage) -> None:
    """Files of completed tasks stay staged under their names; the rest is to be read, with what is known of it."""
    stage(layout.staging, "t1", [read("/a"), read("/b")])
    stage(layout.staging, "t2", [read("/c"), read("/d", status="not_dicom", SOPInstanceUID=None)])
    names = sorted(path.name for path in layout.staging.rglob("*.parquet"))
    left = adopt(staging, listed("/a", "/b", "/c", "/d", "/e", "/f"), NOW)
    assert left.to_pylist() == listed("/e", "/f").to_pylist()
    assert sorted(path.name for path in layout.staging.rglob("*.parquet")) == names
    assert adopt(staging, listed("/a", "/b", "/c", "/d"), NOW).num_rows == 0


def test_nothing_staged(staging: Staging) -> None:
    """Without an earlier run all is to be read."""
    assert adopt(staging, listed("/a", "/b"), NOW).to_pylist() == listed("/a", "/b").to_pylist()
    assert adopt(staging, listed(), NOW).num_rows == 0


@pytest.mark.parametrize(
    "change",
    [{"size": 8}, {"mtime": NOON + timedelta(microseconds=1)}, {"etag": "x"}, {"size": None}, {"member": "m"}],
    ids=lambda change: "-".join(change),
)
def test_a_file_that_changed_since_is_read_again(
    layout: Layout, staging: Staging, stage: Stage, change: dict[str, Any]
) -> None:
    """Its row goes from both tables, its neighbours' rows stay as they are."""
    stage(layout.staging, "t1", [read("/a", PatientID="A"), read("/b"), read("/c", PatientID="C")])
    files = pa.concat_tables([listed("/a"), listed("/b", **change), listed("/c")])
    left = adopt(staging, files, NOW)
    assert left.to_pylist() == listed("/b", **change).to_pylist()
    assert staged(layout) == {"files": ["/a", "/c"], "instances": ["/a", "/c"]}
    (part,) = staging.instances(staging.ledgers())
    assert pq.read_table(part)["PatientID"].to_pylist() == ["A", "C"]


def test_members_of_an_archive_are_told_apart(layout: Layout, staging: Staging, stage: Stage) -> None:
    """Rows of one uri stay or go by their member."""
    stage(layout.staging, "t1", [read("/z", member="a"), read("/z", member="b"), read("/z")])
    files = pa.concat_tables([listed("/z"), listed("/z", member="a", size=9), listed("/z", member="b")])
    assert adopt(staging, files, NOW).to_pylist() == listed("/z", member="a", size=9).to_pylist()
    (ledger,) = staging.ledgers()
    assert pq.read_table(ledger)["member"].to_pylist() == ["b", None]
    (part,) = staging.instances([ledger])
    assert pq.read_table(part)["source_member"].to_pylist() == ["b", None]


def test_files_that_are_gone_or_need_no_reading_leave_staging(layout: Layout, staging: Staging, stage: Stage) -> None:
    """What this run does not ask for is not published by it."""
    stage(layout.staging, "t1", [read("/a"), read("/b")])
    stage(layout.staging, "t2", [read("/c")])
    assert adopt(staging, listed("/b"), NOW).num_rows == 0
    assert staged(layout) == {"files": ["/b"], "instances": ["/b"]}


def test_failed_files_are_tried_again(layout: Layout, staging: Staging, stage: Stage) -> None:
    """A killed run's failures are not taken over: the disk may answer now."""
    stage(layout.staging, "t1", [read("/a"), read("/b", status="failed", code="io_error", SOPInstanceUID=None)])
    assert adopt(staging, listed("/a", "/b"), NOW)["uri"].to_pylist() == ["/b"]
    assert staged(layout) == {"files": ["/a"], "instances": ["/a"]}


def test_files_written_while_they_were_read_are_read_again(layout: Layout, staging: Staging, stage: Stage) -> None:
    """What changed at the time of the killed run or later may have been read half."""
    stage(layout.staging, "t1", [read("/a"), read("/b", mtime=RUN)])
    left = adopt(staging, pa.concat_tables([listed("/a"), listed("/b", mtime=RUN)]), NOW)
    assert left["uri"].to_pylist() == ["/b"] and staged(layout)["files"] == ["/a"]


@pytest.mark.parametrize("fault", ["no rows", "cut rows", "cut ledger", "empty ledger", "no ledger"])
def test_a_task_that_is_not_whole_is_read_again(layout: Layout, staging: Staging, stage: Stage, fault: str) -> None:
    """If any part of a task is missing or torn nothing of it is taken, and nothing of it stays."""
    stage(layout.staging, "t1", [read("/a"), read("/b")])
    stage(layout.staging, "t2", [read("/c")])
    ledger, rows = layout.staging / "files" / "t1.parquet", layout.staging / "instances" / "t1-0.parquet"
    hurt = rows if fault.endswith("rows") else ledger
    if fault.startswith("no"):
        hurt.unlink()
    else:
        hurt.write_bytes(hurt.read_bytes()[: -20 if fault.startswith("cut") else 0])
    assert adopt(staging, listed("/a", "/b", "/c"), NOW)["uri"].to_pylist() == ["/a", "/b"]
    assert staged(layout) == {"files": ["/c"], "instances": ["/c"]}


def test_a_task_whose_rows_are_too_few(layout: Layout, staging: Staging, stage: Stage) -> None:
    """A lost part of several is noticed by the number of rows."""
    stage(layout.staging, "t1", [read("/a"), read("/b")])
    stage(layout.staging / "more", "t1", [read("/b")])
    shutil.move(layout.staging / "more/instances/t1-0.parquet", layout.staging / "instances/t1-0.parquet")
    assert adopt(staging, listed("/a", "/b"), NOW)["uri"].to_pylist() == ["/a", "/b"]
    assert staged(layout) == {"files": [], "instances": []}


def test_two_attempts_of_one_task(layout: Layout, staging: Staging, stage: Stage) -> None:
    """A task that two workers completed counts once; what an attempt left without a ledger goes."""
    for attempt in ("t1-aaaaaaaa", "t1-bbbbbbbb", "t1-cccccccc"):
        stage(layout.staging, attempt, [read("/a"), read("/b")])
    (layout.staging / "files" / "t1-cccccccc.parquet").unlink()
    assert adopt(staging, listed("/a", "/b", "/c"), NOW)["uri"].to_pylist() == ["/c"]
    assert staged(layout) == {"files": ["/a", "/b"], "instances": ["/a", "/b"]}


def test_two_attempts_that_saw_different_files(layout: Layout, staging: Staging, stage: Stage) -> None:
    """Rows are taken once, from whichever attempt still holds."""
    stage(layout.staging, "t1-aaaaaaaa", [read("/a"), read("/b")])
    stage(layout.staging, "t1-bbbbbbbb", [read("/a"), read("/b"), read("/c")])
    assert adopt(staging, listed("/a", "/b", "/c"), NOW).num_rows == 0
    assert staged(layout) == {"files": ["/a", "/b", "/c"], "instances": ["/a", "/b", "/c"]}


@pytest.mark.parametrize("step", range(1, 17))
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_it_takes_up(layout: Layout, staging: Staging, stage: Stage, step: int, after: bool) -> None:
    """Killed at any write or removal of taking up, the next run takes up the same rows, each once."""
    stage(layout.staging, "t1-aaaaaaaa", [read("/a"), read("/b")])
    stage(layout.staging, "t2-aaaaaaaa", [read("/c"), read("/d")])
    files = pa.concat_tables([listed("/a"), listed("/b", size=1), listed("/c"), listed("/d", size=1)])
    with dying(step, after=after, changes=[(module, "write_data_file"), (Path, "unlink")]), pytest.raises(Crash):
        adopt(staging, files, NOW)
    left = adopt(staging, files, NOW)
    assert staged(layout) == {"files": ["/a", "/c"], "instances": ["/a", "/c"]}
    assert left["uri"].to_pylist() == ["/b", "/d"]


def test_parts_that_are_written_again_are_like_all_others(
    layout: Layout, staging: Staging, stage: Stage, instances: pa.Schema, files: pa.Schema
) -> None:
    """Schema and metadata are the very same."""
    stage(layout.staging, "t1", [read("/a"), read("/b")])
    adopt(staging, listed("/a"), NOW)
    for part, schema in ((staging.ledgers()[0], files), (staging.instances(staging.ledgers())[0], instances)):
        assert describe_schema(pq.read_schema(part)) == describe_schema(schema)


def test_many_tasks_of_several_parts(layout: Layout, staging: Staging, stage: Stage) -> None:
    """Rows are found in whichever part of a task they lie, and a part that loses all of them is gone."""
    for number in range(3):
        stage(layout.staging, f"t{number}", [read(f"/{number}a"), read(f"/{number}b")])
        (layout.staging / f"instances/t{number}-0.parquet").unlink()
        for piece, uri in enumerate("ab"):
            stage(layout.staging / "x", f"t{number}", [read(f"/{number}{uri}")])
            name = f"instances/t{number}-{piece}.parquet"
            (layout.staging / f"x/instances/t{number}-0.parquet").rename(layout.staging / name)
    left = adopt(staging, listed("/0a", "/0b", "/1b", "/2a", "/3a"), NOW)
    assert left["uri"].to_pylist() == ["/3a"]
    assert staged(layout) == {"files": ["/0a", "/0b", "/1b", "/2a"], "instances": ["/0a", "/0b", "/1b", "/2a"]}
    assert len(list((layout.staging / "instances").iterdir())) == 4


# ---- the job ---------------------------------------------------------------------------------------------------------


def test_the_same_job_finds_what_was_staged(layout: Layout, staging: Staging, stage: Stage) -> None:
    """Only for the same columns, settings and versions is anything kept."""
    stage(layout.staging, "t1", [read("/a")])
    staging.open("job")
    assert len(staging.ledgers()) == 1
    staging.open("another job")
    assert staging.ledgers() == [] and [path.name for path in layout.staging.iterdir()] == ["job.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"job": 1}', '{"job": {"job": "job"}}', "[" * 100_000, "\xff"])
def test_a_record_of_the_job_that_is_none(layout: Layout, staging: Staging, stage: Stage, text: str) -> None:
    """What was staged for nobody knows what is thrown away."""
    stage(layout.staging, "t1", [read("/a")])
    layout.job_record.write_bytes(text.encode("latin-1"))
    staging.open("job")
    assert staging.ledgers() == []
    stage(layout.staging, "t1", [read("/a")])
    staging.open("job")
    assert len(staging.ledgers()) == 1


def test_staging_that_cannot_be_written(layout: Layout, staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one line."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DatasetError, match=r"job\.json: cannot be written: No space left on device$"):
        staging.open("another job")


def test_parts_of_a_task_and_no_others(layout: Layout, staging: Staging, stage: Stage) -> None:
    """A task whose name begins like another's is another one."""
    for task in ("t1", "t10", "t1-0"):
        stage(layout.staging, task, [read("/a")])
    ledgers = [ledger for ledger in staging.ledgers() if ledger.stem == "t1"]
    assert [part.name for part in staging.instances(ledgers)] == ["t1-0.parquet"]
    staging.keep_only(ledgers)
    assert sorted(path.name for path in layout.staging.rglob("*.parquet")) == ["t1-0.parquet", "t1.parquet"]
