"""A query reads the tables that it is given, in bounded memory, and does nothing else."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import duckdb
import pytest

from dicomflow.errors import DatasetError
from dicomflow.sql.sandbox import Limits, Sandbox

from .conftest import ROWS, views

ESCAPES = [
    # other files
    "from read_csv('/etc/passwd')",
    "from read_csv_auto('{up}/secret.csv')",
    "from read_text('/etc/hostname')",
    "from read_blob('{up}/secret.parquet')",
    "from read_json('/etc/passwd')",
    "from read_parquet('{up}/secret.parquet')",
    "from read_parquet('{dest}/instances/*.parquet')",
    "from read_parquet(['{dest}/instances/a.parquet', '{up}/secret.parquet'])",
    "from parquet_scan('{dest}/../secret.parquet')",
    "from parquet_metadata('{up}/secret.parquet')",
    "from parquet_schema('{up}/secret.parquet')",
    "from read_duckdb('{up}/x.db', table_name = 't')",
    "from sniff_csv('{up}/secret.csv')",
    "from glob('/etc/*')",
    "from glob('{dest}/../*')",
    "from '{up}/secret.parquet'",
    "from '{up}/secret.csv'",
    "from '{dest}/instances/other.parquet'",
    "from '{dest}/instances/*.parquet'",
    "from '{dest}/instances/../../secret.parquet'",
    "from '{dest}/instances/link.parquet'",
    'from "{up}/secret.parquet"',
    "select * from instances, '{up}/secret.parquet'",
    "select (select any_value(secret) from '{up}/secret.parquet')",
    "with t as (from '{up}/secret.parquet') from t",
    "pivot '{up}/secret.parquet' on secret using count(*)",
    "pivot read_parquet('{up}/secret.parquet') on secret using count(*)",
    "describe '{up}/secret.parquet'",
    "summarize '{up}/secret.parquet'",
    # the network
    "from 'http://127.0.0.1:9/x.parquet'",
    "from 'https://127.0.0.1:9/x.csv'",
    "from 's3://bucket/x.parquet'",
    "from read_parquet('hf://datasets/x/y.parquet')",
    # SQL in text, memory by its address, the process
    "from query('select 1')",
    "from query_table('instances')",
    "from query('from read_text(''/etc/hostname'')')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "pragma json_execute_serialized_sql('x')",
    "from arrow_scan(1, 2, 3)",
    "from python_map_function(1, 2)",
    "from pandas_scan(1)",
    "select getenv('HOME')",
    "from local_frame",
    "from duckdb_secrets()",
    "from duckdb_settings()",
    "from enable_logging('QueryLog', storage = 'file')",
    "from enable_profiling('json', '{up}/profile.json')",
    # writing
    "copy instances to '{up}/out.parquet'",
    "copy (select 1) to '{dest}/instances/a.parquet' (format parquet, use_tmp_file false)",
    "with t as (copy (select 1 as a) to '{dest}/instances/a.parquet' (format parquet, use_tmp_file false)) from t",
    "with t as (copy (select 1 as a) to '{dest}/instances/a.parquet' (format csv)) select count(*) from t",
    "copy (pivot instances on Modality using count(*)) to '{dest}/instances/a.parquet' (format parquet, use_tmp_file false)",
    (
        "with t as (copy (select 1 as a) to '{dest}/instances/a.parquet' (format csv, use_tmp_file false)) "
        "pivot instances on Modality using count(*)"
    ),
    "/* c */ explain analyze copy (select 1) to '{dest}/instances/a.parquet' (format csv, use_tmp_file false)",
    "create table t as select 1",
    "create table t as pivot instances on Modality using count(*)",
    "create or replace view instances as select 1",
    "with t as (insert into instances values (1) returning *) from t",
    "drop view instances",
    "alter view instances rename to x",
    "export database '{up}/x'",
    "import database '{up}/x'",
    "attach '{up}/x.db'",
    "attach ':memory:' as x",
    "detach memory",
    "use system",
    "checkpoint",
    "vacuum",
    # settings and extensions
    "set enable_external_access = true",
    "set lock_configuration = false",
    "reset memory_limit",
    "set variable x = 1",
    "pragma memory_limit = '1TB'",
    "pragma database_list",
    "call pragma_version()",
    "install httpfs",
    "load httpfs",
    "update extensions",
    "create secret (type s3)",
    # several, prepared, none
    "select 1; select 2",
    "select 1; copy (select 1) to '{up}/out.csv'",
    "prepare p as select 1",
    "execute p",
    "begin",
    "",
    ";",
    "-- nothing",
    "select",
    "nonsense",
    "select '\0'",
    "select " + "(" * 50_000 + "1" + ")" * 50_000,
    "select '" + "x" * (1 << 20) + "'",
]


@pytest.mark.parametrize("query", ESCAPES, ids=lambda query: query[:60].replace("/", "|"))
def test_nothing_else_can_be_reached(dest: Path, sandbox: Sandbox, query: str) -> None:
    """Whatever is tried is refused with one line; no file comes, goes or changes, and the sandbox goes on."""
    (dest / "instances/link.parquet").symlink_to(dest.parent / "secret.parquet")
    before = read_all(dest.parent)
    local_frame = ROWS
    with pytest.raises(DatasetError) as caught:
        sandbox.ask(query.replace("{dest}", str(dest)).replace("{up}", str(dest.parent))).to_table()
    assert "hidden" not in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert read_all(dest.parent) == before and local_frame is ROWS
    assert sandbox.ask("from instances").to_table().num_rows == 6


def read_all(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_escapes_are_real(dest: Path) -> None:
    """Without the look into the syntax tree DuckDB would overwrite a part: what it may read it may write."""
    part = dest / "instances/a.parquet"
    before = part.read_bytes()
    with Sandbox(views(dest), dest) as sandbox:
        sandbox.run_query(
            f"copy (select 1 as a) to '{part}' (format parquet, use_tmp_file false)",
        ).to_table()
    assert part.read_bytes() != before


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("from instances", 6),
        ("select * from instances;", 6),
        ("table files; -- a comment", 6),
        ("with t as (select * from instances where Modality = 'CT') from t union all from t", 4),
        ("with recursive t as (select 1 as i union all select i + 1 from t where i < 5) from t", 5),
        ("pivot instances on Modality using count(*) group by PatientID", 3),
        ("from (pivot instances on Modality in ('CT', 'MR') using count(*))", 6),
        ("unpivot instances on SOPInstanceUID, PatientID", 11),
        ("describe instances", 4),
        ("summarize instances", 4),
        ("show tables", 2),
        ("values (1), (2)", 2),
        ("select unnest([1, 2, 3])", 3),
        ("from range(4) union all from generate_series(1, 2)", 6),
        ("from instances, unnest([1, 2]) as t(x)", 12),
        ("select list_transform([Rows], lambda x: x + 1) from instances", 6),
        ("select distinct on (Modality) * from instances order by Modality, SOPInstanceUID", 3),
        ("from instances a join files b using (SOPInstanceUID) where a.Rows is not null", 5),
        (
            "select Modality, row_number() over (partition by Modality) from instances qualify row_number() over () > 2",
            4,
        ),
        ("select columns('Pat.*') from instances", 6),
        ("from json_each('[1, 2]')", 2),
        ("select 'copy x to y; insert' as \"update\"", 1),
    ],
)
def test_what_reads_is_answered(sandbox: Sandbox, query: str, rows: int) -> None:
    """The SQL of DuckDB, as far as it reads."""
    assert sandbox.ask(query).to_table().num_rows == rows
    assert sum(batch.num_rows for batch in sandbox.ask(query).batches(["c0"])) == rows


@pytest.mark.parametrize(
    ("query", "made"),
    [
        ("select 1", set()),
        ("select count(*) from Instances", {"instances"}),
        ("with files as (from instances) from files", {"instances", "files"}),
        ("with instances as (from main.files) from instances", {"instances", "files"}),
        ("select (select count(*) from files) from memory.main.instances", {"instances", "files"}),
        ("from 'instances'", {"instances"}),
        ("show tables", {"instances", "files"}),
        ("select table_name from information_schema.tables", {"instances", "files"}),
        ("pivot instances on Modality using count(*)", {"instances", "files"}),
    ],
)
def test_a_table_is_opened_when_it_is_named(sandbox: Sandbox, query: str, made: set[str]) -> None:
    """The footers of all others need not be read; what a later question names is there."""
    sandbox.ask(query).to_table()
    names = sandbox._connection.execute("select view_name from duckdb_views() where not internal").fetchall()
    assert {name for (name,) in names} == made
    assert sandbox.ask("from instances, files").to_table().num_rows == 36


def test_what_was_meant(sandbox: Sandbox) -> None:
    """A table of no such name: the error knows those that there are."""
    with pytest.raises(DatasetError, match="instances"):
        sandbox.ask("from instancez")
    with pytest.raises(DatasetError, match="Modality"):
        sandbox.ask("select Modalitty from instances")


def test_a_damaged_table_is_its_own_matter(dest: Path) -> None:
    """Whoever asks another one is answered; whoever asks it gets one line."""
    (dest / "files/a.parquet").write_bytes(b"PAR1 is no part")
    with Sandbox(views(dest), dest) as sandbox:
        assert sandbox.ask("from instances").to_table().num_rows == 6
        with pytest.raises(DatasetError) as caught:
            sandbox.ask("from files")
        assert "\n" not in str(caught.value)
        with pytest.raises(DatasetError):
            sandbox.run_query("from instances")


def test_links_that_lead_out(dest: Path) -> None:
    """A part that is a link to elsewhere is refused; one that stays inside, and a link to the dataset, are not."""
    part = dest / "instances/a.parquet"
    part.rename(dest / "instances/real.parquet")
    part.symlink_to("real.parquet")
    link = dest.parent / "link"
    link.symlink_to(dest)
    for root in (dest, link):
        with Sandbox(views(root), root) as sandbox:
            assert sandbox.ask("from instances").to_table().num_rows == 6
    part.unlink()
    part.symlink_to(dest.parent / "secret.parquet")
    with (
        pytest.raises(DatasetError, match=r"a\.parquet: a symbolic link leads out of the dataset"),
        Sandbox(views(dest), dest),
    ):
        pass


def test_order_is_kept(sandbox: Sandbox) -> None:
    """Rows come in the order that the query asks for, also where columns are changed for a format."""
    query = "select i from range(100_000) t(i) order by hash(i)"
    expected = [i for (i,) in duckdb.sql(query).fetchall()]
    found = [i for batch in sandbox.ask(query).batches(["c0 + 0"], rows=3000) for i in batch.column(0).to_pylist()]
    assert found == expected


def test_batches_can_be_left(sandbox: Sandbox) -> None:
    """Who has seen enough goes on with the next question."""
    for _ in range(3):
        batch = next(sandbox.ask("from range(10_000_000_000)").batches())
        assert 0 < batch.num_rows < 100_000
    assert sandbox.ask("select 1").to_table().num_rows == 1


def test_an_error_on_the_way(sandbox: Sandbox) -> None:
    """Rows before it are there; it quotes no value."""
    answer = sandbox.ask(
        "select case when i < 4_990_000 then i else ('ZORRO' || i)::int end as n from range(5_000_000) t(i)"
    )
    batches = answer.batches()
    assert next(batches).num_rows > 0
    with pytest.raises(DatasetError, match="TRY_CAST") as caught:
        list(batches)
    assert "ZORRO" not in str(caught.value) and caught.value.__cause__ is None


def test_limits(dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is spilled into a folder of our own, no further than allowed, and nothing of it stays."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    query = "select i, md5(i::varchar) || repeat('x', 1000) as text from range(400_000) t(i) order by text"
    with Sandbox({}, limits=Limits(memory=256 << 20, threads=1)) as sandbox:
        (folder,) = (tmp_path / "tmp").iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sandbox.ask("select current_setting('threads') as n").to_table().to_pylist() == [{"n": 1}]
        batches = sandbox.ask(query).batches()
        rows = next(batches).num_rows
        assert any(folder.iterdir())  # it was spilled
        assert rows + sum(batch.num_rows for batch in batches) == 400_000
    assert not folder.exists()
    with (
        Sandbox({}, limits=Limits(memory=128 << 20, threads=1, spill=1 << 20)) as sandbox,
        pytest.raises(DatasetError, match="more memory"),
    ):
        sandbox.ask(query).to_table()
    assert not any((tmp_path / "tmp").iterdir())


def test_memory_is_bounded() -> None:
    """Ten times the rows take about the same memory."""
    script = (
        "import resource, sys; from dicomflow.sql.sandbox import Limits, Sandbox\n"
        "with Sandbox({}, limits=Limits(memory=256 << 20)) as sandbox:\n"
        "    query = f\"select i, repeat('x', 500) || i as text from range({sys.argv[1]}) t(i)\"\n"
        "    print(sum(batch.num_rows for batch in sandbox.ask(query).batches()))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for rows in (100_000, 800_000):
        done = subprocess.run([sys.executable, "-c", script, str(rows)], capture_output=True, text=True, check=True)
        counted, peak = map(int, done.stdout.split())
        assert counted == rows
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 150 << 10  # KiB; the rows are 400 MB


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """No progress bar among the rows, however long it takes."""
    with Sandbox({}) as sandbox:
        assert sandbox.ask("select current_setting('enable_progress_bar') as bar").to_table().to_pylist() == [
            {"bar": False}
        ]
        sandbox.ask("select sum(hash(i)) from range(3_000_000) t(i)").to_table()
    assert capfd.readouterr() == ("", "")


def test_notebook_without_ipywidgets() -> None:
    """DuckDB refuses each setting of its progress bar in a kernel that cannot draw one; queries are answered all the same."""
    script = """
