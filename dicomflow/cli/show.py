"""``dicomflow show``: the header of one file.

In: a path, perhaps a name in the archive there.  Out: a table or DICOM JSON on stdout.
Knows neither values nor layout, and neither Dask nor pandas.
"""

from __future__ import annotations

import click

from dicomflow.cli.output import print_json, stdout_console
from dicomflow.config import HeaderConfig
from dicomflow.header.dicom_json import to_dicom_json
from dicomflow.report.header import HeaderReport, inspect_header
from dicomflow.report.table import render_header
from dicomflow.schema.profile import load_profile


@click.command("show")
@click.argument("file")
@click.argument("member", required=False)
@click.option("--json", "as_json", is_flag=True, help="DICOM JSON (PS3.18 annex F) instead of a table.")
@click.option(
    "--columns",
    metavar="minimal|standard|FILE",
    help="Only the columns of this profile, as the dataset would hold them.",
)
def command(file: str, member: str | None, as_json: bool, columns: str | None) -> int:
    """Show the header of FILE, or of a MEMBER of the ZIP archive FILE.

    Every data element up to the pixels is shown, its value as the dataset would hold it.

    Items of sequences are indented, and what is wrong with a value is marked with an exclamation mark.  Binary values are
    only measured.  The last lines say how reading ended.

    \b
    Example:
      dicomflow show scan.dcm
      dicomflow show --json scan.dcm | jq '."00100020"'
      dicomflow show study.zip DICOM/IM0001
    """
    if as_json and columns:
        raise click.UsageError("--json shows all elements; it cannot be combined with --columns.")
    report = inspect_header(file, load_profile(columns or "minimal"), HeaderConfig(), member)
    if as_json:
        print_json(to_dicom_json(report.header.elements))
    else:
        _print_table(report, columns=columns is not None)
    return 0


def _print_table(report: HeaderReport, *, columns: bool) -> None:
    console = stdout_console()
    width = console.width if console.is_terminal else None
    for chunk in render_header(report, width=width, columns=columns):
        console.print(chunk)
