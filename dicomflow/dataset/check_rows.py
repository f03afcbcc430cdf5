"""Checks of rows against each other: keys, ledger, accounting, and who won where files have the same key.

In: the parts of the three tables, which can all be read.  Out: findings.  DuckDB does the comparing, out of core: rows are hashed
to 64 bits first, and only those whose hash tells that something is wrong are looked at.  Knows no headers.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from dicomflow.dataset.check_parts import TableState
from dicomflow.dataset.check_rollups import check_rollups, find_obstacle
from dicomflow.dataset.engine import Engine
from dicomflow.dataset.layout import BASE_TABLES
from dicomflow.dataset.verification import MAX_FAULTS, Fault, Findings
from dicomflow.errors import Code, DatasetError, Status, describe

_CHECKS = ("key", "ledger", "accounting", "rows", "winners", "rollups")
_ANEW = "extract into a new folder"

_NAMES = """
create temp view instances as
    select source_uri as uri, coalesce(source_member, '') as member, SOPInstanceUID as uid, header_digest as digest,
        source_size as size, source_mtime as mtime, status
    from all_instances;
create temp view conflicts as
    select source_uri as uri, coalesce(source_member, '') as member, SOPInstanceUID as uid, header_digest as digest,
        source_size as size, source_mtime as mtime, status
    from all_conflicts;
create temp view ledger as
    select uri, coalesce(member, '') as member, SOPInstanceUID as uid, header_digest as digest, size, mtime, status, code,
        case when status in ('duplicate', 'conflict') then "offset" is not null else status = 'partial' end as is_partial
    from all_files;
create temp view whole_or_partial as from ledger where status in ('ok', 'partial');
create temp view in_conflict as
    select * replace (if(is_partial, 'partial', 'ok') as status) from ledger where status = 'conflict';
"""
"""``member`` is never null here; the status of a conflict is that of its row, which says how reading ended."""

_COUNTS = """
select (select count(*) from ledger) as files, (select count(*) from whole_or_partial) as with_row,
    (select count(*) from in_conflict) as in_conflict, (select count(*) from instances) as instances,
    (select count(*) from conflicts) as conflicts,
    (select count(*) from ledger where status in ('duplicate', 'conflict')) as losers
"""

_KEYS = """
select uri, member, if(uid is null, 'has no SOP Instance UID', 'has the SOP Instance UID of another row') as what
from instances where uid is null or uid in (
    select uid from instances where hash(uid) in (select hash(uid) from instances group by all having count(*) > 1)
    group by uid having count(*) > 1)
"""

_PLACES = """
select uri, member, 'has more than one ledger row' as what from ledger
where hash(uri, member) in (select hash(uri, member) from ledger group by all having count(*) > 1)
group by uri, member having count(*) > 1
"""

_WORDS = """
select uri, member, case
    when status is null or status not in (from statuses) then 'has a status that is none'
    when code not in (from codes) then 'has a code that is none'
    when uid is null and status in ('ok', 'partial', 'duplicate', 'conflict') then status || ', but has no SOP Instance UID'
    else status || ', but its code says otherwise' end as what
from ledger where status is null or status not in (from statuses) or code not in (from codes)
    or (uid is null and status in ('ok', 'partial', 'duplicate', 'conflict'))
    or (status = 'duplicate') <> (code is not distinct from 'same_header')
    or (status = 'conflict') <> (code is not distinct from 'other_header')
"""

_UNEQUAL = """
create or replace temp table unequal as
    select h from (
        select hash(uri, member, uid, digest, size, mtime, status) as h, 1 as side from {rows} union all
        select hash(uri, member, uid, digest, size, mtime, status) as h, -1 as side from {entries})
    group by h having sum(side) <> 0;
create or replace temp table odd_rows as
    select *, true as there from {rows} where hash(uri, member, uid, digest, size, mtime, status) in (from unequal);
create or replace temp table odd_entries as
    select *, true as there from {entries} where hash(uri, member, uid, digest, size, mtime, status) in (from unequal);
"""

_DIFFERENCES = """
select coalesce(r.uri, e.uri) as uri, coalesce(r.member, e.member) as member, case
    when e.there is null then 'has a row in {rows}, but its ledger row does not say so'
    when r.there is null then 'should have a row in {rows}, as the ledger says, but has none'
    when concat(r.uid is distinct from e.uid, r.digest is distinct from e.digest, r.status is distinct from e.status,
        r.size is distinct from e.size, r.mtime is distinct from e.mtime) = 'falsefalsefalsefalsefalse'
        then 'has several rows in {rows}, or in the ledger'
    else 'its row in {rows} and its ledger row differ in ' || concat_ws(', ',
        if(r.uid is distinct from e.uid, 'SOPInstanceUID', null), if(r.digest is distinct from e.digest, 'header_digest', null),
        if(r.status is distinct from e.status, 'status', null), if(r.size is distinct from e.size, 'size', null),
        if(r.mtime is distinct from e.mtime, 'mtime', null)) end as what
from odd_rows r full outer join odd_entries e using (uri, member)
"""

_LOSERS = """
create temp table losers as select hash(uid) as h from ledger where status in ('duplicate', 'conflict') group by all;
create temp view winners as from whole_or_partial where hash(uid) in (from losers);
"""

_RANK = "row({0}.is_partial, coalesce(-epoch_us({0}.mtime), 9223372036854775807), {0}.uri, {0}.member)"
"""A whole header first, then the newest, then the lowest uri and member: see ``deduplicate``."""

_WINNERS = f"""
select l.uri, l.member, case
    when w.uri is null then l.status || ' of an instance that no file has'
    when {_RANK.format("w")} > {_RANK.format("l")} then l.status || ', but should have won'
    else l.status || ', but its header says otherwise' end as what
