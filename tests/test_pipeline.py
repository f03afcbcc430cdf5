"""From files to a dataset: the same dataset whoever computes it, and nothing lost whatever happens."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.dataset import storage, transaction
from dicomflow.dataset.commit import redo
from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.errors import CommitFailed, ComputeError, ConfigError, DatasetError, DatasetLocked, SourceError
from dicomflow.summary import RunSummary, Totals
from dicomflow.synth import make_series, write_studies

FILES = 240
HOME = Path(dicomflow.__file__).parents[1]
RUN_COLUMNS = {"run_id", "first_seen", "last_seen"}
QUIET = {"compute__dashboard_address": "", "plan__files_per_task": 30}


def extract(source: Any, dest: Path, **options: Any) -> RunSummary:
    return dicomflow.extract(source, dest, **{**QUIET, **options})


def read_all(dest: Path) -> dict[str, list[dict[str, Any]]]:
    """All tables, in an order of their own, without what differs from run to run."""
    tables = {}
    for name, key in (("instances", "source_uri"), ("files", "uri"), ("conflicts", "source_uri")):
        rows = [row for part in sorted((dest / name).glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
        kept = [{column: value for column, value in row.items() if column not in RUN_COLUMNS} for row in rows]
        tables[name] = sorted(kept, key=lambda row: row[key])
    return tables


def present(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same tables, without the ledger rows of files that are gone."""
    return {**tables, "files": [row for row in tables["files"] if row["status"] != "removed"]}


def leftovers(dest: Path, *, stopped: bool = False) -> list[Path]:
    """What a run may not leave: temporary files, locks, records; staged parts, if it was not stopped half-way."""
    private = dest / "_dicomflow"
    kept = {private / "dataset.json", private / "runs", *(private / "runs").glob("*.json")}
    if stopped:
        kept |= {private / "staging", private / "staging" / "job.json", *(private / "staging").glob("[fir]*")}
        kept |= {
            *(private / "staging").glob("*/*.parquet"),
            *(private / "staging").glob("records/*.arrow"),
            *(private / "staging").glob("*/.*.tmp"),
        }
    tables = {part for name in TABLES for part in (dest / name).glob("*.parquet")}
    folders = {dest / name for name in TABLES}
    return [path for path in dest.rglob("*") if path not in kept | tables | folders | {private}]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of all kinds, every tenth file with a fault."""
    folder = tmp_path_factory.mktemp("pipeline") / "source"
    write_studies(folder, files=FILES, seed=3, corrupt=0.1)
    return folder


@pytest.fixture(scope="module")
def reference(source: Path) -> Path:
    """The dataset of one thread."""
    dest = source.parent / "reference"
    extract(source, dest, compute__scheduler="threads", compute__workers=1)
    return dest


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Six files, one study each."""
    folder = tmp_path / "small"
    folder.mkdir()
    for number, file in enumerate([*make_series("ct", instances=3), *make_series("mr", instances=3)]):
        (folder / f"f{number}").write_bytes(file.data)
    return folder


# ---- the dataset -----------------------------------------------------------------------------------------------------


def test_nothing_is_lost(source: Path, reference: Path) -> None:
    """Each file has one ledger row; each key one row; rows and ledger say the same."""
    tables = read_all(reference)
    listed = sorted(str(path) for path in source.rglob("*") if path.is_file())
    assert [row["uri"] for row in tables["files"]] == listed and len(listed) == FILES
    readable = [row for row in tables["files"] if row["status"] in ("ok", "partial")]
    assert [row["source_uri"] for row in tables["instances"]] == [row["uri"] for row in readable]
    keys = [row["SOPInstanceUID"] for row in tables["instances"]]
    assert len(set(keys)) == len(keys) and None not in keys
    assert set(keys) == {row["SOPInstanceUID"] for row in tables["files"] if row["SOPInstanceUID"] is not None}
    conflicts = [row["uri"] for row in tables["files"] if row["status"] == "conflict"]
    assert conflicts and [row["source_uri"] for row in tables["conflicts"]] == conflicts
    assert {"ok", "partial", "duplicate", "conflict", "failed", "not_dicom", "skipped"} == {
        row["status"] for row in tables["files"]
    }
    assert leftovers(reference) == []


def test_conflicts_keep_the_full_row(source: Path, reference: Path, tmp_path: Path) -> None:
    """What lost is kept as it would stand in instances if it were alone."""
    for lost in read_all(reference)["conflicts"]:
        alone = tmp_path / Path(lost["source_uri"]).name
        extract(lost["source_uri"], alone)
        assert read_all(alone)["instances"] == [lost]


