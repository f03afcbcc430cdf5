"""Kill a real run at random moments, run again, compare with a run that nobody disturbed.

make soak                                   200 kills over a job of 20,000 files
python -m tests.durable.soak --kills 20 --files 2000

Every second job begins with an older dataset of part of the files, so that rows change places and tables are rewritten; every
fourth is killed twice, every eighth runs on worker processes.  Ends with the figures, and with exit code 1 if a dataset differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

RUN_COLUMNS = ("run_id", "first_seen", "last_seen")
KEYS = {"instances": "source_uri", "files": "uri", "conflicts": "source_uri"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, kill, compare, report."""
    options = _parse(arguments)
    job = Job(options.work.resolve(), options.files, options.seed)
    begin = time.monotonic()
    states: Counter[str] = Counter()
    different = 0
    for number in range(options.kills):
        state, same = job.try_once(number)
        states[state] += 1
        if not same:
            different += 1
            print(f"kill {number}: the dataset differs; kept in {job.keep(number)}", flush=True)
    seconds = time.monotonic() - begin
    print(f"kills            {options.kills} over a job of {options.files:,} files, in {seconds:,.0f} s")
    print(f"found at death   {', '.join(f'{count} {state}' for state, count in states.most_common())}")
    print(f"different        {different}")
    return 1 if different else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("build") / "soak")
    return parser.parse_args(arguments)


class Job:
    """The files, the dataset that they must lead to, and how long that takes."""

    def __init__(self, work: Path, files: int, seed: int) -> None:
        self.source, self.dest, self.older = work / "source", work / "dest", work / "older"
        self._work = work
        self._random = random.Random(seed)
        if not (work / "made").exists():
            shutil.rmtree(work, ignore_errors=True)
            _run("synth", self.source, "--files", files, "--seed", seed, "--kinds", "mr-long", "--corrupt", 0.05)
            (work / "made").touch()
        shutil.rmtree(self.older, ignore_errors=True)
        parts = sorted(path for path in self.source.iterdir())
        _run("extract", *parts[: max(1, len(parts) // 2)], "-o", self.older)
        shutil.rmtree(self.dest, ignore_errors=True)
        start = time.monotonic()
        _run(*self._command())
        self._seconds = time.monotonic() - start
        self._wanted = read_tables(self.dest)

    def try_once(self, number: int) -> tuple[str, bool]:
        """Kill a run (or two), run to the end; what was found at death, and whether the outcome is as it must be."""
        shutil.rmtree(self.dest)
        if number % 2:
            shutil.copytree(self.older, self.dest)
        options = ("--scheduler", "processes", "--workers", 2) if number % 8 == 7 else ()
        for _ in range(2 if number % 4 == 3 else 1):
            self._kill(*options)
        state = look(self.dest)
        _run(*self._command())
        return state, read_tables(self.dest) == self._wanted

    def keep(self, number: int) -> Path:
        """Put a wrong dataset aside."""
        kept = self._work / f"different-{number}"
        shutil.copytree(self.dest, kept, dirs_exist_ok=True)
        return kept

    def _command(self) -> tuple[object, ...]:
        return ("extract", self.source, "-o", self.dest, "--quiet", "--no-dashboard")

    def _kill(self, *options: object) -> None:
        process = subprocess.Popen(
            [str(part) for part in (_PROGRAM, *self._command(), *options)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(self._random.uniform(0.3, self._seconds * (1.8 if options else 1.0)))
        process.kill()  # the driver alone: workers find out by themselves
        process.wait()
        if self._random.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def look(dest: Path) -> str:
    """In which state a dead run left the dataset."""
    private = dest / "_dicomflow"
    if (private / "commit.json").exists():
        return "publishing"
    if any((private / "next").glob("*/*")):
        return "assembling"
    if any((private / "staging").glob("files/*.parquet")):
        return "with tasks done"
    return (
        "published" if (private / "dataset.json").exists() and not (private / "lock").exists() else "at its beginning"
    )


def read_tables(dest: Path) -> dict[str, pa.Table]:
    """All rows in an order of their own, without what differs from run to run."""
    tables = {}
    for name, key in KEYS.items():
        rows = pads.dataset(dest / name, format="parquet").to_table()
        rows = rows.drop_columns([column for column in RUN_COLUMNS if column in rows.column_names])
        tables[name] = rows.take(pc.sort_indices(rows[key])).combine_chunks()
    return tables


_PROGRAM = Path(sys.executable).with_name("dicomflow")


def _run(*arguments: object) -> None:
    subprocess.run([str(part) for part in (_PROGRAM, *arguments)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
