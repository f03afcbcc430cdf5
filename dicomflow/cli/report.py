"""``dicomflow report``: how good a dataset is, on one page.

In: DEST.  Out: an HTML file, a line on stdout.  Knows no figures; what brings Bokeh and DuckDB is loaded when the command runs.
"""

from __future__ import annotations

from pathlib import Path

import click

import dicomflow
from dicomflow.cli.output import check_outside, stdout_console
from dicomflow.cli.startup import spare_pandas
from dicomflow.report.text import harmless


@click.command("report")
@click.argument("dest")
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="report.html",
    show_default=True,
    metavar="FILE.html",
    help="Write it there.",
)
def command(dest: str, output: Path) -> int:
    """Write a page about the quality of the dataset DEST.

    What is in it; how complete attributes are, by modality and manufacturer; faulty and implausible values; duplicates and
    conflicts; incomplete and irregular series; failed files; the throughput of the runs.  Each number stands above its
    query.

    The page is one file that needs no network.  It holds counts, and names modalities, manufacturers, models and years, but no
    value of a patient or study, and no name of a file.

    \b
    Example:
      dicomflow report headers -o report.html
    """
    check_outside(dest, output)
    spare_pandas()
    report = dicomflow.write_report(dest, output)
    faults = sum(report.figures["issue-codes"].column("faulty_values"))
    instances = max(report.figures["archive"].column("instances"))
    stdout_console().print(harmless(f"{output}: {instances:,} instances, {faults:,} faulty values"))
    return 0
