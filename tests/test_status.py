"""What is said of a dataset is what is there, and what a re-run is said to do is what it does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dicomflow
from dicomflow.dataset import commit
from dicomflow.dataset.layout import TABLES, Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.errors import DatasetError
from dicomflow.status import DatasetStatus, dataset_status
from dicomflow.synth import make_series, write_studies
from tests.dataset.tight import tight

QUIET: dict[str, Any] = {"columns": "minimal", "scheduler": "threads"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty files, a quarter of them faulty."""
    write_studies(tmp_path / "source", files=40, seed=3, corrupt=0.25)
    return tmp_path / "source"


@pytest.fixture
def dest(source: Path, tmp_path: Path) -> Path:
    dicomflow.extract(source, tmp_path / "dest", **QUIET)
    return tmp_path / "dest"


def rerun(dest: Path) -> dict[str, int]:
    """What a re-run would do, where that is anything."""
    found = dataset_status(dest).rerun
    assert found is not None
    counts = ("new", "changed", "retried", "settled", "unchanged", "removed")
    assert found.listed == sum(getattr(found, name) for name in counts) - found.removed
    return {name: getattr(found, name) for name in counts if getattr(found, name)}


def test_what_is_published(source: Path, dest: Path) -> None:
    """Tables, outcomes, sources and the run are those of the dataset; JSON holds all of it."""
    status = dataset_status(dest)
    assert (status.version, status.profile, status.sources) == (1, "minimal", (str(source),))
    for table in status.tables:
        parts = list((dest / table.name).glob("*.parquet"))
        assert table.parts == len(parts)
        assert table.bytes == sum(part.stat().st_size for part in parts)
        assert table.rows == sum(pq.read_metadata(part).num_rows for part in parts)
    assert tuple(table.name for table in status.tables) == TABLES
    assert sum(files for _, _, files in status.outcomes) == 40 and status.removed == 0
    (run,) = status.runs
    assert (run.mode, run.listed, run.read, run.removed, run.version) == ("increment", 40, 40, 0, 1)
    assert (status.writer, status.commit_pending, status.staged) == (None, False, None)
    plain = json.loads(json.dumps(status.to_dict()))
    assert plain["tables"]["files"]["rows"] == 40 and set(plain) == set(DatasetStatus.__dataclass_fields__)


def test_a_re_run_does_what_was_said(source: Path, dest: Path) -> None:
    """New, changed, failed, removed files: the run that follows reads and drops as many."""
    failed = sum(files for status, _, files in dataset_status(dest).outcomes if status == "failed")
    assert failed and rerun(dest) == {"retried": failed, "unchanged": 40 - failed}
    good = [Path(row["uri"]) for rows in dicomflow.open_dataset(dest).iter_files(["ok"]) for row in rows.to_pylist()]
    (source / "new").write_bytes(next(make_series("us", seed=9)).data)
    good[0].unlink()
    good[1].write_bytes(next(make_series("us", seed=10)).data)
    os.mkfifo(source / "fifo")
    said = rerun(dest)
    with tight():
        assert rerun(dest) == said
    assert said == {
        "new": 1, "changed": 1, "retried": failed, "settled": 1, "unchanged": 38 - failed, "removed": 1
    }  # fmt: skip
    summary = dicomflow.extract(source, dest, **QUIET)
    assert (summary.read, summary.removed) == (2 + failed, 1)
    status = dataset_status(dest)
    assert (status.version, status.removed, [run.read for run in status.runs]) == (2, 1, [2 + failed, 40])
    good[0].write_bytes(next(make_series("us", seed=11)).data)
    assert rerun(dest)["new"] == 1  # it is back


def test_no_listing(dest: Path) -> None:
    """Nothing is said of a re-run, and no SOURCE is looked at."""
    assert dataset_status(dest, listing=False).rerun is None


def test_sources_that_are_gone_or_empty(tmp_path: Path, source: Path) -> None:
    """A SOURCE that is not there, or not mounted, is said; the others are compared, and nothing counts as removed."""
    others = [tmp_path / "gone", tmp_path / "unmounted"]
    for folder in others:
        folder.mkdir()
        (folder / "f").write_bytes(next(make_series("ct", seed=len(folder.name))).data)
    dicomflow.extract([source, *others], tmp_path / "dest", **QUIET)
    for folder in others:
        (folder / "f").unlink()
    others[0].rmdir()
    found = dataset_status(tmp_path / "dest").rerun
    assert found is not None
    assert (found.listed, found.removed, len(found.problems)) == (40, 0, 2)
    assert found.problems[0] == f"{others[0]}: is not there any more" and "not mounted" in found.problems[1]


