"""Files to measure on, timers, and the table of ratios at the end.

make bench                       10,000 and 100,000 files
make bench FILES=2000 MANY=20000
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from instructions import reason_against
from rich.console import Console
from rich.table import Table

WORK = Path("bench")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--files", type=int, default=10_000, help="files of the small job")
    parser.addoption("--many", type=int, default=100_000, help="files of the large job")


def cpu_of_self() -> float:
    """CPU seconds that the operating system booked for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of_children() -> float:
    """CPU seconds that the operating system booked for processes started here and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*command: str) -> str:
    """Run a whole process; its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def dicomflow(*arguments: object) -> str:
    """Run the command line of this environment."""
    return run(str(Path(sys.executable).with_name("dicomflow")), *map(str, arguments))


@pytest.fixture(scope="session")
def few(request: pytest.FixtureRequest) -> Path:
    """MR files with headers of more than 300 elements: the small job."""
    return _synthesize(request.config.getoption("--files"))


@pytest.fixture(scope="session")
def many(request: pytest.FixtureRequest) -> Path:
    """The same, the large job."""
    return _synthesize(request.config.getoption("--many"))


def list_paths(source: Path) -> list[str]:
    """All files below a folder."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]


def read_prefixes(paths: list[str]) -> None:
    """The floor: open, read 32 KB, close."""
    buffer = [memoryview(bytearray(1 << 15))]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.readv(descriptor, buffer)
        os.close(descriptor)


def _synthesize(files: int) -> Path:
    """Made once, kept, and brought into the page cache."""
    source = WORK / f"mr-{files}"
    marker = source.with_suffix(".made")
    if not marker.exists():
        shutil.rmtree(source, ignore_errors=True)
        WORK.mkdir(exist_ok=True)
        dicomflow("synth", source, "--files", files, "--seed", 1, "--kinds", "mr-long")
        marker.touch()
    read_prefixes(list_paths(source))
    return source


# ---- the table -------------------------------------------------------------------------------------------------------


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Ratios within this run; absolute times mean little on another machine."""
    session = getattr(config, "_benchmarksession", None)
    figures: dict[str, Any] = {}
    for each in session.benchmarks if session else []:
        figures[each.name] = statistics.median(each.stats.data)
        figures.update(each.extra_info)
    rows = [row for row in map(_row(figures), _TABLE) if row]
    if not rows:
        return
    table = Table(title="one run, same files, warm; CPU as booked by the operating system", title_justify="left")
    for name, justify in (("what", "left"), ("value", "right"), ("unit", "left"), ("mark", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for what, value, unit, mark in rows:
        table.add_row(what, f"{value:,.2f}", unit, mark)
    Console(width=110).print(table)
    if "scan_instructions" not in figures and (reason := reason_against()):
        Console(width=110).print(reason)
    WORK.mkdir(exist_ok=True)
    (WORK / "ratios.json").write_text(json.dumps([dict(zip(_KEYS, row, strict=True)) for row in rows], indent=1) + "\n")


_KEYS = ("what", "value", "unit", "mark")

_TABLE = [
    ("elements in a header", "elements", None, 1.0, "", ""),
    ("bytes of a header", "header_bytes", None, 1.0, "", ""),
    ("floor: open, read 32 KB, close", "test_floor", "files", 1e6, "us CPU/file", ""),
    ("scanner alone, per element", "test_scanner", "scanned_elements", 1e9, "ns CPU", ""),
    ("scanner alone, per element", "scan_instructions", None, 1.0, "instructions", ""),
    ("interner alone, per file", "intern_instructions", None, 1.0, "instructions", ""),
    ("whole job, one process, standard profile", "test_job", "files", 1e6, "us CPU/file", ""),
    ("usual script, 44 attributes", "test_script_cpu", "files", 1e6, "us CPU/file", ""),
    ("usual script", "script_wall", None, 1.0, "s wall", ""),
    ("dicomflow extract, start-up included", "test_extract_wall", None, 1.0, "s wall", ""),
    ("whole job / floor", "test_job", "test_floor", 1.0, "x CPU", "at most 5"),
    ("usual script / whole job", "test_script_cpu", "test_job", 1.0, "x CPU", "at least 120"),
    ("usual script / dicomflow extract", "script_wall", "test_extract_wall", 1.0, "x wall", "at least 20"),
    ("segmentation of 12,000 frames", "test_seg", None, 1e3, "ms CPU", ""),
    ("pydicom, the same attributes", "test_seg_pydicom", None, 1e3, "ms CPU", ""),
    ("pydicom / dicomflow, segmentation", "test_seg_pydicom", "test_seg", 1.0, "x CPU", "at least 20"),
    ("peak memory of its process", "memory_segmentation", None, 1e-6, "MB", "under 300"),
    ("large job, 1 worker process", "speed_1", None, 1.0, "files/s", ""),
    ("large job, 2 worker processes", "speed_2", None, 1.0, "files/s", ""),
    ("2 worker processes / 1", "speed_2", "speed_1", 1.0, "x files/s", "at least 1.7"),
    ("cost per file, large job / small job", "cost_many", "cost_few", 1.0, "x CPU", "at most 1.1"),
    ("run over known files / first run", "test_rerun", "first_run", 1.0, "x CPU", "at most 0.15"),
    ("the same as commands, start-up included", "test_rerun_command", "first_command", 1.0, "x CPU", ""),
    ("deduplicate and publish, share of the large job", "publish_share", None, 100.0, "% of wall", "at most 10"),
    (
        "Dask, dashboard, progress, logs and metrics, beside a plain loop",
        "overhead_share",
        None,
        100.0,
        "% of CPU",
        "at most 10",
    ),
    ("a row of instances, synthetic", "synthetic_instances", None, 1.0, "bytes", ""),
    ("a row of files, synthetic", "synthetic_files", None, 1.0, "bytes", ""),
    ("a row of instances, public files", "corpus_instances", None, 1.0, "bytes", ""),
    ("a row of files, public files", "corpus_files", None, 1.0, "bytes", ""),
    ("peak memory of a worker, small job", "memory_few", None, 2.0**-20, "MiB", "under 400"),
    ("peak memory of a worker, large job", "memory_many", None, 2.0**-20, "MiB", "under 400"),
    *(
        line
        for layout, about in (("fresh", "80 parts"), ("compact", "2 parts"))
        for key in ("present", "absent")
        for line in (
            (f"one row of 1,000,000 in {about}, key {key}", f"{layout}_{key}", None, 1e3, "ms CPU", ""),
            (
                "scan of the key column / one row",
                f"{layout}_{key}_scan",
                f"{layout}_{key}",
                1.0,
                "x CPU",
                "at least 20",
            ),
            ("the same, dataset opened before", f"{layout}_{key}_opened", None, 1e3, "ms CPU", ""),
            (
                "scan of the key column / one row, opened before",
                f"{layout}_{key}_scan",
                f"{layout}_{key}_opened",
                1.0,
                "x CPU",
                "at least 20",
            ),
            (
                "read_table of the key column / one row",
                f"{layout}_{key}_read",
                f"{layout}_{key}",
                1.0,
                "x CPU",
                "at least 20",
            ),
            ("scan of all columns / one row", f"{layout}_{key}_all", f"{layout}_{key}", 1.0, "x CPU", "at least 20"),
            ("DuckDB, select * / one row", f"{layout}_{key}_duckdb", f"{layout}_{key}", 1.0, "x CPU", "at least 20"),
        )
    ),
    ("small query of 1,000,000 rows, the command", "query_command", None, 1.0, "s CPU", ""),
    ("the command / a script with DuckDB and Arrow", "query_command", "query_plain", 1.0, "x CPU", ""),
    *(
        line
        for name, about in (("all", "all columns"), ("some", "5 columns"), ("grouped", "few groups"))
        for form in ("csv", "ndjson", "json", "parquet")
        for figure in (f"{form}_{name}",)
        for line in (
            (f"query of 1,000,000 rows, {about}, {form}", f"query_{figure}", None, 1.0, "s CPU", ""),
            ("query / plain DuckDB", f"query_{figure}", f"duckdb_{figure}", 1.0, "x CPU", "at most 1.2"),
            ("its peak memory", f"query_{figure}_memory", None, 2.0**-10, "MiB", ""),
            ("that of plain DuckDB", f"duckdb_{figure}_memory", None, 2.0**-10, "MiB", ""),
        )
    ),
]
"""what, figure, divided by (a figure), factor, unit, mark"""


def _row(figures: dict[str, Any]) -> Any:
    def make(line: tuple[str, str, str | None, float, str, str]) -> tuple[str, float, str, str] | None:
        what, figure, divisor, factor, unit, mark = line
        if figure not in figures or (divisor and divisor not in figures):
            return None
        return what, figures[figure] / (figures[divisor] if divisor else 1) * factor, unit, mark

    return make
