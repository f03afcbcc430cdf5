"""Write studies to a folder as a PACS export does.

In: a folder, a request.  Out: files, ``SynthSummary``.  Knows the disk and processes; nothing of what is in the files.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dicomflow.errors import ConfigError, DatasetError
from dicomflow.synth.corrupt import CORRUPTIONS
from dicomflow.synth.generate import iter_study
from dicomflow.synth.plan import Request, plan_studies
from dicomflow.synth.study import StudyPlan

_BATCHES_PER_WORKER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthSummary:
    """What was written.

    Attributes:
        files: files on disk, faulty ones included.
        bytes: their size.
        studies: number of studies.
        kinds: kind -> files made from it, faulty ones included.
        corruptions: fault -> files that have it.
    """

    files: int
    bytes: int
    studies: int
    kinds: Mapping[str, int]
    corruptions: Mapping[str, int]


def write_studies(
    dest: Path,
    *,
    files: int,
    seed: int = 0,
    corrupt: float = 0.0,
    kinds: Sequence[str] | None = None,
    workers: int = 1,
) -> SynthSummary:
    """Write exactly ``files`` files under ``dest``; the same arguments give the same bytes on every machine.

    Args:
        dest: a folder that is empty or does not exist.
        files: number of files.
        seed: another seed, other studies.
        corrupt: share of files with a fault, 0 to 1.
        kinds: names from ``KINDS``; None for all.
        workers: number of processes; does not change what is written. More than one needs an importable main module.

    Raises:
        ConfigError: a number is out of range or a kind is unknown.
        DatasetError: ``dest`` is not empty or cannot be written.
    """
    if workers < 1:
        raise ConfigError(f"workers must be 1 or more, not {workers}")
    request = Request(files=files, seed=seed, corrupt=corrupt, kinds=kinds)
    try:
        _prepare(dest)
        return _add_up(_write_all(dest, list(plan_studies(request, CORRUPTIONS)), workers))
    except OSError as error:
        raise DatasetError(f"cannot write to {dest}: {error.strerror or error}") from error


def _prepare(dest: Path) -> None:
    dest.mkdir(parents=True, exist_ok=True)
    if any(dest.iterdir()):
        raise DatasetError(f"{dest} is not empty; choose another folder, so that the number of files is exact")


def _write_all(dest: Path, plans: list[StudyPlan], workers: int) -> Iterator[SynthSummary]:
    write = partial(_write_study, dest)
    if workers == 1 or len(plans) < 2:
        yield from map(write, plans)
        return
    # spawn, not fork: the caller may have threads (Dask, Jupyter)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(plans)), mp_context=context) as pool:
        yield from pool.map(write, plans, chunksize=max(1, len(plans) // (workers * _BATCHES_PER_WORKER)))


def _write_study(dest: Path, plan: StudyPlan) -> SynthSummary:
    size = 0
    kinds: Counter[str] = Counter()
    corruptions: Counter[str] = Counter()
    made: set[str] = set()
    root = str(dest)
    for file in iter_study(plan):
        folder, _, name = file.path.rpartition("/")
        if folder not in made:
            Path(root, folder).mkdir(parents=True, exist_ok=True)
            made.add(folder)
        with open(f"{root}/{folder}/{name}", "xb", buffering=0) as stream:
            stream.write(file.data)
        size += len(file.data)
        kinds[file.kind] += 1
        corruptions.update([file.corruption] if file.corruption else [])
    return SynthSummary(files=kinds.total(), bytes=size, studies=1, kinds=kinds, corruptions=corruptions)


def _add_up(parts: Iterable[SynthSummary]) -> SynthSummary:
    files = size = studies = 0
    kinds: Counter[str] = Counter()
    corruptions: Counter[str] = Counter()
    for part in parts:
        files, size, studies = files + part.files, size + part.bytes, studies + part.studies
        kinds.update(part.kinds)
        corruptions.update(part.corruptions)
    return SynthSummary(
        files=files,
        bytes=size,
        studies=studies,
        kinds=dict(sorted(kinds.items())),
        corruptions=dict(sorted(corruptions.items())),
    )