def test_all_parts_are_alike(source: Path, reference: Path, tmp_path: Path) -> None:
    """All parts of a table have one schema with the tags of its fields; rows are sorted; checksums hold."""
    for name in ("instances", "files"):
        parts = sorted((reference / name).glob("*.parquet"))
        schemas = {pq.read_schema(part).serialize().to_pybytes() for part in parts}
        assert len(parts) == FILES / 30 and len(schemas) == 1
        assert all(pq.read_table(part, page_checksum_verification=True).num_rows for part in parts)
    schema = pq.read_schema(next((reference / "instances").glob("*.parquet")))
    assert schema.field("PatientID").metadata[b"dicom.tag"] == b"(0010,0020)"
    assert schema.names[0] == "SOPInstanceUID" and not schema.field(0).nullable
    assert schema.metadata[b"dicomflow.format"] == b"2" and schema.metadata[b"dicomflow.profile"] == b"standard"
    names = ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber")
    for part in (reference / "instances").glob("*.parquet"):
        rows = pq.read_table(part, columns=list(names)).to_pylist()
        order = [tuple((row[name] is None, row[name] or 0) if name == names[2] else (row[name] is None, row[name] or "")
                       for name in names) for row in rows]  # fmt: skip
        assert order == sorted(order)


def test_plain_readers_agree(reference: Path) -> None:
    """pandas, DuckDB, Polars and Dask read the folder as it is."""
    import duckdb
    import pandas as pd

    pl = pytest.importorskip("polars")
    dd = pytest.importorskip("dask.dataframe")
    for table, key in (("instances", "SOPInstanceUID"), ("files", "uri"), ("conflicts", "source_uri")):
        expected = sorted(row[key] for row in read_all(reference)[table])
        folder = reference / table
        assert sorted(pd.read_parquet(folder)[key]) == expected
        assert sorted(row[0] for row in duckdb.sql(f"select {key} from '{folder}/*.parquet'").fetchall()) == expected
        assert sorted(pl.read_parquet(f"{folder}/*.parquet")[key]) == expected
        assert sorted(dd.read_parquet(folder, columns=[key])[key].compute(scheduler="sync")) == expected


def test_summary_says_what_the_dataset_says(source: Path, reference: Path, tmp_path: Path) -> None:
    """The numbers of the summary are those of the tables, and stages bear the names of the house."""
    seen: list[str] = []
    summary = extract(source, tmp_path / "d", progress=lambda stage, _: seen.append(stage))
    tables = read_all(tmp_path / "d")
    assert (summary.files, summary.rows) == (len(tables["files"]), len(tables["instances"])) == (FILES, summary.rows)
    counted: dict[tuple[str, str | None], int] = {}
    for row in tables["files"]:
        counted[row["status"], row["code"]] = counted.get((row["status"], row["code"]), 0) + 1
    assert {(status, code): count for status, code, count in summary.outcomes} == counted
    assert summary.issues >= sum(len(row["issues"] or ()) for row in tables["instances"])
    assert list(dict.fromkeys(seen)) == ["list", "scan", "publish"]  # planned as it is listed
    assert set(summary.stages) == {"list", "plan", "scan", "tasks", "publish"}
    assert summary.tasks == FILES / 30 and summary.file_bytes == sum(row["size"] for row in tables["files"])


