"""A million files, real ones on the disk, by two local worker processes: the speed of ten thousand, and memory that stays flat.

    python -m tests.cluster.million --files 1000000

Makes the files (some 9 KB each; kept in bench/ for the next time), runs 10,000 and all of them, and prints for each the files per
second and CPU per file, and the memory of driver, scheduler and workers over time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import dicomflow
from tests.cluster.daemons import Daemons

WORK = Path("bench")
FEW = 10_000
MARK = 0.15
"""The cost of a file among a million may be so much more than among ten thousand."""


@dataclass
class Memory:
    """Resident memory of some processes, looked at twice per second."""

    daemons: Daemons
    driver: psutil.Process
    seen: dict[str, list[int]] = field(default_factory=lambda: {"driver": [], "scheduler": [], "workers": []})

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        assert self.daemons.scheduler is not None
        scheduler = psutil.Process(self.daemons.scheduler.pid)
        workers = self.daemons.worker_processes()
        while not self._over.wait(0.5):
            try:
                found = {
                    "driver": self.driver.memory_info().rss,
                    "scheduler": scheduler.memory_info().rss,
                    "workers": max(worker.memory_info().rss for worker in workers),
                }
            except psutil.Error:
                continue
            for who, size in found.items():
                self.seen[who].append(size)

    def say(self) -> dict[str, str]:
        """Peak of each third of the run."""
        said = {}
        for who, sizes in self.seen.items():
            third = max(1, len(sizes) // 3)
            peaks = [
                max(sizes[start : start + third])
                for start in range(0, third * 3, third)
                if sizes[start : start + third]
            ]
            said[who] = " ".join(f"{peak / 1e6:,.0f}" for peak in peaks)
        return said


def make_files(files: int) -> Path:
    """Small slices of CT and MR; made once.  Beyond the first 10,000 they are copies with SOP Instance UIDs of their own."""
    source = WORK / f"small-{files}"
    marker = source.with_suffix(".made")
    if marker.exists():
        return source
    shutil.rmtree(source, ignore_errors=True)
    if files > FEW:
        copy_files(make_files(FEW), source, files)
    else:
        WORK.mkdir(exist_ok=True)
        command = [
            "-m",
            "dicomflow",
            "synth",
            str(source),
            "--files",
            str(files),
            "--seed",
            "7",
            "--kinds",
            "ct,mr",
            "--quiet",
        ]
        subprocess.run([sys.executable, *command], check=True)
    marker.touch()
    return source


def copy_files(few: Path, target: Path, files: int) -> None:
    """The UID is replaced in the bytes, wherever it stands, by another one of the same length; not in deflated ones."""
    table = dicomflow.read_headers(sorted(path for path in few.rglob("*") if path.is_file()), columns="minimal")
    uids = dict(zip(table["source_uri"].to_pylist(), table["SOPInstanceUID"].to_pylist(), strict=True))
    found = ((Path(uri), Path(uri).read_bytes(), uid.encode()) for uri, uid in uids.items())
    bodies = [(path, body, uid) for path, body, uid in found if body.count(uid) == 2]  # file meta information, data set
    for number in range(files):
        path, body, uid = bodies[number % len(bodies)]
        other = b"2.25.1" + str(number).zfill(len(uid) - 6).encode()
        place = target / f"{number // len(bodies):04d}" / path.relative_to(few.absolute())
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body.replace(uid, other))


@dataclass(frozen=True)
class Outcome:
    files: int
    wall: float
    rate: float
    worker_seconds: float
    """CPU seconds of both workers."""
    memory: dict[str, str]

    @property
    def cost(self) -> float:
        """CPU microseconds of a worker per file."""
        return self.worker_seconds / self.files * 1e6


def cpu_of_workers(daemons: Daemons) -> float:
    """CPU seconds so far."""
    times = [worker.cpu_times() for worker in daemons.worker_processes()]
    return sum(time.user + time.system for time in times)


def measure(source: Path, daemons: Daemons) -> Outcome:
    """One run as a command of its own, on the workers that are there."""
    dest = WORK / "million"
    shutil.rmtree(dest, ignore_errors=True)
    command = ["-m", "dicomflow", "extract", str(source), "-o", str(dest), "--json", "--scheduler", daemons.address]
    start, used = time.perf_counter(), cpu_of_workers(daemons)
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
        memory = Memory(daemons, psutil.Process(driver.pid))
        said, _ = driver.communicate()
        memory.stop()
    summary = json.loads(said)
    assert summary["files"] == summary["read"], "every file was read by this run"
    return Outcome(
        files=summary["files"],
        wall=time.perf_counter() - start,
        rate=summary["files_per_second"],
        worker_seconds=cpu_of_workers(daemons) - used,
        memory=memory.say(),
    )


def main() -> int:
    """Exit code 1 where a file among many costs more than the mark allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    options = parser.parse_args()
    few, many = make_files(FEW), make_files(options.files)
    settings = {"worker.memory.target": "0", "worker.memory.spill": "0"}
    with Daemons(Path(os.path.abspath(WORK)) / "daemons", workers=2, settings=settings) as daemons:
        measure(few, daemons)  # everything is imported then
        outcomes = [measure(few, daemons), measure(many, daemons), measure(few, daemons)]
    for outcome in outcomes:
        print(
            f"{outcome.files:>9,} files  {outcome.wall:7.1f} s  {outcome.rate:8,.0f} files/s  {outcome.cost:6.1f} us CPU of a worker per file"
            f"  peak MB by thirds: {outcome.memory}"
        )
    base = (outcomes[0].cost + outcomes[2].cost) / 2
    ratio = outcomes[1].cost / base
    print(f"a file among {options.files:,} costs {ratio:.2f} times what it costs among {FEW:,} (at most {1 + MARK})")
    return 0 if ratio <= 1 + MARK else 1


if __name__ == "__main__":
    sys.exit(main())