from (from ledger where status in ('duplicate', 'conflict') and uid is not null) l left join winners w using (uid)
where w.uri is null or {_RANK.format("w")} > {_RANK.format("l")}
    or (l.status = 'duplicate') <> (l.digest is not distinct from w.digest)
"""  # noqa: S608


def check_rows(states: Mapping[str, TableState], memory: int, findings: Findings) -> None:
    """Compare the rows of the tables, if all of them can be read."""
    damaged = [table for table, state in states.items() if table in BASE_TABLES and not state.is_complete]
    if damaged:
        _skip_all(findings, f"not all parts of {', '.join(damaged)} can be read")
        return
    try:
        with (
            tempfile.TemporaryDirectory(prefix="dicomflow-verify-", ignore_cleanup_errors=True) as spill,
            Engine(Path(spill), memory) as engine,
        ):
            _RowChecker(engine, findings).check(states)
    except DatasetError as error:
        _skip_all(findings, _say_why(error))
    except OSError as error:
        _skip_all(findings, f"no folder for temporary files: {describe(error)}")


def _skip_all(findings: Findings, reason: str) -> None:
    for check in _CHECKS:
        findings.skip(check, reason)


def _say_why(error: DatasetError) -> str:
    """The engine's reason, without the place that it gives to it."""
    return f"DuckDB: {str(error).rpartition('searched: ')[2]}"


class _RowChecker:
    """The checks, on an engine that knows the tables."""

    def __init__(self, engine: Engine, findings: Findings) -> None:
        self._engine = engine
        self._findings = findings

    def check(self, states: Mapping[str, TableState]) -> None:
        """Make one check after the other; one that the engine cannot make is said not to be made."""
        self._name_tables(states)
        for check, compare in (
            ("accounting", self._check_accounting),
            ("key", self._check_keys),
            ("ledger", self._check_ledger),
            ("rows", self._check_agreement),
            ("winners", self._check_winners),
        ):
            try:
                compare()
            except DatasetError as error:
                self._findings.skip(check, _say_why(error))
        self._check_rollups(states)

    def _check_rollups(self, states: Mapping[str, TableState]) -> None:
        obstacle = find_obstacle(states)
        try:
            if obstacle is None:
                check_rollups(self._engine, states, self._findings)
        except DatasetError as error:
            obstacle = _say_why(error)
        if obstacle is not None:
            self._findings.skip("rollups", obstacle)

    def _name_tables(self, states: Mapping[str, TableState]) -> None:
        """Tell the engine which parts are which table, and the closed words of the ledger."""
        for table, state in states.items():
            if not (state.parts and (state.is_complete or table in BASE_TABLES)):
                continue
            paths = ", ".join("'" + glob.escape(str(part)).replace("'", "''") + "'" for part in state.parts)
            self._engine.run(f"create temp view all_{table} as from read_parquet([{paths}], hive_partitioning = false)")
        self._engine.register("statuses", pa.table({"word": [str(status) for status in Status]}))
        self._engine.register("codes", pa.table({"word": [str(code) for code in Code]}))
        self._engine.run(_NAMES)

    def _check_accounting(self) -> None:
        counts = self._engine.ask(_COUNTS).to_pylist()[0]
        for check, name in (("key", "instances"), ("ledger", "files"), ("winners", "losers")):
            self._findings.count(check, counts[name], "ledger rows" if check != "key" else "rows")
        self._findings.count("rows", counts["instances"] + counts["conflicts"], "rows")
        self._findings.count("accounting", 2, "tables")
        for table, counted, statuses in (
            ("instances", "with_row", "ok or partial"),
            ("conflicts", "in_conflict", "conflict"),
        ):
            if counts[table] != counts[counted]:
                what = f"{counts[table]:,} rows; the ledger has {counts[counted]:,} that are {statuses}"
                self._findings.add("accounting", table, what, _ANEW)

    def _check_keys(self) -> None:
        self._collect("key", _KEYS)

    def _check_ledger(self) -> None:
        self._collect("ledger", _PLACES)
        self._collect("ledger", _WORDS)

    def _check_agreement(self) -> None:
        for rows, entries in (("instances", "whole_or_partial"), ("conflicts", "in_conflict")):
            self._engine.run(_UNEQUAL.format(rows=rows, entries=entries))
            self._collect("rows", _DIFFERENCES.format(rows=rows))

    def _check_winners(self) -> None:
        self._engine.run(_LOSERS)
        self._collect("winners", _WINNERS)

    def _collect(self, check: str, query: str) -> None:
        """Keep the first faults that a query finds, and count all."""
        self._engine.run(f"create or replace temp table faults as {query}")
        count = self._engine.ask("select count(*) as count from faults")["count"][0].as_py()
        if count:
            first = self._engine.ask(f"from faults order by uri, member, what limit {MAX_FAULTS}").to_pylist()
            faults = [Fault(check=check, where=_name(row), what=row["what"], remedy=_ANEW) for row in first]
            self._findings.add_many(check, faults, count)


def _name(row: Mapping[str, str]) -> str:
    return f"{row['uri']} ({row['member']})" if row["member"] else row["uri"]
