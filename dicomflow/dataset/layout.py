"""Names and places inside a dataset.

In: DEST.  Out: paths.  Pure but for looking what a folder holds; the one place that knows the folder names.

    DEST/
      instances/  files/  conflicts/     the tables: what readers see
      series/  studies/  patients/       rollups of instances, published with them
      instances/by_KEY=VALUE/            only with ``partition_by``: up to three of these, one in the other
      _dicomflow/                        private; readers skip names that begin with _
        dataset.json                     what this dataset is: format, version, columns, sources, its parts
        commit.json                      only while a commit is under way: what to do (redo log)
        lock                             held by the run that writes
        staging/TABLE/*.parquet          what tasks have written, not yet visible; survives a run that is killed
        staging/records/*.arrow          what the rollups need of those of instances: streams of Arrow, with a digest
        staging/plan/*.parquet           what tasks are to read, one part per task; made anew by each run
        next/TABLE/*.parquet             tables as they will be, while a commit is prepared
        spill/                           what does not fit into memory, while files are compared and a commit is prepared
        runs/RUN.json                    one record per run
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BASE_TABLES = ("instances", "files", "conflicts")

ROLLUPS = ("series", "studies", "patients")
"""What is made from ``instances``; datasets of earlier versions get it with their next commit."""

TABLES = (*BASE_TABLES, *ROLLUPS)
PRIVATE = "_dicomflow"

PARTITION_PREFIX = "by_"
"""A folder's key has a name of its own: the columns themselves are in the parts."""

MAX_PARTITION_KEYS = 3

_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one dataset."""

    root: Path

    def table(self, name: str) -> Path:
        """Folder of a table."""
        return self.root / name

    @property
    def private(self) -> Path:
        """The private folder; it makes a folder a dataset."""
        return self.root / PRIVATE

    @property
    def description(self) -> Path:
        """What this dataset is, and which parts belong to it."""
        return self.private / "dataset.json"

    @property
    def commit_record(self) -> Path:
        """The redo log of a commit under way."""
        return self.private / "commit.json"

    @property
    def lock(self) -> Path:
        """The lock file of the writing run."""
        return self.private / "lock"

    @property
    def staging(self) -> Path:
        """Folder for what tasks write."""
        return self.private / "staging"

    @property
    def job_record(self) -> Path:
        """What the tasks in staging were asked for: another job cannot use them."""
        return self.staging / "job.json"

    @property
    def plan(self) -> Path:
        """Folder of the plan: which files each task reads."""
        return self.staging / "plan"

    @property
    def next(self) -> Path:
        """Folder for the tables of a commit that is being prepared."""
        return self.private / "next"

    @property
    def spill(self) -> Path:
        """Folder for what does not fit into memory."""
        return self.private / "spill"

    @property
    def runs(self) -> Path:
        """Folder of the run records."""
        return self.private / "runs"

    def run_record(self, run_id: str) -> Path:
        """The record of a run."""
        return self.runs / f"{run_id}.json"

    def is_dataset(self) -> bool:
        """True if there is a dataset at this place."""
        return self.description.is_file()

    def parts(self, name: str) -> list[Path]:
        """The visible Parquet files of a table, by name."""
        return list_parts(self.table(name))


def list_parts(folder: Path) -> list[Path]:
    """The Parquet files of a folder and of its partitions, by name; none where there is no folder.

    >>> list_parts(Path("/no/such/folder"))
    []
    """
    return sorted(_find_parts(folder, MAX_PARTITION_KEYS))


def _find_parts(folder: Path, depth: int) -> Iterator[Path]:
    try:
        found = list(folder.glob("*"))
    except FileNotFoundError:  # it was there a moment ago
        return
    for path in found:
        if path.name.endswith(_SUFFIX):
            yield path
        elif depth and is_partition(path.name):
            yield from _find_parts(path, depth - 1)


def is_partition(name: str) -> bool:
    """Whether this is the name of a partition's folder; it cannot be taken for a part.

    >>> is_partition("by_Modality=CT"), is_partition("Modality=CT"), is_partition("by_Modality=.parquet")
    (True, False, False)
    """
    key, equals, value = name.partition("=")
    is_key = key.startswith(PARTITION_PREFIX) and key.isidentifier()
    return is_key and bool(equals and value) and "/" not in name and "\0" not in name and not name.endswith(_SUFFIX)


def part_name(part: Path) -> str:
    """Name of a part in its table: that of the file, behind those of its partitions.

    >>> part_name(Path("/data/instances/by_Modality=CT/x.parquet"))
    'by_Modality=CT/x.parquet'
    """
    names = [part.name]
    for folder in part.parents:
        if not is_partition(folder.name):
            break
        names.insert(0, folder.name)
    return "/".join(names)


def partition_of(name: str) -> str:
    """The partition in which a part of this name lies; empty for none.

    >>> partition_of("by_Modality=CT/x.parquet"), partition_of("x.parquet")
    ('by_Modality=CT', '')
    """
    return name.rpartition("/")[0]