def test_a_first_run_that_was_interrupted(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is published yet, and what was read can be taken up."""
    monkeypatch.setattr("dicomflow.pipeline.run.Run._publish", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        dicomflow.extract(source, tmp_path / "dest", plan__files_per_task=10, **QUIET)
    status = dataset_status(tmp_path / "dest")
    assert (status.version, status.tables, status.rerun) == (0, (), None)
    assert status.staged is not None and (status.staged.tasks, status.staged.files) == (4, 40)
    torn = next((tmp_path / "dest/_dicomflow/staging/files").iterdir())
    torn.write_bytes(torn.read_bytes()[:100])
    staged = dataset_status(tmp_path / "dest").staged
    assert staged is not None and (staged.tasks, staged.files) == (3, 30)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_commit_that_was_not_completed(source: Path, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new version counts, wherever its parts lie; the record is mentioned."""
    (source / "new").write_bytes(next(make_series("us", seed=9)).data)
    with monkeypatch.context() as patch:
        patch.setattr(commit, "redo", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            dicomflow.extract(source, dest, **QUIET)
    status = dataset_status(dest)
    assert (status.version, status.commit_pending) == (2, True)
    assert sum(files for _, _, files in status.outcomes) == 41 and status.rerun is not None and status.rerun.new == 0
    dicomflow.extract(source, dest, **QUIET)
    assert not dataset_status(dest).commit_pending


def test_who_is_writing(dest: Path) -> None:
    """A run that lives, one that was killed, one of another host, a lock that says nothing."""
    layout = Layout(dest)
    with write_lock(layout):
        owner = dataset_status(dest).writer
        assert owner is not None and (owner.pid, owner.alive) == (os.getpid(), True)
        found = json.loads(layout.lock.read_text())
    for change, alive in (({"pid": 2**22 + 1}, False), ({"host": "elsewhere"}, None)):
        layout.lock.write_text(json.dumps({**found, **change}))
        owner = dataset_status(dest).writer
        assert owner is not None and owner.alive is alive
    layout.lock.write_text("")
    owner = dataset_status(dest).writer
    assert owner is not None and (owner.pid, owner.alive) == (None, False)


def test_run_records(dest: Path) -> None:
    """The newest ten, compaction behind its run; one that was torn is passed over."""
    runs = dest / "_dicomflow/runs"
    for number in range(12):
        (runs / f"3000010{number:02}-x.json").write_text(json.dumps({"listed": number}))
    (runs / "300001012-x.json").write_text("{")
    (runs / "300001011-x-compact.json").write_text(json.dumps({"mode": "compact"}))
    found = dataset_status(dest, listing=False).runs
    assert [run.run_id for run in found[:2]] == ["300001011-x-compact", "300001011-x"]
    assert (found[0].listed, found[1].listed, len(found)) == (None, 11, 9)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A SOURCE whose name is bytes is compared like any other."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "f").write_bytes(next(make_series("ct")).data)
    dicomflow.extract(str(folder), tmp_path / "dest", **QUIET)
    assert rerun(tmp_path / "dest") == {"unchanged": 1}


def test_no_dataset(tmp_path: Path) -> None:
    """A folder that is none is an error that says what to do."""
    for name in (".", "nowhere"):
        with pytest.raises(DatasetError, match="no dicomflow dataset here; make one with"):
            dataset_status(tmp_path / name)


def test_a_part_that_is_damaged(dest: Path) -> None:
    """A ledger that cannot be read is one error, without its bytes."""
    (part,) = (dest / "files").glob("*.parquet")
    part.write_bytes(b"PAR1 Doe^Jane PAR1")
    with pytest.raises(DatasetError, match="damaged") as caught:
        dataset_status(dest)
    assert "Doe" not in str(caught.value)


def test_progress_while_listing(dest: Path) -> None:
    """Who waits sees how far listing has come."""
    seen = []
    dataset_status(dest, progress=lambda stage, totals: seen.append((stage, totals.listed)))
    assert seen == [("list", 40)]