import sys
from types import ModuleType, SimpleNamespace

notebook = ModuleType("IPython")
notebook.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}})
sys.modules.update(IPython=notebook, ipywidgets=None)

from dicomflow.sql.sandbox import Sandbox

with Sandbox({}) as sandbox:
    print(sandbox.ask("select 6 * 7 as n, current_setting('enable_progress_bar') as bar").to_table().to_pylist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[{'n': 42, 'bar': False}]"


@pytest.mark.parametrize("interrupts", [True, False])
def test_interrupt(interrupts: bool) -> None:
    """Ctrl-C ends a query that would go on for hours, and leaves no folder; also where the system goes on with its waits."""
    assert threading.current_thread() is threading.main_thread()
    signal.siginterrupt(signal.SIGINT, interrupts)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    with Sandbox({}) as sandbox:
        folder = sandbox._spill
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            sandbox.ask("select sum(hash(i)) from range(1_000_000_000_000) t(i)").to_table()
        assert time.monotonic() - start < 300
        assert sandbox.ask("select 1").to_table().num_rows == 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert not os.path.exists(folder)


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line says what to do."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DatasetError, match="set TMPDIR"), Sandbox({}):
        pass


def test_descriptors_are_given_back(dest: Path) -> None:
    """However often a sandbox is opened."""
    for _ in range(3):
        with Sandbox(views(dest), dest) as sandbox:
            sandbox.ask("from instances").to_table()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(10):
        with Sandbox(views(dest), dest) as sandbox:
            next(sandbox.ask("from instances").batches())
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before + 2 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


@pytest.mark.parametrize("batches", [False, True])
def test_a_time_limit(batches: bool) -> None:
    """A query that would go on for hours ends in one line, also between its rows; the next question has time of its own."""
    endless = "select sum(hash(i)) from range(1_000_000_000_000) t(i)"
    with Sandbox({}, limits=Limits(seconds=0.3)) as sandbox:
        folder = sandbox._spill
        answer = sandbox.ask("select i from range(1_000_000_000_000) t(i) where hash(i) > 5" if batches else endless)
        with pytest.raises(DatasetError, match=r"stopped after 0\.3 s; give it more time"):
            for _ in answer.batches() if batches else [answer.to_table()]:
                pass
        assert sandbox.ask("select 1").to_table().num_rows == 1
        assert sandbox.run_query("select sum(hash(i)) from range(30_000_000) t(i)").to_table().num_rows == 1
    assert not os.path.exists(folder)


@pytest.mark.parametrize("seconds", [None, 1e9, float("inf")])
def test_no_time_limit(seconds: float | None) -> None:
    """Or one that is never reached."""
    with Sandbox({}, limits=Limits(seconds=seconds)) as sandbox:
        assert sandbox.ask("select sum(i) from range(30_000_000) t(i)").to_table().num_rows == 1


_GIANT = """
import sys, tempfile
from dicomflow.cli.startup import limit_memory
from dicomflow.errors import DatasetError
from dicomflow.sql.output import iter_csv, iter_ndjson, iter_rows
from dicomflow.sql.sandbox import Limits, Sandbox

tempfile.tempdir = sys.argv[1]
with Sandbox({}, limits=Limits(memory=128 << 20, threads=2)) as sandbox:
    list(iter_csv(sandbox.ask("select repeat('x', 100) as a")))
    with limit_memory(600 << 20):
        for make in (iter_csv, iter_ndjson, iter_rows):
            try:
                list(make(sandbox.ask(sys.argv[2])))
            except (DatasetError, MemoryError) as error:
                print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    "query",
    [
        "select repeat('x', 2_000_000_000) as a",
        "select range(500_000_000) as a",
        "select list(repeat('x', 1_000_000)) as a from range(5000)",
        "select string_agg(repeat('x', 1_000_000), '') as a from range(5000)",
    ],
)
def test_one_giant_value(tmp_path: Path, query: str) -> None:
    """DuckDB does not count it while it makes it: the system refuses, and that is one line each time, and no file."""
    command = [sys.executable, "-c", _GIANT, str(tmp_path), query]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all("memory" in line or line.startswith("MemoryError") for line in lines), lines
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("Modality = 'CT'", 2),
        ("Modality = 'CT' -- and so on", 2),
        ("PatientID is null or Rows > 500", 3),
        ("SOPInstanceUID in (select SOPInstanceUID from files where Modality = 'MR')", 3),
        ("exists (from files f where f.Rows > instances.Rows)", 3),
        ("Rows between 1 and 100", 1),
        ("null", 0),
        ("(true)", 6),
    ],
)
def test_rows_for_which_a_condition_holds(sandbox: Sandbox, condition: str, rows: int) -> None:
    """Columns as they were asked for, rows in the order of the table."""
    found = sandbox.ask_where("instances", ["Rows", "SOPInstanceUID"], condition).to_table()
    assert found.num_rows == rows and found.column_names == ["Rows", "SOPInstanceUID"]
    uids = found["SOPInstanceUID"].to_pylist()
    assert uids == sorted(uids)


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "*",
        "true, false",
        "true) or (false); select 1",
        "true; select 1",
        "true) union all select Rows, PatientID from files where (true",
        "true) from files where (true",
        "true) limit (1",
        "true) order by (1",
        "true) group by (1",
        "true) having (true",
        "true) qualify (true",
        "true) using sample (1 rows",
        "Random() < 0.5",
        "Rows in (select Rows from files where uuid() > '8')",
        "exists (from files tablesample 10%)",
        "exists (select 1 from (select * from files using sample 3) where Rows > 1)",
        "true) as x, (true",
        "1) from files, (select 1",
        "true /*",
        "'x",
        "exists (from read_text('/etc/passwd'))",
        "exists (from '/etc/passwd')",
        "getenv('HOME') is null",
        "(select count(*) from duckdb_settings()) > 0",
        "nonsense = 1",
        "count(*) > 1",
        "row_number() over () < 3",
        "'Doe' = $1",
        "\0",
        "(" * 50_000 + "true" + ")" * 50_000,
    ],
)
def test_what_is_no_condition(sandbox: Sandbox, condition: str) -> None:
    """One line; nothing comes out that was not asked for, and the sandbox goes on."""
    with pytest.raises(DatasetError) as caught:
        sandbox.ask_where("instances", ["SOPInstanceUID"], condition).to_table()
    assert "\n" not in str(caught.value)
    assert sandbox.ask_where("instances", ["Rows"], "true").to_table().num_rows == 6
