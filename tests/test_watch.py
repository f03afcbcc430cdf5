"""Whoever watches a run hears of it, and what is under way is counted once."""

from __future__ import annotations

import inspect

import pytest

from dicomflow.model import BatchDone, ScanResult
from dicomflow.summary import Totals
from dicomflow.watch import InFlight, Watcher, Watchers, as_watcher


class Notes(Watcher):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def on_begin(self, run_id: str) -> None:
        self.heard.append(("begin", run_id))

    def __call__(self, stage: str, totals: Totals) -> None:
        self.heard.append(("stage", stage))

    def on_batch(self, batch: BatchDone) -> None:
        self.heard.append(("batch", batch.files))

    def on_result(self, result: ScanResult) -> None:
        self.heard.append(("result", result.files))

    def on_task_lost(self, task_id: str) -> None:
        self.heard.append(("lost", task_id))

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        self.heard.append(("end", error))


def tell(watcher: Watcher) -> None:
    """All that there is to hear, once."""
    watcher.on_begin("run")
    watcher("scan", Totals())
    watcher.on_batch(BatchDone(task_id="t", files=3))
    watcher.on_result(ScanResult(task_id="t", data_files=(), files=5))
    watcher.on_task_lost("u")
    watcher.on_end(None, Totals())


HEARD = [
    ("begin", "run"),
    ("stage", "scan"),
    ("batch", 3),
    ("result", 5),
    ("lost", "u"),
    ("end", None),
]


def test_all_hear_all() -> None:
    """Several watchers hear everything that a Watcher can hear, a plain one bears it."""
    first, second = Notes(), Notes()
    tell(Watchers([first, Watcher(), second]))
    assert first.heard == second.heard == HEARD
    overridden = {name for name, _ in inspect.getmembers(Watcher, inspect.isfunction)}
    assert overridden <= set(vars(Watchers)) | {"__init__"}  # a new method must be passed on


def test_function_hears_of_stages_only() -> None:
    """What ``progress=`` always took still works."""
    seen: list[str] = []
    tell(as_watcher(lambda stage, totals: seen.append(stage)))
    assert seen == ["scan"]
    tell(as_watcher(None))
    notes = Notes()
    assert as_watcher(notes) is notes


def test_end_reaches_all() -> None:
    """One that fails at the end keeps nobody else from hearing of it, and takes the place of no other error."""

    class Faulty(Watcher):
        def on_end(self, error: BaseException | None, totals: Totals) -> None:
            raise RuntimeError("faulty")

    notes = Notes()
    with pytest.raises(RuntimeError, match="faulty"):
        Watchers([Faulty(), notes]).on_end(None, Totals())
    Watchers([Faulty(), notes]).on_end(lost := OSError(), Totals())
    assert notes.heard == [("end", None), ("end", lost)]


def test_in_flight() -> None:
    """Batches add up by task; a result takes its own away; another worker begins the task anew."""
    under_way = InFlight()
    under_way.add(BatchDone(task_id="a", files=3, failed=1, header_bytes=30, file_bytes=300, retries=2, worker="w"))
    under_way.add(BatchDone(task_id="a", files=4, header_bytes=40, file_bytes=400, worker="w"))
    under_way.add(BatchDone(task_id="b", files=5, worker="w"))
    assert (under_way.sum.files, under_way.sum.failed, under_way.sum.header_bytes) == (12, 1, 70)
    assert (under_way.sum.file_bytes, under_way.sum.retries) == (700, 2)
    under_way.add(BatchDone(task_id="a", files=1, worker="x"))
    assert len(under_way) == 2
    assert (under_way.sum.files, under_way.sum.failed) == (6, 0)
    assert under_way.drop("a").files == 1 and under_way.drop("a").files == 0
    under_way.drop("b")
    assert (under_way.sum.files, under_way.sum.header_bytes, under_way.sum.retries) == (0, 0, 0)
