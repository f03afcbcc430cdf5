"""The whole job beside its floor, beside the script that people write first, and as it grows.  Nothing here asserts a time."""

from __future__ import annotations

import json
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
from conftest import WORK, cpu_of_children, cpu_of_self, dicomflow, list_paths, read_prefixes, run
from instructions import count_instructions, reason_against

from dicomflow import extract, read_headers
from dicomflow.header.reader import HeaderReader
from dicomflow.schema.column import ALL_ITEMS, Column, Step
from dicomflow.schema.profile import load_profile
from tests.hostile import read_alone
from tests.segmentation import FRAMES, make_segmentation, write_profile, write_segmentation

SCRIPT = Path(__file__).with_name("usual_script.py")
ROUNDS = 7
SCANS = 2000


def _clear(dest: Path) -> None:
    shutil.rmtree(dest, ignore_errors=True)


@pytest.mark.benchmark(group="job", timer=cpu_of_self)
def test_floor(benchmark: Any, few: Path) -> None:
    """What no program can do without: open each file, read the header's bytes, close it."""
    paths = list_paths(few)
    benchmark.extra_info["files"] = len(paths)
    benchmark.pedantic(read_prefixes, args=(paths,), rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="job", timer=cpu_of_self)
def test_job(benchmark: Any, few: Path) -> None:
    """List, plan, read, type, write, publish: in this process, imports apart."""
    dest = WORK / "job"
    benchmark.pedantic(
        lambda: extract(few, dest, compute__scheduler="threads", compute__workers=1),
        setup=lambda: _clear(dest),
        rounds=ROUNDS,
        warmup_rounds=1,
    )


@pytest.mark.benchmark(group="job", timer=cpu_of_self)
def test_scanner(benchmark: Any, few: Path) -> None:
    """The compiled walk over one header, again and again."""
    reader = HeaderReader(load_profile("standard").columns)
    data = Path(list_paths(few)[0]).read_bytes()
    reader.grow(len(data))
    reader.view[:] = data
    reader.scan(len(data), at_end=True)
    benchmark.extra_info.update(
        elements=reader.scanner.elements,
        header_bytes=reader.header_bytes,
        scanned_elements=reader.scanner.elements * SCANS,
    )
    scan = reader.scanner.scan
    benchmark.pedantic(lambda: [scan(len(data), True) for _ in range(SCANS)], rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="instructions", timer=cpu_of_children)
def test_instructions(benchmark: Any) -> None:
    """Both hot loops in machine instructions, which no load of the machine changes."""
    if reason := reason_against():
        pytest.skip(reason)
    counted = benchmark.pedantic(count_instructions, rounds=1)
    benchmark.extra_info.update(counted)


@pytest.mark.benchmark(group="script", timer=cpu_of_children)
def test_script_cpu(benchmark: Any, few: Path) -> None:
    """dask.bag + dcmread + 44 attributes + pandas + Parquet."""
    start = time.perf_counter()
    benchmark.pedantic(run, args=(sys.executable, str(SCRIPT), str(few), str(WORK / "usual.parquet")), rounds=1)
    benchmark.extra_info["script_wall"] = time.perf_counter() - start


@pytest.mark.benchmark(group="script", timer=time.perf_counter)
def test_extract_wall(benchmark: Any, few: Path) -> None:
    """The command from its start to its end."""
    dest = WORK / "command"
    benchmark.pedantic(
        lambda: dicomflow("extract", few, "-o", dest, "--json"), setup=lambda: _clear(dest), rounds=5, warmup_rounds=1
    )


@pytest.fixture(scope="session")
def segmentation() -> Path:
    """One file of 12,000 frames, each with its functional groups."""
    WORK.mkdir(exist_ok=True)
    return write_segmentation(WORK / f"seg-{FRAMES}.dcm")


@pytest.fixture(scope="session")
def frames_profile() -> str:
    """The standard columns, and three attributes of each frame."""
    return str(write_profile(WORK / "frames.yaml"))


@pytest.mark.benchmark(group="segmentation", timer=cpu_of_self)
def test_seg(benchmark: Any, segmentation: Path, frames_profile: str, tmp_path: Path) -> None:
    """One segmentation into a typed row, three attributes of each frame included; its memory in a process of its own."""
    read = partial(read_headers, segmentation, columns=frames_profile)
    benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=1)
    (alone,) = read_alone(tmp_path, {"seg": make_segmentation()}).values()
    benchmark.extra_info["memory_segmentation"] = alone.process


@pytest.mark.benchmark(group="segmentation", timer=cpu_of_self)
def test_seg_pydicom(benchmark: Any, segmentation: Path, frames_profile: str) -> None:
    """The same attributes of the same file by pydicom, untyped, without a table."""
    columns = load_profile(frames_profile).columns
    benchmark.pedantic(_read_with_pydicom, args=(segmentation, columns), rounds=3, warmup_rounds=1)


def _read_with_pydicom(path: Path, columns: tuple[Column, ...]) -> dict[str, Any]:
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    return {
        column.name: next(filter(None, (_follow(dataset, each) for each in column.paths)), None) for column in columns
    }


def _follow(dataset: Any, path: tuple[Step, ...]) -> Any:
    if path[0].tag >> 16 == 2:
        dataset = dataset.file_meta
    for place, step in enumerate(path[:-1]):
        items = dataset[step.tag].value if step.tag in dataset else []
        if step.item == ALL_ITEMS:
            return [_follow(one, path[place + 1 :]) for one in items]
        if step.item >= len(items):
            return None
        dataset = items[step.item]
    return dataset[path[-1].tag].value if path[-1].tag in dataset else None


@pytest.mark.benchmark(group="scale", timer=time.perf_counter)
def test_scale(benchmark: Any, few: Path, many: Path) -> None:
    """One worker process and two on the large job; cost per file and memory against the small job."""

    def measure() -> None:
        # in turns, and the better of two: a machine's speed changes from one minute to the next
        small, one, two, again_one, again_two = (
            _extract(*job) for job in ((few, 1), (many, 1), (many, 2), (many, 1), (many, 2))
        )
        benchmark.extra_info.update(
            speed_1=max(one["files_per_second"], again_one["files_per_second"]),
            speed_2=max(two["files_per_second"], again_two["files_per_second"]),
            cost_few=_task_seconds(small),
            cost_many=_task_seconds(one),
            memory_few=small["peak_worker_bytes"],
            memory_many=max(one["peak_worker_bytes"], two["peak_worker_bytes"]),
        )

    benchmark.pedantic(measure, rounds=1)


def _extract(source: Path, workers: int) -> dict[str, Any]:
    dest = WORK / f"{source.name}-{workers}"
    _clear(dest)
    options = ("--json", "--scheduler", "processes", "--workers", workers)
    summary: dict[str, Any] = json.loads(dicomflow("extract", source, "-o", dest, *options))
    return summary


def _task_seconds(summary: dict[str, Any]) -> float:
    return sum(summary["task_seconds"].values()) / float(summary["files"])
