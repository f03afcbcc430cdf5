"""Names and places inside a dataset.

In: DEST.  Out: paths.  Pure but for looking whether a folder is a dataset; the one place that knows the folder names.

    DEST/
      instances/  files/  conflicts/     the tables: what readers see
      _dicomflow/                        private; readers skip names that begin with _
        dataset.json                     what this dataset is: format, columns, sources
        publish.json                     only while a publish is under way: what to do (redo log)
        lock                             held by the run that writes
        staging/RUN/TABLE/*.parquet      what tasks have written, not yet visible
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
        """What this dataset is."""
        return self.private / "dataset.json"

    @property
    def publish_record(self) -> Path:
        """The redo log of a publish under way."""
        return self.private / "publish.json"

    @property
    def lock(self) -> Path:
        """The lock file of the writing run."""
        return self.private / "lock"

    def staging(self, run_id: str) -> Path:
        """Folder for what the tasks of a run write."""
        return self.private / "staging" / run_id

    def run_record(self, run_id: str) -> Path:
        """The record of a run."""
        return self.private / "runs" / f"{run_id}.json"

    def is_dataset(self) -> bool:
        """True if there is a dataset at this place."""
        return self.description.is_file()

    def parts(self, name: str) -> list[Path]:
        """The visible Parquet files of a table, by name."""
        return sorted(self.table(name).glob("*.parquet"))
