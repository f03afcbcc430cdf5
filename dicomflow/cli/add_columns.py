"""``dicomflow add-columns``: other columns for a dataset that is there.

In: DEST, a profile, options.  Out: progress on stderr, a summary on stdout, an exit code.  Knows nothing of how a run goes, and
loads it when the command runs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import click

import dicomflow
from dicomflow.cli.ending import choose_grace, judge, say_what_is_left
from dicomflow.cli.interrupt import leave_on_interrupt
from dicomflow.cli.output import print_json, stdout_console
from dicomflow.cli.progress import make_watcher
from dicomflow.cli.startup import spare_pandas
from dicomflow.config import Config, load_config
from dicomflow.report.summary import render_summary
from dicomflow.summary import RunSummary


class Options(TypedDict):
    """What click hands over, beside DEST."""

    columns: str
    config: Path | None
    scheduler: str | None
    workers: int | None
    as_json: bool
    quiet: bool


@click.command("add-columns")
@click.argument("dest")
@click.option("--columns", required=True, metavar="minimal|standard|FILE", help="The columns it is to have.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Settings; options here win.")
@click.option(
    "--scheduler",
    metavar="auto|threads|in-process|processes|tcp://HOST:PORT",
    help="Where tasks run, as for extract.  [default: auto]",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Workers of our own.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress, no summary; only errors.")
def command(dest: str, **options: Unpack[Options]) -> int:
    """Give the dataset DEST the columns of another profile.

    Reads again the files that have a row, and what is new, changed or failed earlier, as a re-run of extract would; files that
    are no DICOM or copies are not read again.  Readers see the old columns until all rows have the new ones.

    \b
    Example:
      dicomflow add-columns headers --columns standard
    """
    spare_pandas()
    config = load_config(
        options["config"],
        {
            "columns": options["columns"],
            "compute.scheduler": options["scheduler"],
            "compute.workers": options["workers"],
        },
    )
    summary = _run(dest, config, quiet=options["quiet"])
    if options["as_json"]:
        print_json(summary.to_dict())
    elif not options["quiet"]:
        stdout_console().print(render_summary(summary))
    return judge(summary, config)


def _run(dest: str, config: Config, *, quiet: bool) -> RunSummary:
    watcher = make_watcher(quiet=quiet)
    with leave_on_interrupt(partial(say_what_is_left, dest), choose_grace(config)), watcher:
        return dicomflow.add_columns(dest, config.columns, config=config, progress=watcher)
