"""How long a job takes is seen from its beginning; nothing is lost by looking."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import dicomflow
from dicomflow.config import load_config
from dicomflow.pipeline import outlook
from dicomflow.pipeline.outlook import foresee
from dicomflow.schema.profile import load_profile
from dicomflow.synth import make_series
from dicomflow.worker import ScanJob


@pytest.fixture
def job(tmp_path: Path) -> ScanJob:
    """Its staging folder is not there yet."""
    profile, config = load_profile("minimal"), load_config(None, {})
    return ScanJob(run_id="r", started=0, staging=str(tmp_path / "staging"), profile=profile, config=config)


class Listing:
    """Batches of files that remember how many of them were drawn."""

    def __init__(self, files: int, batch: int) -> None:
        self.drawn = 0
        self._files, self._batch = files, batch

    def __iter__(self) -> Iterator[pa.Table]:
        for start in range(0, self._files, self._batch):
            self.drawn = min(start + self._batch, self._files)
            yield pa.table({"uri": [str(number) for number in range(start, self.drawn)]})


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Files take 10 ms each; how many there were to choose from, at each look."""
    found: list[int] = []

    def look(files: pa.Table, *_: Any) -> float:
        found.append(files.num_rows)
        return 0.01

    monkeypatch.setattr(outlook, "probe_files", look)
    monkeypatch.setattr(outlook, "FEW_FILES", 20)
    return found


@pytest.mark.parametrize(
    ("files", "seconds", "drawn", "looks"),
    [
        (1, 0.0, 1, []),
        (20, 0.0, 20, []),  # few: not worth a look
        (21, 0.21, 21, [21]),
        (99, 0.99, 99, [21]),
        (100, 1.0, 100, [21]),
        (10_000, inf, 105, [21]),  # no further than it takes to know
    ],
)
def test_seconds(looked: list[int], job: ScanJob, files: int, seconds: float, drawn: int, looks: list[int]) -> None:
    """Of few files, of those that one process reads in time, and of more."""
    listing = Listing(files, batch=7)
    rest, found = foresee(iter(listing), job, 1.0)
    assert found == pytest.approx(seconds) and looked == looks and listing.drawn == drawn
    assert pa.concat_tables(rest)["uri"].to_pylist() == [str(number) for number in range(files)]


def test_listing_that_takes_long(looked: list[int], job: ScanJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started while files are still being found."""
    monkeypatch.setattr(outlook, "LISTING_SECONDS", 0.0)
    listing = Listing(1000, batch=5)
    rest, seconds = foresee(iter(listing), job, 1e9)
    assert seconds == inf and listing.drawn == 5 and looked == [5]
    assert sum(batch.num_rows for batch in rest) == 1000


def test_a_look_that_was_the_last(monkeypatch: pytest.MonkeyPatch, job: ScanJob) -> None:
    """Where a file killed the process that looked at it, the next run leaves it to workers, which may be killed."""

    class Killed(BaseException):
        pass

    def die(*_: Any) -> float:
        raise Killed

    monkeypatch.setattr(outlook, "probe_files", die)
    with pytest.raises(Killed):
        foresee(iter(Listing(9000, 1000)), job, 1.0)
    rest, seconds = foresee(iter(Listing(9000, 1000)), job, 1.0)
    assert seconds == inf and sum(batch.num_rows for batch in rest) == 9000


def test_a_look_leaves_nothing(looked: list[int], job: ScanJob) -> None:
    """Nor does it need a disk that can be written to."""
    foresee(iter(Listing(50, 7)), job, 1.0)
    assert looked == [21] and [*Path(job.staging).iterdir()] == []
    Path(job.staging).rmdir()
    Path(job.staging).write_text("in the way")
    foresee(iter(Listing(50, 7)), job, 1.0)
    assert looked == [21, 21]


@pytest.mark.parametrize(("each", "scheduler"), [(0.0001, "threads"), (0.5, "in-process")])
def test_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, each: float, scheduler: str) -> None:
    """A job that takes long has another scheduler than one that does not; the dataset is the same."""
    monkeypatch.setattr(outlook, "probe_files", lambda *_: each)
    monkeypatch.setattr(outlook, "FEW_FILES", 3)
    source = tmp_path / "source"
    source.mkdir()
    for number, file in enumerate(make_series("mr", instances=24)):
        (source / f"f{number:02}").write_bytes(file.data)
    summary = dicomflow.extract(source, tmp_path / "d", compute__workers=1, compute__dashboard_address="")
    assert (summary.scheduler, summary.rows) == (scheduler, 24)
