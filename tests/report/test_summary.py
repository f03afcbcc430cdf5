"""The summary of a run says what was done, and what to do next."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import replace

import pytest
from rich.console import Console

from dicomflow.report.summary import pydicom_share, render_summary
from dicomflow.summary import RunSummary, Totals


def summarise(counts: dict[tuple[str, str | None], int], dest: str = "/data/headers", **totals: int) -> RunSummary:
    """A run with these outcomes."""
    read = Totals(done=sum(counts.values()), counts=counts, **totals)
    about = {
        "run_id": "r",
        "dest": dest,
        "version": 3,
        "profile": "standard",
        "scheduler": "in-process",
        "tasks": 1,
        "dashboard": None,
    }
    return RunSummary.from_totals(read, stages={"list": 0.5, "scan": 1.5, "tasks": 1.0}, **about)


def render(summary: RunSummary, width: int = 100) -> str:
    """As on a terminal of that width, without colours."""
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    console.print(render_summary(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


MIXED = {("ok", None): 9_990, ("failed", "truncated"): 6, ("not_dicom", "no_dicom_header"): 4}


def test_page() -> None:
    """Counts, outcomes by status and code, rate, bytes, share of pydicom, issues, dataset."""
    page = render(summarise(MIXED, header_bytes=171_000_000, fallback_files=30, issues=12))
    lines = [line.split() for line in page.splitlines()]
    assert page.startswith("10,000 files became 9,990 rows in 2.0 s\n")
    assert ["ok", "9,990", "99.9", "%"] in lines
    assert ["failed", "truncated", "6", "<0.1", "%"] in lines
    assert "10,000 files/s, 171 MB of headers" in page
    assert "pydicom     read 0.3 % of the readable files" in page
    assert "12 remarks" in page
    assert "dataset     /data/headers, version 3\n" in page


def test_dashboard() -> None:
    """That of a cluster of the run ended with it; that of a scheduler at an address did not."""
    address = "http://127.0.0.1:8787/status"
    ours = dataclasses.replace(summarise(MIXED), dashboard=address)
    assert f"dashboard   {address}, while the run lasted\n" in render(ours)
    theirs = dataclasses.replace(ours, scheduler="tcp://10.0.0.5:8786")
    assert f"dashboard   {address}\n" in render(theirs)


def test_one_remark() -> None:
    """One is one."""
    assert "1 remark on values" in render(summarise(MIXED, issues=1))


def test_nothing_superfluous() -> None:
    """What did not happen is not mentioned."""
    page = render(summarise({("ok", None): 5}))
    for word in ("pydicom ", "issues", "dashboard", "failed", "changed"):
        assert word not in page


def test_what_changed_since_the_last_run() -> None:
    """What was not read again, what was taken over and what is gone is said, each where there is some."""
    page = render(summarise(MIXED, unchanged=9_000, resumed=900, removed=7))
    assert (
        "changed     10,000 read, 9,000 known from earlier runs, 900 taken over from a run that was interrupted, 7 gone\n"
        in page
    )
    assert "changed     10,000 read, 1 gone\n" in render(summarise(MIXED, removed=1))


def test_nothing_changed() -> None:
    """A run that found all as it was says so, first of all; one that read something, how much."""
    again = replace(summarise(MIXED), read=0, unchanged=10_000)
    assert render(again).startswith("10,000 files are 9,990 rows; unchanged: nothing read, in 2.0 s\n")
    some = render(replace(again, read=6, unchanged=9_994))
    assert some.startswith("10,000 files are 9,990 rows; 6 read, 9,994 unchanged, in 2.0 s\n")
    assert "nothing read" not in some and "nothing read" not in render(replace(again, removed=1))
    assert "nothing read" not in render(summarise({}))


def test_next_steps_follow_the_outcomes() -> None:
    """Where all files have a row SQL looks at the rows, else at the files without one."""
    assert "from '/data/headers/instances/**/*.parquet' limit 10" in render(summarise({("ok", None): 5}))
    assert "status <> 'ok'" in render(summarise(MIXED))


def test_no_files() -> None:
    """An empty folder is a short page, not a division by zero, and says what may be wrong."""
    page = render(summarise({}))
    assert page.startswith("0 files became 0 rows")
    assert "outcome" not in page
    assert "no file was found" in page and "no file was found" not in render(summarise(MIXED))


def test_code_is_never_wrapped() -> None:
    """Lines to be copied stay whole on a narrow terminal, and a hostile path does nothing."""
    dest = "/data/" + "long" * 40 + "/\x1b[2J"
    page = render(summarise(MIXED, dest), width=60)
    assert "\x1b" not in page
    assert "long" * 40 + "/\\x1b[2J/instances" in page


@pytest.mark.parametrize(("counts", "share"), [({}, 0), (MIXED, 3 / 9_990), ({("not_dicom", None): 3}, 0)])
def test_pydicom_share_is_of_readable_files(counts: dict[tuple[str, str | None], int], share: float) -> None:
    """Files that are no DICOM do not make the share look smaller."""
    assert pydicom_share(summarise(counts, fallback_files=3)) == pytest.approx(share)
