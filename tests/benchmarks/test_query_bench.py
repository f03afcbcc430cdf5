"""Queries of a million rows beside plain DuckDB on the same files: CPU and peak memory.  Nothing here asserts a time.

Each is measured in a process of its own, imports apart; what it writes goes to a scratch file, which is removed: DuckDB's COPY
would put a file in the place of /dev/null.  A small query is measured as a command, too, start-up included.  Another command
that writes rows (an export) has its place in ``MEASURED``: a script that defines ``work``.
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
work(sys.argv[1], sys.argv[2], sys.argv[3])
# not ru_maxrss: a process inherits that of the one that started it
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([used() - start, int(peak)]))
"""

_QUERY = """
from pathlib import Path
import dicomflow
from dicomflow.cli.startup import spare_pandas
from dicomflow.sql.output import FORMATS, write_parquet
spare_pandas()
dataset = dicomflow.open_dataset
def work(dest, query, target):
    with dataset(dest).ask(query) as answer:
        if {form!r} == "parquet":
            write_parquet(answer, Path(target))
        else:
            with open(target, "wb") as sink:
                sink.writelines(FORMATS[{form!r}](answer, None))
"""

_PLAIN = """
import duckdb
def work(dest, query, target):
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")  # it would be printed
        connection.execute(f"create view instances as from read_parquet('{{dest}}/instances/*.parquet')")
        connection.execute(f"copy ({{query}}) to '{{target}}' ({options})")
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
def test_query(benchmark: Any, dest: Path, tmp_path: Path, form: str, name: str, query: str) -> None:
    """In turns, so that both see the same machine."""
    if name == "all" and form == "json":
        pytest.skip("as ndjson, and as long")
    rounds = {"all": 1, "some": 2, "grouped": 5}[name]
    target = tmp_path / "scratch"
    found: dict[str, list[list[float]]] = {f"query_{form}": [], f"duckdb_{form}": []}

    def measure() -> None:
        for _ in range(rounds):
            for figure, measured in found.items():
                script = _FRAME.format(script=MEASURED[figure])
                measured.append(json.loads(run(sys.executable, "-c", script, str(dest), query, str(target))))
                assert target.stat().st_size
                target.unlink()

    benchmark.pedantic(measure, rounds=1)
    for figure, measured in found.items():
        benchmark.extra_info[f"{figure}_{name}"] = min(cpu for cpu, _ in measured)
        benchmark.extra_info[f"{figure}_{name}_memory"] = max(peak for _, peak in measured)


_COMMANDS = {
    "command": [str(Path(sys.executable).with_name("dicomflow")), "query", "{dest}", GROUPED, "--format", "csv"],
    "plain": [
        sys.executable,
        "-c",
        (
            "import duckdb, pyarrow\n"
            "with duckdb.connect() as connection:\n"
            "    connection.execute(\"create view instances as from read_parquet('{dest}/instances/*.parquet')\")\n"
            f'    connection.sql("""{GROUPED}""").to_arrow_table()\n'
        ),
    ],
}


def test_command(benchmark: Any, dest: Path) -> None:
    """A small query from start to end, beside a script that imports DuckDB and Arrow and asks the same."""
    found: dict[str, list[float]] = {figure: [] for figure in _COMMANDS}

    def measure() -> None:
        for _ in range(5):
            for figure, command in _COMMANDS.items():
                before = cpu_of_children()
                run(*(word.replace("{dest}", str(dest)) for word in command))
                found[figure].append(cpu_of_children() - before)

    benchmark.pedantic(measure, rounds=1)
    for figure, measured in found.items():
        benchmark.extra_info[f"query_{figure}"] = min(measured)
