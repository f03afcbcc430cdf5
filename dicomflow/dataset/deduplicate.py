"""One row per SOP Instance UID, over all runs: what becomes of each ledger row when a run is added to a dataset.

In: the ledger parts that are published and those of the run, and which published rows the run replaces.  Out: ``Verdicts``: edits
of ledger rows, where the row of each edited file belongs, and the files that must be read again because their row is needed now.
DuckDB does the finding, out of core where there are more keys than memory.  Knows no headers; writes nothing.

The winner among files with one key does not depend on the order of tasks or runs: a whole header before a partial one, then the
newest mtime, then the lowest uri, then the lowest member.  All others lost: ``duplicate`` with the winner's header, ``conflict``
with another one.  Of a duplicate no row is kept; should it win later, or the winner's header change, it is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.dataset.changes import place_of
from dicomflow.dataset.engine import Engine, escape_paths
from dicomflow.dataset.parts import count_rows, read_part
from dicomflow.dataset.rows import Rows, group_rows

COUNT_IN_MEMORY = 2_000_000
"""Ledger rows up to which keys are counted in memory."""

FEW_MOVES = 1 << 16
"""Files up to which rows that move are looked for in memory."""

EDITS_SCHEMA = pa.schema(
    [
        pa.field("part", pa.string()),  # the ledger part that holds the row
        pa.field("uri", pa.string()),
        pa.field("member", pa.string()),
        pa.field("status", pa.string()),  # null: the row goes
        pa.field("code", pa.string()),
        pa.field("message", pa.string()),
        pa.field("new", pa.bool_()),  # of this run, not published yet
        pa.field("has_row", pa.bool_()),  # in instances or conflicts
        pa.field("place", pa.string()),  # where its row belongs now: instances, conflicts, null for nowhere
    ]
)

UNREAD_SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string()),
        pa.field("member", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime", pa.timestamp("us")),
        pa.field("etag", pa.string()),
        pa.field("first_seen", pa.timestamp("us")),
    ]
)

MOVES_SCHEMA = pa.schema([EDITS_SCHEMA.field(name) for name in ("uri", "member", "place")])

_AFFECTED_SCHEMA = pa.schema([EDITS_SCHEMA.field("part"), *MOVES_SCHEMA])

_CLAIMS = """
create temp table gone as
    select uri, coalesce(member, '') as member from replaced union all select uri, coalesce(member, '') from removed;
create temp table same_failures as
    select n.uri, coalesce(n.member, '') as member from new_rows n join old_rows o
    on n.uri = o.uri and coalesce(n.member, '') = coalesce(o.member, '')
    where n.status = 'failed' and o.status = 'failed' and n.code is not distinct from o.code
    and n.message is not distinct from o.message and n."offset" is not distinct from o."offset"
    and n.size is not distinct from o.size and n.mtime is not distinct from o.mtime;
create temp view kept_rows as
    select * from old_rows o anti join gone g on g.uri = o.uri and g.member = coalesce(o.member, '');
create temp view claims as
    select true as new, *, status = 'partial' as is_partial from new_rows
    where SOPInstanceUID is not null and status in ('ok', 'partial')
    union all by name
    select false as new, *, status = 'partial' or (status <> 'ok' and "offset" is not null) as is_partial from kept_rows
    where SOPInstanceUID is not null and status in ('ok', 'partial', 'duplicate', 'conflict');
"""

_SUSPECTS = """
create temp table new_keys as
    select hash(SOPInstanceUID) as h from new_rows where SOPInstanceUID is not null and status in ('ok', 'partial');
create temp table touched as
    select distinct h from new_keys union
    select hash(SOPInstanceUID) from old_rows o semi join gone g on g.uri = o.uri and g.member = coalesce(o.member, '')
    where SOPInstanceUID is not null;
create temp table suspects as
    select h from new_keys group by h having count(*) > 1 union
    select h from touched semi join (
        select hash(SOPInstanceUID) as h from kept_rows
        where SOPInstanceUID is not null and status in ('ok', 'partial', 'duplicate', 'conflict')
    ) using (h);
"""
"""Keys are compared by a hash of 64 bits first: few are left to be looked at, and the others need little memory."""

_VERDICTS = """
create temp table ranked as
    select *,
        row_number() over winner as place,
        first_value(header_digest) over winner is not distinct from header_digest as same_header,
        first_value(uri || coalesce(' member ' || member, '')) over winner as winner_name
    from (from claims semi join suspects on hash(claims.SOPInstanceUID) = suspects.h)
    window winner as (
        partition by SOPInstanceUID
        order by is_partial, mtime desc nulls last, uri, member nulls first
        rows between unbounded preceding and current row
    );
create temp table verdicts as
    select new, part, uri, member, size, mtime, etag, first_seen, is_partial, status as was,
        case when place = 1 then if(is_partial, 'partial', 'ok') when same_header then 'duplicate' else 'conflict' end as status,
        case when place > 1 then if(same_header, 'same_header', 'other_header')
            when status in ('ok', 'partial') then code end as code,
        case when place > 1 then 'the instance is taken from ' || winner_name
            when status in ('ok', 'partial') then message end as message,
        case when place = 1 then 'instances' when not same_header then 'conflicts' end as belongs,
        code as code_was, message as message_was
    from ranked;
