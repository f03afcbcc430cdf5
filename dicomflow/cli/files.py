"""``dicomflow files``: the ledger, as a list of what did not end well.

In: DEST, which files.  Out: lines, CSV or JSON on stdout, as they are read.  Knows no layout;
what brings DuckDB is loaded when the command runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
import pyarrow as pa

import dicomflow
from dicomflow.cli.output import say_no_rows, stdout_console
from dicomflow.cli.startup import spare_pandas
from dicomflow.errors import Code, Status
from dicomflow.report.ledger import LEDGER_COLUMNS, format_csv, format_json, format_ndjson, render_files

_FORMATS = ("table", "csv", "json", "ndjson")


@click.command("files")
@click.argument("dest")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([str(status) for status in Status]),
    help="Files that ended like this; may be given again.  [default: all but ok]",
)
@click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="CODE",
    type=click.Choice([str(code) for code in Code]),
    help="Files that ended for this reason, such as truncated; may be given again.",
)
@click.option("--under", metavar="FOLDER", help="Only files in this folder, or this file.")
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True, help="How to write them."
)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="No more than N files.")
def command(
    dest: str, statuses: tuple[str, ...], codes: tuple[str, ...], under: str | None, form: str, limit: int | None
) -> int:
    """List files of the ledger of DEST with their outcome; by default all that did not end as ok.

    CSV and JSON hold the exact values: json is one array, ndjson one object a line.  Times are UTC.

    \b
    Example:
      dicomflow files headers --status failed
      dicomflow files headers --status failed --code truncated --format csv > quarantine.csv
    """
    spare_pandas()
    counted = [0]
    rows = _count(
        _take(dicomflow.open_dataset(dest).iter_files(statuses, codes, under, LEDGER_COLUMNS), limit), counted
    )
    if form == "table":
        _print_table(rows)
    else:
        for text in _format(rows, form):
            print(text, end="")
    say_no_rows(counted[0])
    return 0


def _take(batches: Iterable[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    left = limit
    for batch in batches if limit != 0 else ():
        yield batch if left is None else batch.slice(0, left)
        left = None if left is None else left - min(left, batch.num_rows)
        if left == 0:
            return


def _count(batches: Iterable[pa.Table], counted: list[int]) -> Iterator[pa.Table]:
    """The same batches; ``counted[0]`` grows by their rows."""
    for batch in batches:
        counted[0] += batch.num_rows
        yield batch


def _format(rows: Iterable[pa.Table], form: str) -> Iterator[str]:
    if form == "csv":
        return format_csv(rows, LEDGER_COLUMNS, terminal=stdout_console().is_terminal)
    return format_json(rows) if form == "json" else format_ndjson(rows)


def _print_table(rows: Iterable[pa.Table]) -> None:
    console = stdout_console()
    for chunk in render_files(rows):
        console.print(chunk)
