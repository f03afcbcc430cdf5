"""One row per SOP Instance UID: find the files that lost, and take their rows out of what is to be published.

In: the staged parts of a run.  Out: the same parts with losers marked in ``files``, gone from ``instances``, and kept whole in
``conflicts`` where their header differs.  DuckDB does the finding, out of core where there are more keys than memory.
Knows no headers.

The winner among files with one key does not depend on the order of tasks or runs: a whole header before a partial one, then
the newest mtime, then the lowest uri, then the lowest member.
"""

from __future__ import annotations

import glob
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomflow.config import DatasetConfig
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import Code, DatasetError, Status

_FIND_LOSERS = """
with keyed as (
    select SOPInstanceUID, status, mtime, uri, member, header_digest, filename
    from read_parquet(?, filename = true, hive_partitioning = false)
    where SOPInstanceUID is not null and status in ('ok', 'partial')
), repeated as (
    select SOPInstanceUID from keyed group by SOPInstanceUID having count(*) > 1
), ranked as (
    select *,
        row_number() over winner as place,
        first_value(header_digest) over winner as winner_digest,
        first_value(uri) over winner as winner_uri
    from keyed semi join repeated using (SOPInstanceUID)
    window winner as (
        partition by SOPInstanceUID
        order by status, mtime desc nulls last, uri, member nulls first
        rows between unbounded preceding and current row
    )
)
select filename, uri, member, header_digest = winner_digest as same_header, winner_uri
from ranked where place > 1 order by filename, uri, member
"""

COUNT_IN_MEMORY = 2_000_000
"""Ledger rows up to which keys are counted in memory."""


class Loser(NamedTuple):
    """A file whose SOP Instance UID another file has with a better claim."""

    uri: str
    member: str | None
    same_header: bool
    winner_uri: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the staged parts are, and how to write them again."""

    staging: Path
    instances: pa.Schema
    files: pa.Schema
    config: DatasetConfig

    def of(self, table: str) -> list[Path]:
        """The staged parts of a table."""
        return sorted((self.staging / table).glob("*.parquet"))


def deduplicate(parts: Parts) -> int:
    """Leave one row per SOP Instance UID in the staged parts; the number of files that lost."""
    losers = find_losers(parts.of("files"))
    for ledger, lost in losers.items():
        _mark_in_ledger(ledger, lost, parts)
        _move_rows(ledger.stem, lost, parts)
    return sum(len(lost) for lost in losers.values())


def find_losers(ledger_parts: list[Path]) -> dict[Path, list[Loser]]:
    """The losers of all keys that occur more than once, by the ledger part that holds them."""
    found: dict[Path, list[Loser]] = {}
    if _may_repeat(ledger_parts):
        for filename, *loser in _query(_FIND_LOSERS, ledger_parts):
            found.setdefault(Path(str(filename)), []).append(Loser(*loser))  # type: ignore[arg-type]
    return found


def _may_repeat(ledger_parts: list[Path]) -> bool:
    """Could a key occur twice?  A count in memory spares DuckDB's start where there are few enough keys to count."""
    if count_rows(ledger_parts) > COUNT_IN_MEMORY:
        return True
    parts = [pq.read_table(part, columns=["SOPInstanceUID"])["SOPInstanceUID"] for part in ledger_parts]
    keys = pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string())
    return bool(pc.count_distinct(keys).as_py() != len(keys) - keys.null_count)


def count_rows(parts: list[Path]) -> int:
    """Rows of all these parts, by their footers."""
    return sum(pq.read_metadata(part).num_rows for part in parts)


def count_outcomes(ledger_parts: list[Path]) -> dict[tuple[str, str | None], int]:
    """Number of ledger rows by (status, code)."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for part in ledger_parts:
        groups = (
            pq.read_table(part, columns=["status", "code"]).group_by(["status", "code"]).aggregate([([], "count_all")])
        )
        for row in groups.to_pylist():
            counts[row["status"], row["code"]] += row["count_all"]
    return dict(counts)


def _query(sql: str, paths: list[Path]) -> list[tuple[object, ...]]:
    """Ask DuckDB about these files, whose names may hold what it takes for patterns; it spills beside them."""
    import duckdb  # 0.1 s that a run without repeated keys never needs

    spill = paths[0].parent.parent / "spill"
    try:
        with duckdb.connect(config={"temp_directory": str(spill)}) as connection:
            found: list[tuple[object, ...]] = connection.execute(
                sql, [[glob.escape(str(path)) for path in paths]]
            ).fetchall()
            return found
    except duckdb.Error as error:
        raise DatasetError(f"{paths[0].parent}: cannot be deduplicated: {str(error).splitlines()[0]}") from None


def _mark_in_ledger(path: Path, lost: list[Loser], parts: Parts) -> None:
    table = pq.read_table(path, schema=parts.files)
    by_place = {(loser.uri, loser.member): loser for loser in lost}
    columns: dict[str, list[str | None]] = {name: table[name].to_pylist() for name in ("status", "code", "message")}
    for row, place in enumerate(zip(table["uri"].to_pylist(), table["member"].to_pylist(), strict=True)):
        if (loser := by_place.get(place)) is not None:
            columns["status"][row] = str(Status.DUPLICATE if loser.same_header else Status.CONFLICT)
            columns["code"][row] = str(Code.SAME_HEADER if loser.same_header else Code.OTHER_HEADER)
            columns["message"][row] = f"the instance is taken from {loser.winner_uri}"
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    write_data_file(table, parts.files, "files", parts.staging, path.name, parts.config)


def _move_rows(task_id: str, lost: list[Loser], parts: Parts) -> None:
    """Take the losers' rows out of the task's ``instances`` parts; rows with another header go to ``conflicts``."""
    conflicts = []
    for path in sorted((parts.staging / "instances").glob(f"{task_id}-*.parquet")):
        table = pq.read_table(path, schema=parts.instances)
        is_lost = _mask(table, lost)
        if not pc.any(is_lost).as_py():
            continue
        conflicts.append(table.filter(_mask(table, [loser for loser in lost if not loser.same_header])))
        kept = table.filter(pc.invert(is_lost))
        if kept.num_rows:
            write_data_file(kept, parts.instances, "instances", parts.staging, path.name, parts.config)
        else:
            path.unlink()
    rows = pa.concat_tables(conflicts) if conflicts else None
    if rows is not None and rows.num_rows:
        write_data_file(rows, parts.instances, "conflicts", parts.staging, f"{task_id}.parquet", parts.config)


def _mask(table: pa.Table, losers: list[Loser]) -> pa.Array:
    """Which rows come from these files."""
    places = {(loser.uri, loser.member) for loser in losers}
    uris, members = table["source_uri"].to_pylist(), table["source_member"].to_pylist()
    return pa.array(np.fromiter((place in places for place in zip(uris, members, strict=True)), bool, len(uris)))
