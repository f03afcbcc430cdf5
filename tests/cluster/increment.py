"""Ten million listed files held against a ledger of ten million: what the driver needs for it.

    python -m tests.cluster.increment --files 10000000 --mode increment

The ledger is published by the product from parts that are written here; the listing is simulated, and so is the cluster.
Comparing, planning, submitting and looking for repeated keys are those of a run.  One file in a hundred has changed, one is gone.
Each step runs in a process of its own; fails where the increment needed more than ``--limit``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow import __version__
from dicomflow.config import DatasetConfig
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.commit import prepare_destination
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.survey import Request, Survey
from dicomflow.dataset.transaction import Transaction
from dicomflow.dataset.writer import write_data_file
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.arrow import files_schema, instances_schema
from dicomflow.schema.profile import load_profile
from tests.cluster.planning import list_simulated, plan

PARTS = 1 << 19
"""Rows of a ledger part, as compacting leaves them."""

SEEN = 1_700_000_000_000_000
WORKERS = 64


def publish(root: Path, files: int, memory: int, mode: Mode) -> str:
    """A dataset that knows so many files, none of which is DICOM: there is a ledger and nothing else."""
    layout = Layout(root)
    prepare_destination(layout)
    held: list[pa.Table] = []
    for number, rows in enumerate(list_simulated(files)):
        held.append(make_ledger(rows))
        if sum(map(len, held)) >= PARTS:
            _write(layout, held, number)
            held = []
    _write(layout, held, -1)
    with write_lock(layout) as lock:
        transaction = _open(layout, memory, lock)
        survey = Survey(transaction, Request(paths=["/archive"], mode=Mode.INCREMENT, job="first", started=SEEN))
        transaction.staging.keep_only(transaction.staging.ledgers())
        verdicts = transaction.settle(survey.findings)
        transaction.commit(survey.findings, verdicts, ["/archive"], _record("first"), SEEN)
        assert transaction.before is not None and transaction.before.rows("files") == files
    return f"{files:,} rows"


def increment(root: Path, files: int, memory: int, mode: Mode) -> str:
    """The next run."""
    layout, started = Layout(root), SEEN + 10**6
    with write_lock(layout) as lock:
        transaction = _open(layout, memory, lock)
        survey = Survey(transaction, Request(paths=["/archive"], mode=mode, job="next", started=started))
        to_read = survey.files(batch for rows in change(list_simulated(files)) for batch in rows.to_batches())
        changed, gone = len(range(0, files, 100)), len(range(1, files, 100))
        if mode is Mode.FULL:
            changed = files - gone
        cluster = plan(to_read, changed, WORKERS)
        compared = _peak()
        assert (survey.expected, survey.findings.removed.num_rows) == (changed, gone)
        assert survey.findings.listed == survey.unchanged + changed == files - gone
        edits = transaction.settle(survey.findings).edits
        assert edits.num_rows == changed + gone
    return f"{changed:,} files in {cluster.tasks:,} tasks, {gone:,} gone; {compared:,} MiB when all was submitted"


def change(listing: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """One file in a hundred is larger, and one is not there any more."""
    start = 0
    for rows in listing:
        numbers = np.arange(start, start + rows.num_rows) % 100
        start += rows.num_rows
        sizes = pc.add(rows["size"], pa.array((numbers == 0).astype(np.int64)))
        yield rows.set_column(2, SOURCE_FILE_SCHEMA.field("size"), sizes).filter(pa.array(numbers != 1))


def make_ledger(rows: pa.Table) -> pa.Table:
    """The ledger of these files."""
    count = rows.num_rows
    seen = pa.array(np.full(count, SEEN)).cast(pa.timestamp("us"))
    text = {"status": "not_dicom", "code": "not_dicom", "message": "no preamble and no data set", "run_id": "first"}
    columns = {name: rows[name] for name in ("uri", "member", "size", "mtime", "etag")}
    columns |= {name: pa.array([value] * count) for name, value in text.items()}
    columns |= {"attempts": pa.array(np.ones(count, np.int32)), "first_seen": seen, "last_seen": seen}
    return pa.table({field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in files_schema()})


def _write(layout: Layout, held: list[pa.Table], number: int) -> None:
    if held:
        rows = pa.concat_tables(held).cast(files_schema())
        write_data_file(rows, files_schema(), "files", layout.staging, f"{number:06}-x.parquet", DatasetConfig())


def _open(layout: Layout, memory: int, lock: object) -> Transaction:
    if not layout.job_record.exists() and (layout.staging / "files").exists():
        layout.job_record.write_text('{"job": "first"}')
    config = DatasetConfig(memory_bytes=memory)
    return Transaction(layout, instances_schema(load_profile("minimal")), config, lock)  # type: ignore[arg-type]


def _record(run_id: str) -> dict[str, str]:
    return {"run_id": run_id, "started": "2023-11-14T00:00:00+00:00", "dicomflow": __version__}


def run_alone(step: Callable[[Path, int, int, Mode], str], root: Path, files: int, memory: int, mode: Mode) -> int:
    """Run a step in a fresh process and print its figures; its peak memory in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, peak, said = pool.apply(_measured, (step, root, files, memory, mode))
    print(f"{step.__name__:<10} {seconds:>8,.1f} s of CPU {peak:>7,} MiB   {said}", flush=True)
    return peak


def _measured(
    step: Callable[[Path, int, int, Mode], str], root: Path, files: int, memory: int, mode: Mode
) -> tuple[float, int, str]:
    start = time.process_time()
    said = step(root, files, memory, mode)
    return time.process_time() - start, _peak(), said


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Exit code 1 where the increment needed more memory than it may."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=10_000_000)
    parser.add_argument("--memory", type=int, default=1024, help="dataset.memory_bytes, in MiB")
    parser.add_argument("--limit", type=int, default=2048, help="MiB that the increment may not exceed")
    parser.add_argument("--mode", type=Mode, default=Mode.INCREMENT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        about = (Path(folder) / "dest", options.files, options.memory << 20, options.mode)
        run_alone(publish, *about)
        peak = run_alone(increment, *about)
    return 0 if peak < options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
