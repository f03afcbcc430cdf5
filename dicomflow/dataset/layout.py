"""Names and places inside a dataset.

In: DEST.  Out: paths.  Pure but for looking what a folder holds; the one place that knows the folder names.

    DEST/
      instances/  files/  conflicts/     the tables: what readers see
      _dicomflow/                        private; readers skip names that begin with _
        dataset.json                     what this dataset is: format, version, columns, sources, its parts
        commit.json                      only while a commit is under way: what to do (redo log)
        lock                             held by the run that writes
        staging/TABLE/*.parquet          what tasks have written, not yet visible; survives a run that is killed
        next/TABLE/*.parquet             tables as they will be, while a commit is prepared
        spill/                           what does not fit into memory, while a commit is prepared
        runs/RUN.json                    one record per run
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TABLES = ("instances", "files", "conflicts")
PRIVATE = "_dicomflow"


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
    """The Parquet files of a folder, by name; none where there is no folder.

    >>> list_parts(Path("/no/such/folder"))
    []
    """
    try:
        return sorted(folder.glob("*.parquet"))
    except FileNotFoundError:  # it was there a moment ago
        return []
