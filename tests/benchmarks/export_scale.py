"""Export a million rows to each format: CPU beside DuckDB's COPY of the same files, the cost of the filter, peak memory.

make export-scale                                                 1,000,000 rows; a few minutes and 3 GB of disk
python -m tests.benchmarks.export_scale --rows 100000

Each export runs in a process of its own.  DuckDB has the settings that it has by default but for zstd, which Parquet gets here
as well.  Its CSV has lists in brackets; ours joins them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import numpy as np

import dicomflow
from dicomflow.config import DatasetConfig
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.dataset.writer import write_data_file
from dicomflow.query import Dataset
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import load_profile
from dicomflow.schema.version import FORMAT_VERSION
from tests.durable.scale import make_rows, make_template

ROWS_PER_PART = 262_144

FORMATS = ("csv", "parquet", "ndjson")
COPIES = {"csv": "format csv, header", "parquet": "format parquet, compression zstd, compression_level 1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a dataset, then export it; 1 if an export without the filter costs more than 1.2 times DuckDB's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build") / "export-scale")
    parser.add_argument("--limit", type=int, default=1536, help="MiB that no export may exceed")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    if not (work / "instances").is_dir():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(write_parts, (work, options.rows))
    steps: dict[str, Callable[[Path, str], int]] = {
        "duckdb": copy,
        "identified": export_all,
        "filtered": export_filtered,
    }
    worst, peaks = 0.0, []
    for form in FORMATS:
        rounds = [{name: measure(step, work, form) for name, step in steps.items()} for _ in range(options.rounds)]
        best = {name: min(each[name][0] for each in rounds) for name in steps}
        peaks.append(max(each[name][1] for each in rounds for name in ("identified", "filtered")))
        print(
            f"{form:<8}",
            {name: f"{seconds:.1f} s CPU" for name, seconds in best.items()},
            f"{peaks[-1]:,} MiB",
            flush=True,
        )
        if form in COPIES:
            ratio = best["identified"] / best["duckdb"]
            worst = max(worst, ratio)
            print(f"{form:<8} without the filter {ratio:.2f} x DuckDB's COPY", flush=True)
    return 1 if worst > 1.2 or max(peaks) > options.limit else 0


def write_parts(work: Path, rows: int) -> None:
    """Rows of the standard profile, in parts as compaction leaves them."""
    work.mkdir(parents=True)
    template, schema = make_template(work), instances_schema(load_profile("standard"))
    for start in range(0, rows, ROWS_PER_PART):
        numbers = np.arange(start, min(start + ROWS_PER_PART, rows))
        write_data_file(make_rows(template, numbers), schema, "instances", work, f"{start:09}.parquet", DatasetConfig())


def open_parts(work: Path) -> Dataset:
    """The parts as a dataset."""
    about = {"version": 1, "profile": "standard", "schema": "", "sources": [], "dicomflow": "", "last_run": "bench"}
    parts = sorted((work / "instances").glob("*.parquet"))
    return Dataset(work, Snapshot(format=FORMAT_VERSION, **about), {"instances": parts})  # type: ignore[arg-type]


def measure(step: Callable[[Path, str], int], work: Path, form: str) -> tuple[float, int]:
    """CPU seconds and peak MiB of a step in a fresh process, start-up and imports not counted."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (step, work, form))


def _measured(step: Callable[[Path, str], int], work: Path, form: str) -> tuple[float, int]:
    before = _cpu()
    rows = step(work, form)
    used = _cpu() - before
    assert rows or form not in COPIES
    return used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def copy(work: Path, form: str) -> int:
    """DuckDB alone."""
    if form not in COPIES:
        return 0
    files = str(work / "instances" / "*.parquet")
    target = work.parent / f"{work.name}-duckdb.{form}"
    with duckdb.connect() as connection:
        connection.execute(f"copy (from read_parquet('{files}')) to '{target}' ({COPIES[form]})")
    target.unlink()
    return 1


def export_all(work: Path, form: str) -> int:
    """Everything, as it is."""
    return _export(work, form, with_patient_identity=True)


def export_filtered(work: Path, form: str) -> int:
    """Without what identifies people."""
    return _export(work, form, with_patient_identity=False)


def _export(work: Path, form: str, *, with_patient_identity: bool) -> int:
    target = work.parent / f"{work.name}-export.{form}"
    summary = dicomflow.export_dataset(open_parts(work), target, form, with_patient_identity=with_patient_identity)
    print(f"         {summary.rows:,} rows, {target.stat().st_size / 1e6:,.0f} MB", file=sys.stderr)
    target.unlink()
    return summary.rows


if __name__ == "__main__":
    sys.exit(main())
