"""``dicomflow extract``: from files to a dataset.

In: SOURCEs, DEST, options.  Out: progress on stderr, a summary on stdout, an exit code.  Knows how options are called in the
configuration; nothing of how a run goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import click

from dicomflow.cli.ending import choose_grace, judge, say_what_is_left
from dicomflow.cli.interrupt import leave_on_interrupt
from dicomflow.cli.options import parse_range, parse_share
from dicomflow.cli.output import print_json, stdout_console
from dicomflow.cli.progress import make_watcher
from dicomflow.cli.session import Session
from dicomflow.cli.startup import spare_pandas
from dicomflow.config import MAX_PORT, Config, load_config
from dicomflow.dataset.changes import Mode
from dicomflow.log import LEVELS, configure_logging, get_logger
from dicomflow.pipeline import extract
from dicomflow.report.summary import render_summary
from dicomflow.summary import RunSummary

_QUIET_LEVELS = frozenset({"warning", "error", "critical"})

_SETTINGS = {
    "columns": "columns",
    "max_failed": "max_failed",
    "scheduler": "compute.scheduler",
    "workers": "compute.workers",
    "adapt": "cluster.adapt",
    "performance_report": "compute.performance_report",
    "metrics_port": "metrics.port",
    "metrics_file": "metrics.file",
}
"""Option -> its key in the configuration."""


class Options(TypedDict):
    """What click hands over, beside SOURCE and DEST."""

    config: Path | None
    columns: str | None
    scheduler: str | None
    workers: int | None
    adapt: dict[str, int] | None
    performance_report: Path | None
    metrics_port: int | None
    metrics_file: Path | None
    max_failed: float | None
    as_json: bool
    quiet: bool
    log_json: bool
    log_level: str
    no_dashboard: bool
    full: bool
    retry_failed: bool


@click.command("extract")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--dest", required=True, metavar="DEST", help="Folder of the dataset: new, empty or a dataset.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE.yaml", help="Settings; options here win.")
@click.option(
    "--columns",
    metavar="minimal|standard|FILE",
    help="Column profile.  [default: that of DEST; standard for a new one]",
)
@click.option(
    "--scheduler",
    metavar="auto|threads|in-process|processes|KIND|tcp://HOST:PORT",
    help="Where tasks run: in this process, on processes of this machine, on a KIND of cluster that the configuration describes "
    "(ssh, slurm, pbs, kubernetes, custom), or on a Dask scheduler that runs already.  [default: auto]",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Workers of our own.  [default: one per core]")
@click.option(
    "--adapt", type=parse_range, metavar="MIN:MAX", help="As many workers as there is work for, where the cluster can."
)
@click.option(
    "--performance-report", type=click.Path(path_type=Path), metavar="FILE.html", help="Write Dask's report of the run."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, MAX_PORT),
    metavar="PORT",
    help="Serve Prometheus metrics on loopback; 0: any port.",
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    metavar="FILE.prom",
    help="Write the metrics at the end, for node_exporter.",
)
@click.option("--max-failed", type=parse_share, metavar="SHARE", help="Exit with 3 if more files fail: 0.05 or 5%.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress, no summary; only errors.")
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="warning", show_default=True, help="Log to stderr from here up."
)
@click.option("--log-json", is_flag=True, help="One JSON object per log line.")
@click.option("--no-dashboard", is_flag=True, help="Start no Dask dashboard.")
@click.option("--full", is_flag=True, help="Read everything again, not only what is new, changed or failed earlier.")
@click.option("--retry-failed", is_flag=True, help="Read only what failed earlier, and nothing that is new.")
@click.pass_obj
def command(session: Session | None, sources: tuple[str, ...], dest: str, **options: Unpack[Options]) -> int:
    """Read the header of every file below each SOURCE into a Parquet dataset at DEST, one row per SOP Instance UID.

    Files are recognised by their content, not by their names.  DEST/instances holds the rows; DEST/files holds one row
    for each file with its outcome, so that nothing is lost in silence.

    Into a dataset that is there already, only new, changed and earlier failed files are read; rows of files that are gone leave
    it.  A run that was stopped or killed is taken up where it was.  Readers see the old version until the new one is whole.

    \b
    Example:
      dicomflow extract ~/scans /archive/ct -o headers
      dicomflow extract ~/scans -o headers --columns minimal --max-failed 5%

    Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 3 more files failed than --max-failed, 130
    stopped by Ctrl-C.
    """
    if options["full"] and options["retry_failed"]:
        raise click.UsageError("--full reads everything, --retry-failed only what failed: give one of them.")
    spare_pandas()
    if options["log_json"] or options["log_level"] != "warning":  # warnings are shown anyway
        configure_logging(json=options["log_json"], level=options["log_level"])
    if session and options["log_level"] == "debug":
        session.debug, session.log_exception = True, partial(_log_exception)
    config = load_config(options["config"], _overrides(options))
    plain = options["log_json"] or _is_chatty(options["log_level"])
    summary = run_extract(sources, dest, config, quiet=options["quiet"], plain=plain, mode=_mode(options))
    if options["as_json"]:
        print_json(summary.to_dict())
    elif not options["quiet"]:
        stdout_console().print(render_summary(summary))
    return judge(summary, config)


def run_extract(
    sources: Sequence[str],
    dest: str,
    config: Config,
    *,
    quiet: bool,
    plain: bool = False,
    mode: Mode = Mode.INCREMENT,
) -> RunSummary:
    """``extract`` with somebody who watches, and who may press Ctrl-C."""
    watcher = make_watcher(quiet=quiet, plain=plain)
    with leave_on_interrupt(partial(say_what_is_left, dest), choose_grace(config)), watcher:
        return extract(list(sources), dest, config=config, progress=watcher, mode=mode)


def _overrides(options: Options) -> dict[str, object]:
    given: Mapping[str, object] = {**options}
    overrides = {key: given[option] for option, key in _SETTINGS.items()}
    return overrides | ({"compute.dashboard_address": ""} if options["no_dashboard"] else {})


def _mode(options: Options) -> Mode:
    if options["full"]:
        return Mode.FULL
    return Mode.RETRY if options["retry_failed"] else Mode.INCREMENT


def _is_chatty(level: str) -> bool:
    """Whether log lines would tear a progress bar."""
    return level not in _QUIET_LEVELS


def _log_exception(error: BaseException) -> None:
    """Types and places of the exception and its causes; the log leaves out what strangers' exceptions say."""
    get_logger("cli").error("unexpected_exception", exc_info=error)