"""

_UNREAD = """
select uri, member, size, mtime, etag, first_seen from verdicts
where not new and belongs is not null
and (was = 'duplicate' or (is_partial and was = 'conflict' and belongs = 'instances'))
order by uri, member
"""
"""Their row is needed but was never kept, or how their reading ended was overwritten when they lost."""

_EDITS = """
select part, uri, member, null::varchar as status, null::varchar as code, null::varchar as message, false as new,
    status in ('ok', 'partial', 'conflict') as has_row, null::varchar as place
from old_rows o
semi join (select uri, coalesce(member, '') as member from replaced) r
    on r.uri = o.uri and r.member = coalesce(o.member, '')
anti join same_failures s on s.uri = o.uri and s.member = coalesce(o.member, '')
union all
select part, uri, member, 'removed', null, null, false, status in ('ok', 'partial', 'conflict'), null
from old_rows o semi join (select uri, coalesce(member, '') as member from removed) r
    on r.uri = o.uri and r.member = coalesce(o.member, '')
union all
select part, uri, member, null, null, null, true, false, null
from new_rows n semi join same_failures s on s.uri = n.uri and s.member = coalesce(n.member, '')
union all
select part, uri, member, status, code, message, new, was in ('ok', 'partial', 'conflict'), belongs
from verdicts where status <> was or code_was is distinct from code or message_was is distinct from message
order by part, uri, member
"""

_AFFECTED = """
select "/part" as part, m.* from read_parquet(?, filename = '/part', hive_partitioning = false) p
join moves m on p.source_uri = m.uri and coalesce(p.source_member, '') = coalesce(m.member, '')
order by all
"""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a run changes in the ledger.

    Attributes:
        edits: ``EDITS_SCHEMA``, by part; rows that stay as they are have none.
        unread: ``UNREAD_SCHEMA``: SourceFiles whose row is needed and must be read first.
    """

    edits: Rows
    unread: Rows

    def count_dropped(self) -> int:
        """Edits that take back what the run staged."""
        return sum(pc.sum(pc.and_(edits["new"], edits["status"].is_null())).as_py() for edits in self.edits.tables())


def deduplicate(
    new: Sequence[Path], old: Sequence[Path], replaced: Rows, removed: Rows, *, spill: Path, memory: int
) -> Verdicts:
    """Find what becomes of each row of these ledger parts.

    Args:
        new: ledger parts of the run; each (uri, member) once.
        old: published ledger parts.
        replaced: (uri, member) of published rows that the run read again or settled otherwise.
        removed: (uri, member) of published rows whose file is gone.
        spill: a folder for what does not fit into memory.
        memory: bytes that DuckDB may take.

    Raises:
        DatasetError: a part cannot be read, or the disk is full.
    """
    if not (replaced.num_rows or removed.num_rows) and (not new or (not old and not _may_repeat(new))):
        return Verdicts(Rows(EDITS_SCHEMA), Rows(UNREAD_SCHEMA))
    with Engine(spill, memory) as engine:
        engine.view("new_rows", new or old, "" if new else " where false")
        engine.view("old_rows", old or new, "" if old else " where false")
        engine.register_rows("replaced", replaced)
        engine.register_rows("removed", removed)
        for script in (_CLAIMS, _SUSPECTS, _VERDICTS):
            engine.run(script)
        return Verdicts(
            engine.ask_rows(_EDITS, Rows(EDITS_SCHEMA, spill, memory)),
            engine.ask_rows(_UNREAD, Rows(UNREAD_SCHEMA, spill, memory)),
        )


def find_affected(parts: Sequence[Path], moves: Rows, *, spill: Path, memory: int) -> Iterator[tuple[Path, pa.Table]]:
    """Which parts of ``instances`` or ``conflicts`` hold rows of these files, and of which.

    Args:
        parts: of one table.
        moves: ``MOVES_SCHEMA``; each (uri, member) once.
        spill: as for ``deduplicate``, like the error.
        memory: as for ``deduplicate``.

    Yields:
        A part, and the rows of ``moves`` that it holds.
    """
    if not parts or not moves.num_rows:
        return
    if moves.num_rows <= FEW_MOVES:
        yield from _find_in_memory(parts, moves.whole())
        return
    found = Rows(_AFFECTED_SCHEMA, spill, memory)
    with Engine(spill, memory) as engine:
        engine.register_rows("moves", moves)
        engine.ask_rows(_AFFECTED, found, [escape_paths(parts)])
    for path, rows in group_rows(found.tables(), "part"):
        yield Path(path), rows.drop_columns("part")


def _find_in_memory(parts: Sequence[Path], moves: pa.Table) -> Iterator[tuple[Path, pa.Table]]:
    """The same, one part after the other: spares DuckDB's start where few files are looked for."""
    wanted = place_of(moves)
    wanted = wanted.combine_chunks() if isinstance(wanted, pa.ChunkedArray) else wanted
    for part in parts:
        rows = read_part(part, ["source_uri", "source_member"]).rename_columns(["uri", "member"])
        at = pc.index_in(place_of(rows), value_set=wanted).drop_null()
        if len(at):
            yield part, moves.take(at)


def _may_repeat(ledger_parts: Sequence[Path]) -> bool:
    """Could a key occur twice?  A count in memory spares DuckDB's start where there are few enough keys to count."""
    if count_rows(ledger_parts) > COUNT_IN_MEMORY:
        return True
    parts = [read_part(part, ["SOPInstanceUID"])["SOPInstanceUID"] for part in ledger_parts]
    keys = pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string())
    return bool(pc.count_distinct(keys).as_py() != len(keys) - keys.null_count)
