"""Queries of a million rows beside plain DuckDB on the same files: CPU and peak memory.  Nothing here asserts a time.

Each is measured in a process of its own, imports apart; what it writes goes to /dev/null, so that no disk is measured.  Another
command that writes rows (an export) has its place in ``MEASURED``: a script that defines ``work``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import WORK, cpu_of_children, run

from tests.durable.scale import deduplicate_and_publish, write_rows

ROWS = 1_000_000

ALL = "from instances"
SOME = "select SOPInstanceUID, PatientID, StudyDate, Modality, PixelSpacing from instances where InstanceNumber % 2 = 0"
GROUPED = "select Manufacturer, Modality, count(*), count(distinct SeriesInstanceUID), avg(SliceThickness) from instances group by all"

_FRAME = """
import json, resource, sys
{script}
def used():
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime
start = used()
work(sys.argv[1], sys.argv[2])
print(json.dumps([used() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""

_QUERY = """
from pathlib import Path
import dicomflow
from dicomflow.cli.startup import spare_pandas
from dicomflow.sql.output import FORMATS, write_parquet
spare_pandas()
dataset = dicomflow.open_dataset
def work(dest, query):
    with dataset(dest).ask(query) as answer, open("/dev/null", "wb") as sink:
        if {form!r} == "parquet":
            write_parquet(answer, Path("/dev/null"))
        else:
            sink.writelines(FORMATS[{form!r}](answer, None))
"""

_PLAIN = """
import duckdb
def work(dest, query):
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")  # it would be printed
        connection.execute(f"create view instances as from read_parquet('{{dest}}/instances/*.parquet')")
        connection.execute(f"copy ({{query}}) to '/dev/null' ({options})")
"""

_OPTIONS = {
    "csv": "format csv",
    "ndjson": "format json",
    "json": "format json, array true",
    "parquet": "format parquet, compression zstd",
}

MEASURED = {
    **{f"query_{form}": _QUERY.format(form=form) for form in _OPTIONS},
    **{f"duckdb_{form}": _PLAIN.format(options=options) for form, options in _OPTIONS.items()},
}
"""Figure -> script."""


@pytest.fixture(scope="module")
def dest() -> Path:
    """A million rows of the standard profile, in the parts that a run writes."""
    work = (WORK / "query").resolve()
    marker = work.with_suffix(".made")
    if not marker.exists():
        shutil.rmtree(work, ignore_errors=True)
        write_rows(work, ROWS)
        deduplicate_and_publish(work, ROWS)
        marker.touch()
    return work / "dest"


@pytest.mark.benchmark(group="query", timer=cpu_of_children)
@pytest.mark.parametrize(("name", "query"), [("all", ALL), ("some", SOME), ("grouped", GROUPED)])
@pytest.mark.parametrize("form", _OPTIONS)
def test_query(benchmark: Any, dest: Path, form: str, name: str, query: str) -> None:
    """In turns, so that both see the same machine."""
    if name == "all" and form == "json":
        pytest.skip("as ndjson, and as long")
    rounds = 1 if name == "all" else 2
    found: dict[str, list[list[float]]] = {f"query_{form}": [], f"duckdb_{form}": []}

    def measure() -> None:
        for _ in range(rounds):
            for figure, measured in found.items():
                script = _FRAME.format(script=MEASURED[figure])
                measured.append(json.loads(run(sys.executable, "-c", script, str(dest), query)))

    benchmark.pedantic(measure, rounds=1)
    for figure, measured in found.items():
        benchmark.extra_info[f"{figure}_{name}"] = min(cpu for cpu, _ in measured)
        benchmark.extra_info[f"{figure}_{name}_memory"] = max(peak for _, peak in measured)
