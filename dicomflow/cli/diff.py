"""``dicomflow diff``: two datasets, compared.

In: two folders.  Out: counts and changes on stdout, an exit code as of diff(1).  Knows no layout; what brings DuckDB is loaded
when the command runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, Unpack

import click

from dicomflow.cli.output import NO_ROWS, stdout_console
from dicomflow.cli.session import USAGE, Session, print_message
from dicomflow.cli.startup import spare_pandas
from dicomflow.diff import Comparison, open_diff
from dicomflow.report.diff import render_change, render_diff
from dicomflow.report.text import harmless_json

DIFFERENT, TROUBLE = 1, USAGE


class Options(TypedDict):
    """How it is said."""

    values: bool
    as_json: bool


@click.command("diff")
@click.argument("before", metavar="DEST1")
@click.argument("after", metavar="DEST2")
@click.option(
    "--list", "list_them", is_flag=True, help="Also each instance that differs, with the names of attributes."
)
@click.option("--values", is_flag=True, help="With the values before and after, too: they may be personal data.")
@click.option("--thorough", is_flag=True, help="Also compare rows whose headers are the same, byte for byte.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.pass_obj
def command(
    session: Session | None, before: str, after: str, list_them: bool, thorough: bool, **how: Unpack[Options]
) -> int:
    """Compare the datasets DEST1 and DEST2: which instances were added, removed, changed, and in which attributes.

    Instances are matched by SOP Instance UID.  Where a file lies is not compared.  Where the datasets have different
    columns, those that both have are compared, and the others named.

    A dataset keeps its newest version only: two versions, or two runs, of one dataset can be compared if a copy of the older one
    was made before.  Parts are never changed, only replaced, so that a copy made of hard links (cp -al headers headers-monday)
    costs nearly nothing.

    \b
    Example:
      dicomflow diff headers-monday headers
      dicomflow diff headers-monday headers --list --json | jq .instances

    Exit codes: 0 the same, 1 different, 2 trouble.
    """
    if session is not None:
        session.failed = TROUBLE
    spare_pandas()
    with open_diff(before, after, thorough=thorough) as diff:
        rows = _iter_rows(diff, values=how["values"]) if list_them or how["values"] else None
        if how["as_json"]:
            _print_json(diff.summary.to_dict(), rows)
        else:
            _print_text(diff, rows)
        if os.path.realpath(before) == os.path.realpath(after):
            print_message(
                f"both are the same version, {diff.summary.after_version}, of one dataset, which keeps no other; to compare "
                "it later, make a copy before the next run: cp -al DEST DEST-before"
            )
        elif diff.summary.is_same:
            print_message(f"{NO_ROWS} differ")
        return 0 if diff.summary.is_same else DIFFERENT


def _iter_rows(diff: Comparison, *, values: bool) -> Iterator[dict[str, Any]]:
    for batch in diff.iter_changes(values=values):
        yield from batch.to_pylist()


def _print_text(diff: Comparison, rows: Iterator[dict[str, Any]] | None) -> None:
    console = stdout_console()
    console.print(render_diff(diff.summary.to_dict()))
    for row in rows or ():
        console.print(render_change(row))


def _print_json(summary: Mapping[str, Any], rows: Iterator[dict[str, Any]] | None) -> None:
    """One object; ``instances`` is its last member, an instance a line, as they come."""
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    if rows is None:
        print(harmless_json(text))
        return
    print(harmless_json(text.removesuffix("\n}")), end=',\n  "instances": [')
    before = "\n"
    for row in rows:
        print(before + "    " + harmless_json(json.dumps(_parse_values(row), ensure_ascii=False)), end="")
        before = ",\n"
    print("\n  ]\n}")


def _parse_values(row: dict[str, Any]) -> dict[str, Any]:
    """Values are JSON text; in JSON they are themselves."""
    if row["attributes"] is None:
        row["attributes"] = []
    if "values" in row:
        row["values"] = [
            {
                name: json.loads(text) if name != "attribute" and text is not None else text
                for name, text in value.items()
            }
            for value in row["values"] or ()
        ]
    return row
