"""``dicomflow status``: how a dataset is.

In: DEST.  Out: a page of text or JSON on stdout.  Knows neither layout nor outcomes.
"""

from __future__ import annotations

from pathlib import Path

import click

from dicomflow.cli.output import print_json, stdout_console
from dicomflow.cli.progress import make_watcher
from dicomflow.cli.startup import spare_pandas
from dicomflow.config import load_config
from dicomflow.report.status import render_status
from dicomflow.status import dataset_status


@click.command("status")
@click.argument("dest")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.option("--no-listing", is_flag=True, help="Do not list the SOURCEs: say nothing of what a re-run would do.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE.yaml", help="How a run lists its SOURCEs.")
def command(dest: str, as_json: bool, no_listing: bool, config: Path | None) -> int:
    """Say how the dataset DEST is: its version and size, how its files ended, the last runs, whether a run is writing.

    Then list its SOURCEs and say what a re-run would do: how many files are new, changed, to be tried again, or gone.
    Nothing is changed, and a run that is writing is not disturbed.

    \b
    Example:
      dicomflow status headers
      dicomflow status headers --no-listing --json | jq .version
    """
    spare_pandas()
    watcher = make_watcher(quiet=no_listing)
    sources = load_config(config, {}).sources
    with watcher:
        status = dataset_status(dest, listing=not no_listing, config=sources, progress=watcher)
    if as_json:
        print_json(status.to_dict())
    else:
        stdout_console().print(render_status(status))
    return 0
