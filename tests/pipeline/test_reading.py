"""Tasks on a cluster: what becomes of those that are lost, and of the cluster itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Status, Worker

import dicomflow
from dicomflow.compute import open_cluster
from dicomflow.dataset.transaction import Transaction
from dicomflow.errors import ComputeError
from dicomflow.model import BatchDone
from dicomflow.pipeline import reading
from dicomflow.summary import Totals
from dicomflow.synth import make_series
from dicomflow.watch import Watcher
from tests.compute.test_watch import wait_until
from tests.poison import poisoned
from tests.test_pipeline import extract, leftovers, read_all


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty-four files of one series."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number, file in enumerate(make_series("mr", instances=24)):
        (folder / f"f{number:02}").write_bytes(file.data)
    return folder


@pytest.mark.parametrize(("scheduler", "workers"), [("threads", 1), ("threads", 2), ("in-process", 2)])
def test_files_that_get_no_memory(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler: str, workers: int
) -> None:
    """A task that gets no memory is divided until the file stands alone; all others are in the dataset, and nothing is left."""
    victims = sorted(source.iterdir())[3:15:11]
    for victim in victims:
        victim.rename(f"{victim}.hog")
    settings: dict[str, Any] = {
        "scheduler": scheduler,
        "workers": workers,
        "plan__files_per_task": 12,
        "columns": "minimal",
    }
    with poisoned(".hog=MEMORY"):
        summary = extract(source, tmp_path / "d", **settings)
    assert summary.outcomes == (("ok", None, 22), ("failed", "out_of_memory", 2)) and leftovers(tmp_path / "d") == []
    failed = [row for row in read_all(tmp_path / "d")["files"] if row["status"] == "failed"]
    assert [Path(row["uri"]).name for row in failed] == [f"{victim.name}.hog" for victim in victims]
    said = capsys.readouterr().err
    assert said.count("file_given_up") == 2 and "task_out_of_memory" in said
    settings |= {"scheduler": "threads"}
    assert extract(source, tmp_path / "d", **settings).outcomes == (
        ("ok", None, 24),
    )  # tried again like all that failed


def test_workers_that_are_all_paused(source: Path, tmp_path: Path) -> None:
    """The run ends with one line; the same command goes on where it was when there is memory again."""
    settings: dict[str, Any] = {"scheduler": "in-process", "plan__files_per_task": 1, "columns": "minimal"}
    paused: list[Worker] = []

    def pause(stage: str, totals: Totals) -> None:
        if stage == "scan" and totals.tasks_done == 3 and not paused:
            paused.extend(worker for worker in Worker._instances if worker.status == Status.running)
            for worker in paused:
                worker.memory_manager.memory_pause_fraction = 1e-9
            wait_until(lambda: all(worker.status == Status.paused for worker in paused))

    with pytest.raises(ComputeError, match="^all workers of the Dask cluster .1. are paused") as caught:
        extract(source, tmp_path / "d", progress=pause, compute__no_worker_seconds=0.2, **settings)
    assert paused and "\n" not in str(caught.value) and not (tmp_path / "d" / "instances").exists()
    summary = extract(source, tmp_path / "d", **settings | {"scheduler": "threads"})
    assert summary.resumed >= 3 and summary.read + summary.resumed == summary.rows == 24


class Opened:
    """Clusters as they are opened, mapped over and left."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def __call__(self, *arguments: Any) -> Iterator[Any]:
        with open_cluster(*arguments) as cluster:
            self.events.append(f"open {arguments[1]}")
            real = cluster.map
            cluster.map = lambda *given, **named: (self.events.append("map"), real(*given, **named))[1]
            try:
                yield cluster
            finally:
                self.events.append("leave")


def test_one_cluster_for_all_that_a_run_reads(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found missing when the rows are settled is read on the cluster that is open; a run that can miss nothing leaves it before."""
    opened = Opened()
    settle = Transaction.settle

    def settle_and_say(self: Transaction, changes: Any) -> Any:
        opened.events.append("settle")
        return settle(self, changes)

    monkeypatch.setattr("dicomflow.pipeline.reading.open_cluster", opened)
    monkeypatch.setattr(Transaction, "settle", settle_and_say)
    settings: dict[str, Any] = {"scheduler": "threads", "columns": "minimal"}
    files = sorted(source.iterdir())
    shutil.copy(files[0], source / "copy")
    os.utime(source / "copy", (1_000_000_000, 1_000_000_000))
    extract(source, tmp_path / "d", **settings)
    assert opened.events == ["open threads", "map", "leave", "settle"]
    opened.events.clear()
    files[0].unlink()
    os.utime(files[1], (1_000_000_000, 1_000_000_000))
    assert extract(source, tmp_path / "d", **settings).read == 2
    assert opened.events == ["open threads", "map", "settle", "map", "settle", "leave"]
    opened.events.clear()
    files[1].unlink()
    extract(source, tmp_path / "d", **settings)  # nothing to read: nothing is opened
    assert opened.events == ["settle"]


class OtherVersion(Watcher):
    """What is run after the begin is another version than what runs there."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def on_batch(self, batch: BatchDone) -> None:
        self._patch.setattr(reading, "__version__", "9.9")


def test_worker_of_another_version_reads_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it came by the task: its rows would pass for ours."""
    message = rf"^a worker has dicomflow 9\.9, and this run is of {dicomflow.__version__}: "
    settings: dict[str, Any] = {"scheduler": "threads", "columns": "minimal", "plan__files_per_task": 6}
    with pytest.raises(ComputeError, match=message):
        extract(source, tmp_path / "d", progress=OtherVersion(monkeypatch), **settings)
