"""What of a dataset is damaged, and whether a run that reads everything again can make it anew.

In: the published version, the SOURCEs of a run.  Out: parts that are not what was published, or one clear refusal.  Reads only;
knows no headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dicomflow.dataset.known import join_sources
from dicomflow.dataset.layout import BASE_TABLES, Layout
from dicomflow.dataset.parts import describe_part
from dicomflow.dataset.snapshot import PartInfo, Snapshot
from dicomflow.errors import DatasetError

_SHOWN = 3


def find_damaged(layout: Layout, snapshot: Snapshot) -> list[Path]:
    """Published parts that are missing, cannot be read, or have other bytes than were published; rollups are made anew anyway."""
    parts = (
        (layout.table(table) / name, info) for table in BASE_TABLES for name, info in snapshot.tables[table].items()
    )
    return [path for path, info in parts if not _is_whole(path, info)]


def _is_whole(path: Path, info: PartInfo) -> bool:
    try:
        return describe_part(path) == info
    except DatasetError:
        return False


def check_repair(snapshot: Snapshot, damaged: Sequence[Path], sources: Sequence[str], dest: Path) -> None:
    """Rows that a damaged part held come back only if their files are read again.

    Raises:
        DatasetError: the run does not name all SOURCEs of the dataset.
    """
    named = set(sources)
    others = [source for source in join_sources(snapshot.sources, sources) if source not in named]
    if others:
        raise DatasetError(
            f"{dest}: {say_parts(damaged, dest)} damaged or gone; to make it anew, `extract --full` must name all SOURCEs of the "
            f"dataset, also {others[0]}; or restore it, or extract into a new folder"
        )


def say_parts(damaged: Sequence[Path], dest: Path) -> str:
    """The first few of them by name.

    >>> say_parts([Path("/d/files/a.parquet")], Path("/d"))
    'files/a.parquet is'
    """
    names = [str(path.relative_to(dest)) for path in damaged[:_SHOWN]]
    more = f" and {len(damaged) - _SHOWN:,} more" if len(damaged) > _SHOWN else ""
    return f"{', '.join(names)}{more} {'is' if len(damaged) == 1 else 'are'}"
