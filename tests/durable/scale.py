"""Ten million rows, written directly through the writer: deduplicate and publish, compact, verify, report, each in bounded memory.

make scale                                              10,000,000 rows; about twenty minutes and 6 GB of disk
python -m tests.durable.scale --rows 1000000

Each step runs in a process of its own, whose time and peak memory are printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import dicomflow
from dicomflow.config import DatasetConfig
from dicomflow.dataset.commit import prepare_destination
from dicomflow.dataset.findings import Findings
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.transaction import Transaction
from dicomflow.dataset.writer import write_data_file
from dicomflow.schema.arrow import files_schema, instances_schema
from dicomflow.schema.profile import load_profile
from dicomflow.synth import write_studies

ROWS_PER_PART = 16_384
REPEATED = 100
"""One key in so many is another file's, too: half of them copies, half with another header."""

CONFIG = DatasetConfig()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, then each step in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--work", type=Path, default=Path("build") / "scale")
    parser.add_argument("--limit", type=int, default=2048, help="MiB that no step may exceed")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    steps: list[tuple[str, Callable[[Path, int], str]]] = [
        ("write", write_rows),
        ("deduplicate and publish", deduplicate_and_publish),
        ("compact", compact),
        ("verify", verify),
        ("report", report),
    ]
    peaks = [run_alone(name, step, work, options.rows) for name, step in steps]
    return 1 if max(peaks[1:]) > options.limit else 0


def run_alone(name: str, step: Callable[[Path, int], str], work: Path, rows: int) -> int:
    """Run a step in a fresh process and print its figures; its peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        seconds, peak, said = pool.apply(_measured, (step, work, rows))
    print(f"{name:<24} {seconds:>8,.0f} s {peak:>7,} MiB   {said}", flush=True)
    return peak


def _measured(step: Callable[[Path, int], str], work: Path, rows: int) -> tuple[float, int, str]:
    start = time.monotonic()
    said = step(work, rows)
    return time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, said


# ---- the steps -------------------------------------------------------------------------------------------------------


def write_rows(work: Path, rows: int) -> str:
    """What the tasks of a run over so many files would leave in staging."""
    template = make_template(work)
    staging = Layout(work / "dest").staging
    for number, start in enumerate(range(0, rows, ROWS_PER_PART)):
        part = make_rows(template, np.arange(start, min(start + ROWS_PER_PART, rows)))
        write_data_file(
            part, instances_schema(load_profile("standard")), "instances", staging, f"{number:06}-x-0.parquet", CONFIG
        )
        write_data_file(make_ledger(part), files_schema(), "files", staging, f"{number:06}-x.parquet", CONFIG)
    return f"{rows:,} rows"


def deduplicate_and_publish(work: Path, rows: int) -> str:
    """One row per key, as a version."""
    layout = Layout(work / "dest")
    prepare_destination(layout)
    with write_lock(layout) as lock:
        transaction = Transaction(layout, instances_schema(load_profile("standard")), CONFIG, lock)
        transaction.staging.keep_only(transaction.staging.ledgers())
        findings = Findings.none(layout.spill, CONFIG.memory_bytes)
        verdicts = transaction.settle(findings)
        run = {"run_id": "scale", "started": "2024-01-01T00:00:00+00:00", "dicomflow": dicomflow.__version__}
        snapshot = transaction.commit(findings, verdicts, ["/scale"], run, 1)
    assert snapshot.rows("files") == rows
    return f"{snapshot.rows('instances'):,} instances, {snapshot.rows('conflicts'):,} conflicts, {_sizes(snapshot)}"


def compact(work: Path, rows: int) -> str:
    """The same rows in large parts."""
    before = dicomflow.open_dataset(work / "dest").snapshot
    after = dicomflow.compact(work / "dest")
    assert [after.rows(table) for table in after.tables] == [before.rows(table) for table in before.tables]
    return f"{len(before.tables['instances'])} parts became {len(after.tables['instances'])}, {_sizes(after)}"


def verify(work: Path, rows: int) -> str:
    """Every promise."""
    found = dicomflow.verify_dataset(work / "dest")
    assert not found.faults, found.faults
    return f"{len(found.checks)} checks"


def report(work: Path, rows: int) -> str:
    """All figures of the data-quality report, and the page."""
    start = time.process_time()
    found = dicomflow.write_report(work / "dest", work / "report.html")
    assert found.figures["archive"].column("instances")[0] == dicomflow.open_dataset(work / "dest").snapshot.rows(
        "instances"
    )
    size = (work / "report.html").stat().st_size
    return f"{time.process_time() - start:.0f} s of CPU, {len(found.figures)} figures, a page of {size / 1e6:.1f} MB"


def _sizes(snapshot: Any) -> str:
    return ", ".join(
        f"{snapshot.bytes(table) / max(1, snapshot.rows(table)):.0f} bytes a row of {table}"
        for table in ("instances", "files")
    )


# ---- rows ------------------------------------------------------------------------------------------------------------


def make_template(work: Path) -> pa.Table:
    """Real rows of synthetic studies."""
    write_studies(work / "source", files=ROWS_PER_PART // 4, seed=1, kinds=["mr-long"])
    rows = dicomflow.read_headers(sorted((work / "source").rglob("*.dcm")), columns="standard")
    shutil.rmtree(work / "source")
    return rows


def make_rows(template: pa.Table, numbers: np.ndarray) -> pa.Table:
    """Rows of their own: new keys, series, files and digests; some keys are those of the row before."""
    rows = template.take(pa.array(numbers % template.num_rows))
    keys = numbers - (numbers % REPEATED == 1)
    copies = numbers % (2 * REPEATED) == 1
    study = numbers // 1000
    columns = {
        "SOPInstanceUID": _text(f"1.2.826.0.1.{key * 7919 % 10**9}.{key}" for key in keys.tolist()),
        "StudyInstanceUID": _text(f"1.2.826.0.2.{one * 104729 % 10**9}.{one}" for one in study.tolist()),
        "SeriesInstanceUID": _text(f"1.2.826.0.3.{one * 104729 % 10**9}.{one}.1" for one in study.tolist()),
        "InstanceNumber": pa.array(numbers % 1000, rows.schema.field("InstanceNumber").type),
        "source_uri": _text(f"/scale/{one // 1000:06}/{one:09}.dcm" for one in numbers.tolist()),
        "header_digest": _text(f"{one * 0x9E3779B97F4A7C15 % 2**64:016x}" for one in (numbers - copies).tolist()),
    }
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    order = pc.sort_indices(
        rows, sort_keys=[(name, "ascending") for name in ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber")]
    )
    return rows.take(order).cast(instances_schema(load_profile("standard")))


def _text(values: Iterator[str]) -> pa.Array:
    return pa.array(list(values), pa.string())


def make_ledger(rows: pa.Table) -> pa.Table:
    """The ledger of these rows."""
    count = rows.num_rows
    now = pa.array(np.full(count, 1, np.int64)).cast(pa.timestamp("us"))
    known = {
        "uri": rows["source_uri"],
        "size": rows["source_size"],
        "mtime": rows["source_mtime"],
        "status": rows["status"],
        "SOPInstanceUID": rows["SOPInstanceUID"],
        "header_digest": rows["header_digest"],
        "reader": pa.array(["fast"] * count),
        "attempts": pa.array(np.ones(count, np.int32)),
        "run_id": pa.array(["scale"] * count),
        "first_seen": now,
        "last_seen": now,
    }
    return pa.table({field.name: known.get(field.name, pa.nulls(count, field.type)) for field in files_schema()}).cast(
        files_schema()
    )


if __name__ == "__main__":
    sys.exit(main())
