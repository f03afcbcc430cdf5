"""What a dataset is at one moment: its description, and exactly which parts belong to it.

In: the private folder of a dataset.  Out: a Snapshot, and where its parts lie.  Reads only; knows no Parquet.

While a commit is under way, or was killed in the middle, the new parts of a table lie either in its folder or in ``next``:
whoever reads by the snapshot is exact all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from dicomflow.dataset.layout import MAX_PARTITION_KEYS, ROLLUPS, TABLES, Layout, is_partition, list_parts, part_name
from dicomflow.errors import DatasetError, describe


class PartInfo(NamedTuple):
    """What is known of a part without opening it; ``digest`` is xxh3-64 of its bytes, in hex."""

    rows: int
    bytes: int
    digest: str


Tables = dict[str, dict[str, PartInfo]]
"""Table -> name of a part -> what is known of it."""

_KINDS = {
    "format": str,
    "version": int,
    "profile": str,
    "schema": str,
    "sources": list,
    "dicomflow": str,
    "last_run": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A published version of a dataset.

    Attributes:
        format: version of the layout.
        version: 1 for the first run that published, one more for each later one.
        schema: fingerprint of the columns of ``instances``.
        sources: absolute paths whose files the ledger knows.
        last_run: the run that published it.
        tables: its parts.
        partition_by: what parts of ``instances`` are split by.
    """

    format: str
    version: int
    profile: str
    schema: str
    sources: list[str]
    dicomflow: str
    last_run: str
    tables: Tables = field(default_factory=dict)
    partition_by: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], path: Path) -> Self:
        """Check what was read from ``path``; a name that leaves its folder is not followed, whoever wrote it.

        Raises:
            DatasetError: it is no description of a dataset.
        """
        try:
            plain = {name: _typed(found[name], kind) for name, kind in _KINDS.items()}
            plain["sources"] = [_typed(source, str) for source in plain["sources"]]
            keys = [_typed(key, str) for key in _typed(found.get("partition_by", []), list)]
            tables = {table: _read_table(found["tables"], table) for table in TABLES}
        except (KeyError, TypeError, ValueError):
            raise DatasetError(f"{path}: is not the description of a dataset; extract into a new folder") from None
        names = [name for parts in tables.values() for name in parts if not is_part_name(name)]
        if names or not is_file_name(plain["last_run"]):
            raise DatasetError(f"{path}: names {[*names, plain['last_run']][0]!r}, which is no file name")
        return cls(**plain, tables=tables, partition_by=keys)

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``dataset.json``."""
        return asdict(self)

    def rows(self, table: str) -> int:
        """Rows of a table."""
        return sum(part.rows for part in self.tables.get(table, {}).values())

    def bytes(self, table: str) -> int:
        """Bytes of a table's parts."""
        return sum(part.bytes for part in self.tables.get(table, {}).values())


def read_snapshot(layout: Layout, format_version: str) -> Snapshot | None:
    """What is published and complete; None if nothing was published yet.

    Raises:
        DatasetError: the description cannot be read, or is of another format.
    """
    found = read_json(layout.description)
    return None if found is None else check_format(found, layout.description, format_version)


def read_published(layout: Layout, format_version: str) -> tuple[Snapshot, dict[str, list[Path]]]:
    """The newest version whose commit was recorded, and the paths of its parts by table.

    Raises:
        DatasetError: there is none, or a part is not where it should be.
    """
    record, path = read_json(layout.commit_record), layout.commit_record
    if record is None:
        found, path = read_json(layout.description), layout.description
    else:
        found = record.get("description")
        if not isinstance(found, dict):
            raise DatasetError(f"{path}: not a commit record")
    if found is None:
        raise DatasetError(
            f"{layout.root}: no dicomflow dataset here; make one with `dicomflow extract SOURCE -o DEST`"
        )
    snapshot = check_format(found, path, format_version)
    return snapshot, {table: _find_parts(layout, table, set(snapshot.tables[table])) for table in TABLES}


def check_format(found: Mapping[str, Any], path: Path, format_version: str) -> Snapshot:
    """The snapshot that a description stands for.

    Raises:
        DatasetError: it is of another format, or no description.
    """
    if found.get("format") != format_version:
        raise DatasetError(
            f"{path.parent.parent}: has format {str(found.get('format'))[:16]!r}, this version reads {format_version!r}; "
            "extract into a new folder"
        )
    return Snapshot.from_json(found, path)


def _find_parts(layout: Layout, table: str, names: set[str]) -> list[Path]:
    lost = []
    for folder in (layout.table(table), layout.next / table):  # they may change places between the two looks
        missing = names - {part_name(part) for part in list_parts(folder)}
        if not missing:
            return [folder / name for name in sorted(names)]
        lost.append(min(missing))
    remedy = "run `dicomflow extract` again" if table in ROLLUPS else "restore it, or extract into a new folder"
    raise DatasetError(
        f"{layout.table(table) / lost[0]}: is not there; if a run is publishing, try again; else {remedy}"
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no file.

    Raises:
        DatasetError: it cannot be read, or is something else.
    """
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = describe(error) if isinstance(error, OSError) else "not valid JSON"
        raise DatasetError(f"{path}: cannot be read: {reason}") from None
    if not isinstance(loaded, dict):
        raise DatasetError(f"{path}: not a JSON object")
    return loaded


def is_file_name(name: object) -> bool:
    """Whether this names a file in a folder, and nothing elsewhere."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


def is_part_name(name: object) -> bool:
    """Whether this names a file in a table or in a partition of it, and nothing elsewhere.

    >>> [is_part_name(name) for name in ("a.parquet", "by_Modality=CT/a.parquet", "CT/a.parquet", "by_Modality=CT/..")]
    [True, True, False, False]
    """
    *folders, last = name.split("/") if isinstance(name, str) else ("",)
    return is_file_name(last) and len(folders) <= MAX_PARTITION_KEYS and all(map(is_partition, folders))


def _read_table(found: Any, table: str) -> dict[str, PartInfo]:
    """Rollups that no run has made yet have no parts."""
    return {} if table in ROLLUPS and not found.get(table) else _read_parts(found[table])


def _read_parts(found: Any) -> dict[str, PartInfo]:
    """A table has one part at least, so that its readers find the schema."""
    parts = {name: _read_part(*about) for name, about in _typed(found, dict).items()}
    if not parts:
        raise ValueError("no parts")
    return parts


def _read_part(rows: Any, size: Any, digest: Any) -> PartInfo:
    if _typed(rows, int) < 0 or _typed(size, int) < 0:
        raise ValueError("less than nothing")
    return PartInfo(rows, size, _typed(digest, str))


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(kind)
    return value
