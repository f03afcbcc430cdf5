"""What a run has to read, found while it is listed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pyarrow as pa
import pytest

from dicomflow.dataset.changes import Mode
from dicomflow.dataset.survey import Request, Survey, split_settled
from dicomflow.errors import DatasetError
from dicomflow.model import SOURCE_FILE_SCHEMA

from .archive import Archive, Row, entry, fill_rows
from .tight import tight

MEMORIES = pytest.mark.parametrize("memory", [nullcontext, tight], ids=["held", "spilled"])
Memory = type[AbstractContextManager[None]]


def survey_of(archive: Archive, rows: list[Row], mode: Mode = Mode.INCREMENT) -> Iterator[tuple[Survey, list[str]]]:
    """Look at a listing, and at what is to be read of it."""
    listing = fill_rows(SOURCE_FILE_SCHEMA, [{**row, "status": row.get("settled"), "code": None} for row in rows])
    with archive.writing() as transaction:
        survey = Survey(transaction, Request(paths=["/s"], mode=mode, job="job", started=archive._micros(archive.now)))
        files = survey.files(iter(listing.to_batches(max_chunksize=2)))
        yield survey, [uri for table in files for uri in table["uri"].to_pylist()]


@pytest.fixture
def grown(archive: Archive) -> Archive:
    """Four files, one of which listing settled, and one that failed."""
    archive.put(entry("/s/a", "1"), entry("/s/b", "2"), entry("/s/c", "3"), entry("/s/f", None, status="failed"))
    archive.put(entry("/s/fifo", None, status="skipped", settled=True, size=None, mtime=None, header_digest=None))
    archive.run(sources=["/s"])
    return archive


@MEMORIES
def test_what_is_found(grown: Archive, memory: Memory) -> None:
    """Counts and rows of all that changed; what is to be read comes in the order of the listing."""
    rows = [entry("/s/z"), entry("/s/f"), entry("/s/b"), entry("/s/a", size=8), entry("/s/new", settled="failed")]
    with memory():
        for survey, to_read in survey_of(grown, rows):
            found = survey.findings
            assert to_read == ["/s/z", "/s/f", "/s/a"]
            assert (found.listed, survey.expected, survey.resumed, survey.unchanged) == (5, 3, 0, 1)
            assert found.settled.whole()["uri"].to_pylist() == ["/s/new"]
            assert sorted(found.replaced.whole()["uri"].to_pylist()) == ["/s/a", "/s/f", "/s/fifo"]
            assert found.removed.whole()["uri"].to_pylist() == ["/s/c"]


@MEMORIES
def test_a_source_that_went_away(grown: Archive, memory: Memory) -> None:
    """It is refused when all is listed, and not before."""
    with memory(), pytest.raises(DatasetError, match="^/s: nothing is there, but the dataset knows 5 files"):
        next(survey_of(grown, [entry("/t/a")]))


@MEMORIES
def test_folders_that_could_not_be_listed(grown: Archive, memory: Memory) -> None:
    """Their files stay, whichever bucket they are in."""
    with memory():
        for survey, to_read in survey_of(grown, [entry("/s", settled="failed")]):
            assert to_read == [] and survey.findings.removed.num_rows == 0


@pytest.mark.parametrize("seed", range(2))
def test_the_dataset_is_the_same_in_any_memory(tmp_path: Path, instances: pa.Schema, seed: int) -> None:
    """Runs of all modes, some of them stopped half-way and taken up, over files that come, change and go."""
    found = []
    for name, memory in (("held", nullcontext), ("spilled", tight)):
        chance, archive, reads = random.Random(seed), Archive(tmp_path / name, instances), []
        with memory():
            for number in range(3):
                _change(archive, chance)
                mode = chance.choice(
                    [Mode.INCREMENT, Mode.INCREMENT, Mode.FULL, Mode.COLUMNS] if number else [Mode.FULL]
                )
                if chance.random() < 0.4:
                    archive.run(mode, stop=True)
                    _change(archive, chance)
                archive.run(mode, tasks=2)
                reads.append(archive.read)
                assert archive.outcome() == archive.expected()
        found.append((reads, archive.tables(), archive.snapshot.rows("files") if archive.snapshot else 0))
    assert found[0] == found[1]


def _change(archive: Archive, chance: random.Random) -> None:
    for _ in range(6):
        name = f"/s/{chance.choice('abc')}/{chance.randrange(5)}"
        if chance.random() < 0.3:
            archive.drop(name)
        else:
            key, digest = chance.choice(["1", "2", "3", f"u{name}"]), chance.choice(["same", "other"])
            size = chance.randrange(1 << 40)  # so no file is taken for what it was
            archive.put(entry(name, key, header_digest=digest, size=size, PatientID=f"p{size}"))
    archive.put(entry("/s/fifo", None, status="skipped", settled=True, size=None, mtime=None, header_digest=None))


def test_settled_files_are_told_apart() -> None:
    """Both in their order; where all are to be read, the very same rows come back."""
    rows = fill_rows(SOURCE_FILE_SCHEMA, [{"uri": f"/{at}", "status": "failed" if at % 2 else None} for at in range(5)])
    to_read, settled = split_settled(rows)
    assert to_read["uri"].to_pylist() == ["/0", "/2", "/4"] and settled["uri"].to_pylist() == ["/1", "/3"]
    assert split_settled(to_read) == (to_read, to_read.slice(0, 0))
