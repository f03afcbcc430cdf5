"""``dicomflow compact``: many small parts into few large ones.

In: DEST, options.  Out: progress on stderr, what became of the parts on stdout.  Knows nothing of how they are merged,
and loads it when the command runs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

import dicomflow
from dicomflow.cli.ending import say_what_is_left
from dicomflow.cli.interrupt import leave_on_interrupt
from dicomflow.cli.output import print_json, stdout_console
from dicomflow.cli.progress import make_watcher
from dicomflow.cli.startup import spare_pandas
from dicomflow.config import load_config
from dicomflow.report.compaction import describe_compaction, render_compaction


@click.command("compact")
@click.argument("dest")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Settings, such as dataset.part_bytes."
)
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress, no summary; only errors.")
def command(dest: str, config: Path | None, as_json: bool, quiet: bool) -> int:
    """Merge the small parts that many runs leave in DEST into large ones, which queries read faster.

    The rows stay what they are.  Readers see the old parts until the new ones are whole.  A run does this by itself where there
    are very many small parts (dataset.compact_above).

    \b
    Example:
      dicomflow compact headers
    """
    spare_pandas()
    settings = load_config(config, {})
    before = dicomflow.open_dataset(dest).snapshot
    watcher = make_watcher(quiet=quiet)
    with leave_on_interrupt(partial(say_what_is_left, dest)), watcher:
        after = dicomflow.compact(dest, config=settings, progress=watcher)
    if as_json:
        print_json(describe_compaction(before, after))
    elif not quiet:
        stdout_console().print(render_compaction(before, after))
    return 0
