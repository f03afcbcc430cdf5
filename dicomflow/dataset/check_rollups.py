"""Check the rollups against the rows that they are made from: each key once, and counts as DuckDB counts.

In: an engine that knows the tables.  Out: findings.  Counts by other means than those that made the rollups; quotes no key.
"""

from __future__ import annotations

from collections.abc import Mapping

from dicomflow.dataset.check_parts import REMAKE, TableState
from dicomflow.dataset.engine import Engine
from dicomflow.dataset.layout import ROLLUPS
from dicomflow.dataset.parts import read_schema
from dicomflow.dataset.verification import Findings
from dicomflow.rollup.fold import is_text
from dicomflow.schema.rollup import KEYS

_TRIPLES = """
create temp table triples as
    select {series} as SeriesInstanceUID, {studies} as StudyInstanceUID, {patients} as PatientID, count(*) as instances,
        count(*) filter (where status = 'partial') as partial, sum(coalesce(source_size, 0)) as size
    from all_instances group by 1, 2, 3
"""

_DIFFERENCES = """
select count(*) as count from (
    select key from (
        select "{key}" as key, 1 as rows, sum(instances) as instances, sum(partial) as partial, sum(size) as size,
            {series} as series, {studies} as studies
        from triples group by 1 union all
        select "{key}", -1, -instanceCount, -partial_count, -source_size, {own_series}, {own_studies} from all_{table})
    group by key having sum(rows) <> 0 or sum(instances) <> 0 or sum(partial) <> 0 or sum(size) <> 0
        or sum(series) <> 0 or sum(studies) <> 0)
"""

_COUNTED = {"series": (False, False), "studies": (True, False), "patients": (True, True)}
"""Table -> whether it counts series, and studies."""


def find_obstacle(states: Mapping[str, TableState]) -> str | None:
    """Why rollups cannot be compared with rows."""
    if not all(states[table].parts for table in ROLLUPS):
        return "there are none yet; the next `dicomflow extract` makes them"
    damaged = [table for table in ROLLUPS if not states[table].is_complete]
    return f"not all parts of {', '.join(damaged)} can be read" if damaged else None


def check_rollups(engine: Engine, states: Mapping[str, TableState], findings: Findings) -> None:
    """Recount each rollup.

    Raises:
        DatasetError: the engine cannot do it.
    """
    schema = read_schema(states["instances"].parts[0])
    columns = {
        table: f'"{key}"' if key in schema.names and is_text(schema.field(key).type) else "null::varchar"
        for table, key in KEYS.items()
    }
    engine.run(_TRIPLES.format(**columns))
    for table in ROLLUPS:
        rows = engine.ask(f"select count(*) as count from all_{table}")["count"][0].as_py()
        findings.count("rollups", rows, "rows")
        counted = _count_differences(engine, table)
        if counted:
            findings.add("rollups", table, f"{counted:,} rows that do not count what instances holds", REMAKE)


def _count_differences(engine: Engine, table: str) -> int:
    has_series, has_studies = _COUNTED[table]
    query = _DIFFERENCES.format(
        table=table,
        key=KEYS[table],
        series="count(distinct SeriesInstanceUID)" if has_series else "0",
        studies="count(distinct StudyInstanceUID)" if has_studies else "0",
        own_series="-series_count" if has_series else "0",
        own_studies="-study_count" if has_studies else "0",
    )
    return int(engine.ask(query)["count"][0].as_py())
