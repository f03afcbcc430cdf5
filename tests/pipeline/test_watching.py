"""The pipeline tells whoever watches what it does, in order, whatever becomes of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dicomflow
from dicomflow.errors import SourceError
from dicomflow.model import BatchDone, ScanResult, ScanTask
from dicomflow.pipeline.reading import About, Books, Reading
from dicomflow.pipeline.stages import Stages
from dicomflow.summary import Totals
from dicomflow.synth import write_studies
from dicomflow.watch import Watcher


class Notes(Watcher):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def on_begin(self, run_id: str) -> None:
        self.heard.append(("begin", run_id))

    def __call__(self, stage: str, totals: Totals) -> None:
        if self.heard[-1] != ("stage", stage):
            self.heard.append(("stage", stage))

    def on_batch(self, batch: BatchDone) -> None:
        self.heard.append(("batch", batch))

    def on_result(self, result: ScanResult) -> None:
        self.heard.append(("result", result.files))

    def on_task_lost(self, task_id: str) -> None:
        self.heard.append(("lost", task_id))

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        self.heard.append(("end", type(error), totals.done))


def of_kind(notes: Notes, kind: str) -> list[tuple[Any, ...]]:
    """What it heard of one kind."""
    return [heard[1:] for heard in notes.heard if heard[0] == kind]


def test_run_is_told(tmp_path: Path) -> None:
    """Begin, stages in their order, one result for each task, the end with all totals."""
    write_studies(tmp_path / "scans", files=40, seed=1)
    notes = Notes()
    summary = dicomflow.extract(
        tmp_path / "scans", tmp_path / "out", progress=notes, scheduler="threads", plan__files_per_task=10
    )
    assert notes.heard[0] == ("begin", summary.run_id) and notes.heard[-1] == ("end", type(None), 40)
    assert sum(files for (files,) in of_kind(notes, "result")) == 40 and len(of_kind(notes, "result")) == summary.tasks
    stages = [stage for (stage,) in of_kind(notes, "stage")]
    assert [stage for at, stage in enumerate(stages) if stage not in stages[:at]] in (
        ["list", "scan", "publish"],
        ["list", "plan", "scan", "publish"],
    )


def test_run_that_fails_is_told(tmp_path: Path) -> None:
    """The end is told with what ended it."""
    notes = Notes()
    with pytest.raises(SourceError):
        dicomflow.extract(tmp_path / "nothing", tmp_path / "out", progress=notes)
    assert [kind for kind, *_ in notes.heard] == ["begin", "end"]
    assert notes.heard[-1] == ("end", SourceError, 0)


@pytest.fixture
def reading(tmp_path: Path) -> tuple[Reading, Notes]:
    """The part of a run that hears of workers."""
    notes = Notes()
    notes.on_begin("run")
    totals = Totals()
    books = Books(totals=totals, stages=Stages(), watcher=notes, changed=lambda: notes("scan", totals))
    about = About(plan=tmp_path / "plan", fingerprint="", sources=[])
    return Reading(None, about, books), notes  # type: ignore[arg-type]  # no task is run


def test_what_workers_say(reading: tuple[Reading, Notes], capsys: pytest.CaptureFixture[str]) -> None:
    """Batches go to whoever watches, lines of a worker's log to standard error."""
    asked, notes = reading
    asked._hear({"task_id": "t", "files": 7, "failed": 1, "worker": "w"})
    asked._hear({"log": "a warning", "worker": "w"})
    assert of_kind(notes, "batch") == [(BatchDone(task_id="t", files=7, failed=1, worker="w"),)]
    assert capsys.readouterr().err == "a warning\n"


def test_task_that_killed_its_workers(reading: tuple[Reading, Notes]) -> None:
    """It is divided, and what was told of it is taken back."""
    asked, notes = reading
    pieces = asked._split(ScanTask(task_id="t", plan="/plan.parquet", start=0, stop=16))
    assert sum(piece.files for piece in pieces) == 16 and len(pieces) > 1
    assert of_kind(notes, "lost") == [("t",)]