# ---- schedulers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"compute__scheduler": "threads", "compute__workers": 3, "plan__files_per_task": 7},
        {"compute__scheduler": "in-process", "compute__workers": 2},
        {"compute__scheduler": "in-process", "header__batch_rows": 5, "header__prefix_bytes": 1024},
        {"compute__scheduler": "processes", "compute__workers": 2},
    ],
    ids=["threads", "in-process", "small-batches", "processes"],
)
def test_same_dataset_everywhere(source: Path, reference: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Rows, ledger and conflicts do not depend on scheduler, tasks and batches."""
    summary = extract(source, tmp_path / "d", **options)
    assert summary.scheduler == options["compute__scheduler"]
    assert read_all(tmp_path / "d") == read_all(reference)
    assert leftovers(tmp_path / "d") == []


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A Dask scheduler and a worker, as an administrator would start them."""
    said = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    where = ["--scheduler-file", str(said), "--no-dashboard"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *where]
    worker = [*dask, "worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", *where]
    path = os.pathsep.join([str(HOME), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    started = []
    try:
        for command in (scheduler, worker):
            started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path))
            deadline = time.monotonic() + 60
            while not said.exists() or not said.read_text().strip().endswith("}"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        import json

        yield json.loads(said.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def test_same_dataset_on_a_cluster(source: Path, reference: Path, tmp_path: Path, address: str) -> None:
    """A scheduler at an address gives the same dataset, and is still there for the next run."""
    for _ in range(2):
        assert extract(source, tmp_path / "d", compute__scheduler=address).scheduler == address
        assert read_all(tmp_path / "d") == read_all(reference)


def test_a_worker_that_is_killed(source: Path, reference: Path, tmp_path: Path) -> None:
    """Dask runs a lost worker's tasks again; the dataset is as if nothing had happened."""
    killed: list[int] = []

    def kill(stage: str, totals: Totals) -> None:
        if stage == "scan" and totals.tasks_done >= 2 and not killed:
            children = psutil.Process().children(recursive=True)
            worker = next(child for child in children if any("spawn_main" in word for word in child.cmdline()))
            killed.append(worker.pid)
            worker.kill()

    options = {"compute__scheduler": "processes", "compute__workers": 2, "plan__files_per_task": 5}
    summary = extract(source, tmp_path / "d", progress=kill, **options)
    assert killed and summary.files == FILES
    assert read_all(tmp_path / "d") == read_all(reference)


@pytest.mark.parametrize("is_whole", [False, True])
def test_parts_that_no_result_names(small: Path, tmp_path: Path, is_whole: bool) -> None:
    """What a lost worker left in staging beside the parts of the task's second try is not published, even if it was done."""
    dest = tmp_path / "d"

    def plant(stage: str, totals: Totals) -> None:
        if stage == "scan" and totals.tasks_done == 1:
            (part,) = dest.glob("_dicomflow/staging/instances/*.parquet")
            (ledger,) = dest.glob("_dicomflow/staging/files/*.parquet")
            other = f"{ledger.stem.partition('-')[0]}-00000000"
            shutil.copy(part, part.with_name(f"{other}-0.parquet"))
            if is_whole:
                shutil.copy(ledger, ledger.with_name(f"{other}.parquet"))

    assert extract(small, dest, progress=plant).rows == 6
    assert len(read_all(dest)["instances"]) == len(read_all(dest)["files"]) == 6 and leftovers(dest) == []


def test_a_worker_that_was_given_up_and_finishes_late(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What appears in staging after the books were closed is not published, though it is whole."""
    dest, real = tmp_path / "d", transaction.deduplicate

    def finish_late(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        for part in dest.glob("_dicomflow/staging/*/*.parquet"):
            task, _, rest = part.name.partition("-")
            shutil.copy(part, part.with_name(f"{task}-00000000{rest[8:]}"))
        return found

    monkeypatch.setattr(transaction, "deduplicate", finish_late)
    assert extract(small, dest).rows == 6
    assert len(read_all(dest)["instances"]) == len(read_all(dest)["files"]) == 6 and leftovers(dest) == []


# ---- again and again -------------------------------------------------------------------------------------------------


def test_a_second_run_over_the_same_files(source: Path, reference: Path, tmp_path: Path) -> None:
    """It reads what failed, and nothing else; not a byte of the data is written again, and the numbers are those of all."""
    dest = tmp_path / "d"
    shutil.copytree(reference, dest)
    parts = {path: (path.stat().st_ino, path.read_bytes()) for path in dest.rglob("*.parquet")}
    summary = extract(source, dest)
    failed = sum(row["status"] == "failed" for row in read_all(dest)["files"])
    assert (summary.read, summary.unchanged, summary.version) == (failed, FILES - failed, 1) and failed
    assert (summary.files, summary.removed, summary.resumed) == (FILES, 0, 0)
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in dest.rglob("*.parquet")} == parts
    assert leftovers(dest) == [] and len(list((dest / "_dicomflow/runs").iterdir())) == 2


def test_a_run_reads_what_is_new_or_changed(small: Path, tmp_path: Path) -> None:
    """What is gone from the tree is gone from the dataset, what is new is in it; the rest is not read."""
    extract(small, tmp_path / "d")
    (small / "f0").unlink()
    os.utime(small / "f1", (1_000_000_000, 1_000_000_000))
    (small / "new").write_bytes(next(iter(make_series("us"))).data)
    summary = extract(small, tmp_path / "d")
    assert (summary.files, summary.read, summary.unchanged, summary.removed) == (6, 2, 4, 1)
    extract(small, tmp_path / "fresh")
    assert present(read_all(tmp_path / "d")) == read_all(tmp_path / "fresh") and leftovers(tmp_path / "d") == []
    gone = [row["uri"] for row in read_all(tmp_path / "d")["files"] if row["status"] == "removed"]
    assert gone == [str(small / "f0")] and summary.rows == 6
    assert extract(small, tmp_path / "d").read == 0


def test_a_full_run_replaces_the_first(small: Path, tmp_path: Path) -> None:
    """With --full everything is read again, also with other columns; both runs have their record."""
    extract(small, tmp_path / "d", columns="standard")
    (small / "f0").unlink()
    (small / "new").write_bytes(next(iter(make_series("us"))).data)
    with pytest.raises(DatasetError, match="columns of profile 'standard', this run asks for others"):
        extract(small, tmp_path / "d", columns="minimal")
    assert extract(small, tmp_path / "d", columns="minimal", mode="full").read == 6
    extract(small, tmp_path / "fresh", columns="minimal")
    assert present(read_all(tmp_path / "d")) == read_all(tmp_path / "fresh") and leftovers(tmp_path / "d") == []
    assert len(list((tmp_path / "d" / "_dicomflow" / "runs").iterdir())) == 2
    assert dicomflow.open_dataset(tmp_path / "d").snapshot.profile == "minimal"


def test_columns_that_nobody_names_are_those_of_the_dataset(small: Path, tmp_path: Path) -> None:
    """Whatever they are, and wherever the file of the profile is now; named and different they are refused, with the choice."""
    own, dest = tmp_path / "own.yaml", tmp_path / "d"
    own.write_text(
        "profile: ours\ncolumns: [Modality, PixelSpacing: {functional_group: PixelMeasuresSequence}, "
        '{name: B, private: {creator: "SIEMENS MR HEADER", group: 0x0019, element: 0x0C}, vr: IS}]\n'
    )
    extract(small, dest, columns=str(own))
    before = dicomflow.open_dataset(dest)
    with pytest.raises(DatasetError, match=r"profile 'ours', this run asks for others .* name no columns to keep"):
        extract(small, dest, columns="standard")
    with pytest.raises(DatasetError, match="asks for others"):
        extract(small, dest, config=dicomflow.Config(columns="standard"), scheduler="threads")
    own.unlink()
    (small / "new").write_bytes(next(iter(make_series("us"))).data)
    summary = extract(small, dest)
    after = dicomflow.open_dataset(dest)
    assert (summary.read, summary.profile, after.snapshot.profile) == (1, "ours", "ours")
    assert after.schema.equals(before.schema, check_metadata=True) and after.instances.count_rows() == 7
    assert {row["Modality"] for row in after.to_arrow().to_pylist()} >= {"US"}
    assert extract(small, dest, config=dicomflow.Config(), mode="full").read == 7
    assert dicomflow.open_dataset(dest).snapshot.profile == "ours"
    assert extract(small, dest, mode="retry_failed", scheduler="threads").version == 3


def test_columns_of_damaged_parts(small: Path, tmp_path: Path) -> None:
    """A built-in profile is known without them; of one's own one whole part is enough; of none they must be named."""
    own = tmp_path / "own.yaml"
    own.write_text("profile: ours\ncolumns: [Modality]\n")
    for columns, says in (("minimal", None), (str(own), "no part of it says what its columns are")):
        dest = tmp_path / f"d{len(columns)}"
        extract(small, dest, columns=columns)
        for table in ("instances", "conflicts"):
            for part in (dest / table).iterdir():
                part.write_bytes(b"PAR1")
        if says:
            with pytest.raises(DatasetError, match=says):
                extract(small, dest, mode="full")
        extract(small, dest, mode="full", **({"columns": columns} if says else {}))
        assert dicomflow.open_dataset(dest).instances.count_rows() == 6
        assert dicomflow.verify_dataset(dest).whole


@pytest.mark.parametrize("mode", ["bogus", "FULL", ""])
def test_a_mode_that_is_none(small: Path, tmp_path: Path, mode: str) -> None:
    """One line that names those that there are; nothing is touched."""
    with pytest.raises(ConfigError, match=r"mode: .* is none; there are increment, full, retry_failed, add_columns"):
        extract(small, tmp_path / "d", mode=mode)
    assert not (tmp_path / "d").exists()


def test_retrying_reads_what_failed_and_nothing_else(small: Path, tmp_path: Path) -> None:
    """New, changed and removed files wait for an ordinary run."""
    (small / "bad").symlink_to(small / "nothing")
    assert extract(small, tmp_path / "d").failed == 1
    (small / "new").write_bytes((small / "f0").read_bytes())
    (small / "f1").unlink()
    (small / "nothing").write_bytes(next(iter(make_series("us"))).data)
    summary = extract(small, tmp_path / "d", mode="retry_failed")
    assert (summary.read, summary.failed, summary.rows, summary.removed) == (1, 0, 7, 0)
    assert extract(small, tmp_path / "d").read == 2


def test_a_copy_is_read_when_its_original_is_gone(small: Path, tmp_path: Path) -> None:
    """Of copies one row is kept; when that file goes another copy's row takes its place."""
    for name in ("copy1", "copy2"):
        shutil.copy(small / "f0", small / name)
        os.utime(small / name, (1_000_000_000, 1_000_000_000))
    assert extract(small, tmp_path / "d").rows == 6
    (small / "f0").unlink()
    summary = extract(small, tmp_path / "d")
    assert (summary.files, summary.read, summary.rows) == (7, 1, 6)
    statuses = {Path(row["uri"]).name: row["status"] for row in read_all(tmp_path / "d")["files"]}
    assert (statuses["copy1"], statuses["copy2"], statuses["f0"]) == ("ok", "duplicate", "removed")


def test_winners_do_not_depend_on_order(small: Path, tmp_path: Path) -> None:
    """Of equal files the newest counts, then the lowest name, whichever SOURCE is named first."""
    other = tmp_path / "other"
    shutil.copytree(small, other)
    os.utime(other / "f1", (2_000_000_000, 2_000_000_000))
    for number, sources in enumerate(([small, other], [other, small])):
        extract(sources, tmp_path / f"d{number}", plan__files_per_task=5 - number)
    first, second = read_all(tmp_path / "d0"), read_all(tmp_path / "d1")
    assert first == second
    assert {row["uri"]: row["status"] for row in first["files"]}[str(other / "f1")] == "ok"


def test_other_sources_are_added(small: Path, tmp_path: Path) -> None:
    """What a run does not name stays as it is; the summary counts what it names."""
    extract([small / "f0", small / "f1"], tmp_path / "d")
    before = read_all(tmp_path / "d")
    summary = extract(small / "f0", tmp_path / "d")
    assert (summary.files, summary.rows, summary.read) == (1, 1, 0) and read_all(tmp_path / "d") == before
    assert extract(small, tmp_path / "d").read == 4
    sibling = small.with_name("small2")
    shutil.copytree(small, sibling)
    summary = extract(sibling, tmp_path / "d")
    assert (summary.files, summary.read) == (6, 6)
    tables = read_all(tmp_path / "d")
    assert len(tables["files"]) == 12 and len(tables["instances"]) == 6
    assert dicomflow.open_dataset(tmp_path / "d").snapshot.sources == [str(sibling), str(small)]
    extract([small, sibling], tmp_path / "fresh")
    assert tables == read_all(tmp_path / "fresh")


def test_another_format_is_refused(small: Path, tmp_path: Path) -> None:
    """A dataset of a later version is left alone."""
    extract(small, tmp_path / "d")
    description = tmp_path / "d" / "_dicomflow" / "dataset.json"
    description.write_text(description.read_text().replace('"format": "2"', '"format": "99"'))
    with pytest.raises(DatasetError, match="has format '99', this version reads '2'"):
        extract(small, tmp_path / "d")


def test_second_writer(small: Path, tmp_path: Path) -> None:
    """While one run writes, another is refused and names it; the first goes on."""
    refused: list[str] = []

    def intrude(stage: str, _: Totals) -> None:
        if stage == "publish":
            with pytest.raises(DatasetLocked, match=f"process {os.getpid()}") as caught:
                extract(small, tmp_path / "d")
            refused.append(str(caught.value))

    assert extract(small, tmp_path / "d", progress=intrude).rows == 6 and len(refused) == 1


# ---- odd sources -----------------------------------------------------------------------------------------------------


def test_no_files_at_all(tmp_path: Path) -> None:
    """An empty folder gives a dataset with empty tables that plain readers can read."""
    import duckdb
    import pandas as pd

    (tmp_path / "empty").mkdir()
    summary = extract(tmp_path / "empty", tmp_path / "d", columns="minimal")
    assert (summary.files, summary.rows, summary.tasks, summary.outcomes) == (0, 0, 0, ())
    for table, column in (("instances", "Modality"), ("files", "status")):
        frame = pd.read_parquet(tmp_path / "d" / table)
        assert len(frame) == 0 and column in frame.columns
        assert duckdb.sql(f"select count(*) from '{tmp_path}/d/{table}/*.parquet'").fetchall() == [(0,)]
    dataset = dicomflow.open_dataset(tmp_path / "d")
    assert dataset.to_arrow().num_rows == dataset.sql("from files").num_rows == 0


def test_no_dicom_at_all(tmp_path: Path) -> None:
    """Files that are none of ours have their ledger rows, and instances is there without rows."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.txt").write_text("hello")
    os.mkfifo(tmp_path / "s" / "fifo")
    summary = extract(tmp_path / "s", tmp_path / "d")
    assert summary.outcomes == (("not_dicom", "no_dicom_header", 1), ("skipped", "special_file", 1))
    assert dicomflow.open_dataset(tmp_path / "d").to_pandas().empty


def test_an_empty_folder_beside_a_full_one(small: Path, tmp_path: Path) -> None:
    """A SOURCE without files is no fault."""
    (tmp_path / "empty").mkdir()
    assert extract([tmp_path / "empty", small], tmp_path / "d").rows == 6


def test_one_file_and_overlapping_sources(small: Path, tmp_path: Path) -> None:
    """A file may be a SOURCE; what several SOURCEs reach is read once."""
    assert extract(str(small / "f0"), tmp_path / "one").files == 1
    summary = extract([small, small / "f0", small.parent / "small", small / "." / "f1"], tmp_path / "many")
    assert (summary.files, summary.rows) == (6, 6)


def test_destination_inside_the_source(small: Path, tmp_path: Path) -> None:
    """The dataset does not read itself, at the first run nor at the second."""
    for _ in range(2):
        assert extract(small, small / "headers").files == 6
    with pytest.raises(SourceError, match="is the destination itself"):
        extract(small / "headers", small / "headers")


def test_columns_of_ones_own(small: Path, tmp_path: Path) -> None:
    """A profile of one's own decides the columns; a wrong one is refused before anything is made."""
    profile = tmp_path / "own.yaml"
    profile.write_text("profile: own\ncolumns: [PatientID, {name: Spacing, path: PixelSpacing}]\n")
    extract(small, tmp_path / "d", columns=str(profile))
    names = dicomflow.open_dataset(tmp_path / "d").schema.names
    assert names[:3] == ["SOPInstanceUID", "PatientID", "Spacing"] and names[3] == "source_uri"
    profile.write_text("profile: own\ncolumns: [PatientIDD]\n")
    with pytest.raises(ConfigError, match="PatientIDD"):
        extract(small, tmp_path / "new", columns=str(profile))
    assert not (tmp_path / "new").exists()


def test_settings_from_everywhere(small: Path, tmp_path: Path) -> None:
    """A Config, a file, and options by name are one thing; options win."""
    settings = tmp_path / "c.yaml"
    settings.write_text("columns: minimal\nplan: {files_per_task: 2}\n")
    assert dicomflow.extract(small, tmp_path / "a", config=settings).tasks == 3
    config = dicomflow.load_config(settings, {})
    assert dicomflow.extract(small, tmp_path / "b", config=config).profile == "minimal"
    summary = dicomflow.extract(small, tmp_path / "c", config=config, plan__files_per_task=1, columns="standard")
    assert (summary.tasks, summary.profile) == (6, "standard")
    with pytest.raises(ConfigError, match="unknown key"):
        extract(small, tmp_path / "d", compute__worker=1)


@pytest.mark.parametrize("sources", ["missing", [], ["small", "missing"], "s3://bucket/x", ""])
def test_sources_that_are_not_there(small: Path, tmp_path: Path, sources: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once, and DEST is not even made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError):
        extract(sources, tmp_path / "d")
    assert not (tmp_path / "d").exists()


# ---- faults ----------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


def test_unreachable_scheduler_leaves_the_dataset(small: Path, tmp_path: Path) -> None:
    """A run that cannot start changes nothing."""
    extract(small, tmp_path / "d")
    before = read_all(tmp_path / "d")
    with pytest.raises(ComputeError):
        extract(
            small, tmp_path / "d", mode="full", compute__scheduler="tcp://127.0.0.1:9", compute__connect_timeout=1.0
        )
    assert read_all(tmp_path / "d") == before and leftovers(tmp_path / "d", stopped=True) == []


def test_full_disk(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that cannot write ends the run with one line; the old dataset stays, and the next run works."""
    extract(small, tmp_path / "d")
    before = read_all(tmp_path / "d")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", fail)
        with pytest.raises(DatasetError, match="cannot be written: No space left on device") as caught:
            extract(small, tmp_path / "d", mode="full")
    assert "\n" not in str(caught.value)
    assert read_all(tmp_path / "d") == before and leftovers(tmp_path / "d", stopped=True) == []
    assert extract(small, tmp_path / "d", mode="full").rows == 6 and leftovers(tmp_path / "d") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(source: Path, small: Path, small_disk: Path) -> None:
    """On a small disk a run that does not fit leaves the dataset of the one that did; the next run gives the space back."""
    dest = small_disk / "d"
    extract(small, dest, columns="minimal")
    before, free = read_all(dest), os.statvfs(small_disk).f_bavail
    with pytest.raises(DatasetError, match=r"No space left on device") as caught:
        extract([small, source], dest, plan__files_per_task=3, columns="minimal")
    assert "\n" not in str(caught.value)
    assert read_all(dest) == before and leftovers(dest, stopped=True) == []
    assert extract(small, dest, columns="minimal").rows == 6
    assert leftovers(dest) == [] and free - os.statvfs(small_disk).f_bavail <= 2  # one record of a run


def test_crash_while_publishing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies at any step of its publish leaves either the old dataset or what the next run completes."""
    extract(small, tmp_path / "old")
    (small / "f0").unlink()
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    extract(small, tmp_path / "new")
    old, new = read_all(tmp_path / "old"), read_all(tmp_path / "new")
    ends = []
    for last in range(1, 20):
        dest, steps = tmp_path / f"d{last}", [0]
        shutil.copytree(tmp_path / "old", dest)

        def die(real: Callable[..., Any], steps: list[int] = steps, last: int = last) -> Callable[..., Any]:
            def call(*paths: Any) -> Any:
                steps[0] += 1
                if steps[0] >= last:
                    raise Crash
                return real(*paths)

            return call

        def publish(*arguments: Any, real: Any = transaction.publish, die: Any = die) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(os, "link", die(os.link))  # of the record
                patch.setattr(os, "replace", die(os.replace))
                patch.setattr(storage, "_swap", die(storage._swap))
                real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(transaction, "publish", publish)
            with contextlib.suppress(Crash):
                extract(small, dest)
        assert not (dest / "_dicomflow" / "lock").exists()
        if steps[0] < last:
            break
        seen = len(dicomflow.open_dataset(dest).to_arrow())
        ends.append(redo(Layout(dest)))
        assert read_all(dest) == (new if ends[-1] else old) and seen == len(read_all(dest)["instances"])
        summary = extract(small, dest)
        assert read_all(dest) == new and leftovers(dest) == [] and summary.read == 0
    assert ends == [
        False,
        *[True] * 7,
    ]  # the record, two tables and the rollups, the description, the record of the run


def test_an_unfinished_publish_is_completed_first(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run completes what was begun, even if it then fails itself."""
    dest = tmp_path / "d"
    extract(small, dest)
    (small / "f0").unlink()
    real = storage._swap

    def swap(one: Path, other: Path) -> bool:
        if other == dest / "files":
            raise Crash
        return real(one, other)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_swap", swap)
        with pytest.raises(Crash):
            extract(small, dest)
    assert (dest / "_dicomflow" / "commit.json").exists()
    assert len(read_all(dest)["files"]) == 6 == len(read_all(dest)["instances"]) + 1
    with pytest.raises(DatasetError, match="asks for others"):
        extract(small / "f1", dest, columns="minimal")
    assert len(present(read_all(dest))["files"]) == len(read_all(dest)["instances"]) == 5 and leftovers(dest) == []


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", ["list", "plan", "scan", "publish"])
def test_interrupt_at_each_stage(small: Path, tmp_path: Path, stage: str, workers: int) -> None:
    """Whenever Ctrl-C comes the old dataset is as it was, the lock is free, and the next run takes up what was done."""
    extract(small, tmp_path / "d")
    before = read_all(tmp_path / "d")

    def press(at: str, totals: Totals) -> None:
        if at == stage and (stage != "scan" or totals.tasks_done == 2):
            raise KeyboardInterrupt

    options: dict[str, Any] = {"compute__scheduler": "threads", "compute__workers": workers, "plan__files_per_task": 1}
    with pytest.raises(KeyboardInterrupt):
        extract(small, tmp_path / "d", mode="full", progress=press, **options)
    assert read_all(tmp_path / "d") == before and leftovers(tmp_path / "d", stopped=True) == []
    summary = extract(small, tmp_path / "d", mode="full", **options)
    assert summary.rows == 6 and summary.read + summary.resumed == 6
    assert summary.resumed == {"list": 0, "plan": 0, "publish": 6}.get(stage, summary.resumed)
    assert stage != "scan" or summary.resumed >= 2
    assert read_all(tmp_path / "d") == before and leftovers(tmp_path / "d") == []


SCRIPT = """
import sys, dicomflow
def say(stage, totals):
    if stage == "scan" and totals.tasks_done == 3: print("now", flush=True)
if __name__ == "__main__":
    dicomflow.extract(sys.argv[1], sys.argv[2], progress=say, mode="full", compute__scheduler=sys.argv[3], compute__workers=2,
                      compute__dashboard_address="", plan__files_per_task=1)
"""


@pytest.mark.parametrize("scheduler", ["threads", "in-process", "processes"])
def test_ctrl_c(source: Path, reference: Path, tmp_path: Path, scheduler: str) -> None:
    """A process that gets SIGINT while it reads ends soon, leaves the old dataset and no lock, and its work is taken up."""
    dest = tmp_path / "d"
    shutil.copytree(reference, dest)
    command = [sys.executable, "-c", SCRIPT, str(source), str(dest), scheduler]
    child = subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "now\n", child.communicate()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT and "KeyboardInterrupt" in said
    assert read_all(dest) == read_all(reference) and not (dest / "_dicomflow" / "lock").exists()
    summary = extract(source, dest, mode="full")
    assert summary.resumed and summary.read < FILES and summary.files == FILES
    assert read_all(dest) == read_all(reference) and leftovers(dest) == []


def test_a_source_that_is_not_mounted_does_not_empty_the_dataset(small: Path, tmp_path: Path) -> None:
    """A run that finds nothing at all where there were files is refused, and the old dataset stays."""
    extract(small, tmp_path / "headers")
    before = read_all(tmp_path / "headers")
    for path in small.rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(DatasetError, match="nothing is there, but the dataset knows 6 files of it"):
        extract(small, tmp_path / "headers")
    assert read_all(tmp_path / "headers") == before


@pytest.mark.parametrize("table", ["files", "instances"])
def test_parts_that_a_worker_wrote_elsewhere(small: Path, tmp_path: Path, table: str) -> None:
    """A worker that sees another disk under DEST's name loses nothing in silence: nothing is published."""

    def lose(stage: str, totals: Totals) -> None:
        if stage == "publish":
            next((tmp_path / "headers/_dicomflow/staging").glob(f"{table}/*.parquet")).unlink()

    with pytest.raises(CommitFailed, match="same name"):
        extract(small, tmp_path / "headers", progress=lose)
    assert not (tmp_path / "headers/instances").exists()


@pytest.mark.parametrize("dest", ["", "s3://bucket/headers"])
def test_destinations_that_are_no_folders(small: Path, dest: str) -> None:
    """An unset variable or an address is refused, not taken for a name in the current folder."""
    with pytest.raises(DatasetError, match="folder of this machine"):
        dicomflow.extract(small, dest)


def test_a_destination_that_is_not_utf8(small: Path, tmp_path: Path) -> None:
    """It is refused before anything is read, in one printable line."""
    with pytest.raises(DatasetError, match="not UTF-8") as caught:
        dicomflow.extract(small, tmp_path / "caf\udce9")
    assert str(caught.value).isprintable()


def test_options_as_on_the_command_line(small: Path, tmp_path: Path) -> None:
    """What the command line calls --scheduler and --workers has that name in Python, too."""
    assert dicomflow.extract(small, tmp_path / "headers", scheduler="threads", workers=2).scheduler == "threads"


def test_tables_without_rows_have_a_part(small: Path, tmp_path: Path) -> None:
    """Plain readers find every table and its schema."""
    extract(small, tmp_path / "headers")
    for table in ("instances", "files", "conflicts"):
        assert pq.read_table(tmp_path / "headers" / table).num_columns > 10
