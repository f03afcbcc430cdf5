"""``dicomflow get``: one instance of a dataset.

In: DEST, a SOP Instance UID.  Out: its row on stdout, as lines or JSON.  Knows no layout; what brings
DuckDB is loaded when the command runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

import dicomflow
from dicomflow.cli.output import NO_ROWS, print_json, stdout_console
from dicomflow.cli.session import FAILED, print_message
from dicomflow.cli.startup import spare_pandas
from dicomflow.report.instance import render_instance, to_plain


@click.command("get")
@click.argument("dest")
@click.argument("uid")
@click.option("--json", "as_json", is_flag=True, help="The row as a JSON object with all columns.")
@click.option("--all", "with_files", is_flag=True, help="Also every file with this UID, with its outcome.")
def command(dest: str, uid: str, as_json: bool, with_files: bool) -> int:
    """Show the row of the instance of DEST whose SOP Instance UID is UID, without reading the others.

    With --all, also what the ledger says of each file that holds it: the one the row is from, duplicates, conflicts, removed
    ones; the JSON is then an object with "instance" and "files".

    \b
    Example:
      dicomflow get headers 1.2.840.113619.2.5.1762583153.215519.978957063.78
      dicomflow get headers 1.2.3.4 --json | jq .Modality

    Exit codes: 0 found, 1 not there.
    """
    spare_pandas()
    dataset = dicomflow.open_dataset(dest)
    row = dataset.get(uid)
    if row is None:
        print_message(f"{dest}: no instance with SOP Instance UID {uid} ({NO_ROWS})")
        return FAILED
    files = dataset.get_files(uid) if with_files else []
    if as_json:
        print_json(to_plain({"instance": row, "files": files} if with_files else row))
    else:
        _print_rows([row, *files])
    return 0


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    console = stdout_console()
    width = console.width if console.is_terminal else None
    for place, row in enumerate(rows):
        if place:
            console.print(Text())
        console.print(Text("\n").join(render_instance(row, width=width)))
