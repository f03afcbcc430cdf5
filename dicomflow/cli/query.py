"""``dicomflow query``: SQL over a dataset.

In: DEST, a query or the name of one.  Out: a table, CSV, JSON or Parquet, on stdout or in a file, as rows are made.  Knows no
layout; what brings DuckDB is loaded when the command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict, Unpack

import click
from rich.text import Text

import dicomflow
from dicomflow.cli.output import check_outside, guess_format, say_no_rows, say_written, stdout_console
from dicomflow.cli.session import print_message
from dicomflow.cli.startup import limit_memory, spare_pandas
from dicomflow.dataset.parts import read_schema
from dicomflow.dataset.storage import write_atomically
from dicomflow.errors import DatasetError
from dicomflow.query import Dataset
from dicomflow.report.result import render_result
from dicomflow.report.text import harmless, harmless_json
from dicomflow.sql.named import NamedQuery, find_query, list_queries
from dicomflow.sql.output import FORMATS, iter_rows, write_parquet
from dicomflow.sql.sandbox import BATCH_ROWS, GIB, MIN_MEMORY, NO_MEMORY, Answer, Limits

_FORMATS = ("table", *FORMATS, "parquet")
_ENDINGS = {
    ".csv": "csv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".txt": "table",
}
_TABLE_ROWS = 50
_ONE_VALUE = 4 * GIB
"""Bytes beside those of ``--memory``: as large as DuckDB lets one value be, which it does not count while it makes it."""
_MOST_ROWS = 1 << 62  # Arrow counts in 64 bits


class Options(TypedDict):
    """How rows are written, and what the query may take."""

    form: str | None
    limit: int | None
    memory: int
    threads: int | None
    quiet: bool
    timeout: float | None


def _parse_size(text: str | int) -> int:
    if isinstance(text, int):  # the default
        return text
    from dicomflow.config import parse_size  # here, because pydantic costs as much as a small query

    try:
        size = parse_size(text)
    except ValueError:
        size = 0
    if not isinstance(size, int) or size < MIN_MEMORY:
        raise click.BadParameter(f"{text[:64]!r} is no size from 128 MiB on; write it as 4GB or 2GiB.")
    return size


@click.command("query")
@click.argument("dest", required=False, metavar="DEST")
@click.argument("query", required=False)
@click.option("--list", "list_them", is_flag=True, help="List the ready-made queries, and do nothing else.")
@click.option("--show", is_flag=True, help="Print the SQL of a ready-made query, and do nothing else.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="How to write the rows.  [default: as FILE is called, else table]",
)
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write them there.")
@click.option(
    "--limit",
    type=click.IntRange(0, _MOST_ROWS),
    metavar="N",
    help=f"No more than N rows.  [default: {_TABLE_ROWS} in a table, else all]",
)
@click.option(
    "--memory",
    type=_parse_size,
    default=GIB,
    show_default="1GiB",
    metavar="SIZE",
    help="Memory for DuckDB, such as 4GB.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop the query after so long, from its begin to its last row.  [default: never]",
)
@click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads.  [default: one per core]")
@click.option("--quiet", is_flag=True, help="Do not say on stderr how many rows there were; only errors.")
def command(
    dest: str | None, query: str | None, list_them: bool, show: bool, output: Path | None, **options: Unpack[Options]
) -> int:
    """Ask SQL of the dataset DEST: of its tables instances, files, conflicts, series, studies and patients.

    QUERY is one statement that reads, in the SQL of DuckDB; or @NAME for a ready-made one; or - to read it from stdin.  It sees
    the dataset's tables, and neither other files nor the network.  CSV, JSON and Parquet hold the exact values of all
    rows, in bounded memory; json is one array, ndjson one object a line.

    \b
    Example:
      dicomflow query headers "select Modality, count(*) as n from instances group by all order by n desc"
      dicomflow query headers @scanner-fleet
      dicomflow query headers "from instances where Modality = 'CT'" -o ct.parquet
      dicomflow query --list
    """
    if list_them:
        return _list()
    if show and query is None and (dest or "").startswith("@"):
        dest, query = "", dest  # a dataset is not needed
    if dest is None or query is None:
        raise click.UsageError(_describe_missing(dest))
    if show:
        return _show(query)
    form = options["form"] or (guess_format(str(output), _ENDINGS) if output else "table")
    _check_output(dest, output, form)
    sql = _read_query(query)
    spare_pandas()
    limits = Limits(memory=options["memory"], threads=options["threads"], seconds=options["timeout"])
    dataset = dicomflow.open_dataset(dest)
    if query.startswith("@"):
        _check_columns(dest, dataset, find_query(query[1:]))
    try:
        with limit_memory(options["memory"] + _ONE_VALUE), dataset.ask(sql, limits) as answer:
            _give(answer, output, form, options)
    except MemoryError:
        raise DatasetError(NO_MEMORY) from None
    return 0


def _describe_missing(dest: str | None) -> str:
    if dest is None:
        return "Missing argument 'DEST'."
    if dest.startswith("@"):
        return f"Missing argument 'DEST': the dataset, before {dest[:64]}."
    return "Missing argument 'QUERY'.  There is --list for the ready-made ones."


def _give(answer: Answer, output: Path | None, form: str, options: Options) -> None:
    """Write or print the rows, and say how many where nobody would see it."""
    limit, quiet = options["limit"], options["quiet"]
    if output is not None:
        _write_file(answer, output, form, limit)
        say_written(answer.rows if limit is None else min(answer.rows, limit), str(output), quiet=quiet)
        return
    if form == "table":
        _print_table(answer, _TABLE_ROWS if limit is None else limit)
    else:
        _print_text(FORMATS[form](answer, limit), form)
    say_no_rows(answer.rows, quiet=quiet)


def _list() -> int:
    console = stdout_console()
    for query in list_queries():
        console.print(Text.assemble((f"@{query.name:<18}", "bold"), f"  {query.description}"))
    return 0


def _show(query: str) -> int:
    if not query.startswith("@"):
        raise click.UsageError("--show prints a ready-made query: give its name, as @NAME.")
    print(find_query(query[1:]).sql, end="")
    return 0


def _check_output(dest: str, output: Path | None, form: str) -> None:
    if output is None:
        if form == "parquet":
            raise click.UsageError("Parquet goes into a file: -o FILE.parquet")
        return
    check_outside(dest, output)


def _check_columns(dest: str, dataset: Dataset, query: NamedQuery) -> None:
    """A ready-made query of columns that are not there would fail, or find nothing: no missing slice where no position is.

    Raises:
        DatasetError: the dataset lacks some.
    """
    there = set(read_schema(dataset.parts("instances")[0]).names)
    lacking = [name for name in query.needs if name not in there]
    if lacking:
        raise DatasetError(
            f"@{query.name} needs columns that the profile {dataset.snapshot.profile!r} of {dest} lacks: {', '.join(lacking)}; "
            "`dicomflow add-columns` gives it a profile that has them, as standard has"
        )


def _read_query(query: str) -> str:
    if query.startswith("@"):
        return find_query(query[1:]).sql
    return sys.stdin.read() if query == "-" else query


def _write_file(answer: Answer, output: Path, form: str, limit: int | None) -> None:
    def write(path: Path) -> None:
        if form == "parquet":
            write_parquet(answer, path, limit)
        elif form == "table":
            path.write_text("".join(f"{line}\n" for line in _make_lines(answer, limit)), "utf-8")
        else:
            with path.open("wb") as file:
                file.writelines(FORMATS[form](answer, limit))

    write_atomically(output, write)


def _make_lines(answer: Answer, limit: int | None) -> Iterable[Text]:
    """For a file: nothing is cut; the width of a column is known when all rows are."""
    return render_result([name for name, _ in answer.columns], list(iter_rows(answer, limit)), width=None).lines


def _print_table(answer: Answer, limit: int) -> None:
    console = stdout_console()
    rows = list(iter_rows(answer, limit + 1, min(limit + 1, BATCH_ROWS)))
    width = console.width if console.is_terminal else None
    table = render_result([name for name, _ in answer.columns], rows[:limit], width=width)
    for line in table.lines:
        console.print(line)
    if len(rows) > limit:
        print_message(f"there are more rows than these {limit:,}; --limit N shows more, --format csv all of them")
    if table.left_out:
        print_message(
            f"{table.left_out:,} more columns do not fit; name those that you want, or write them with -o FILE.csv"
        )


def _print_text(chunks: Iterable[bytes], form: str) -> None:
    """Exact in a pipe; on a terminal what it would act on is escaped."""
    if stdout_console().is_terminal:
        for chunk in chunks:
            text = chunk.decode()
            print(harmless_json(text) if form != "csv" else "\n".join(map(harmless, text.split("\n"))), end="")
        return
    sys.stdout.flush()
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
