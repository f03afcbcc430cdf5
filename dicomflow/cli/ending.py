"""How a run ends on the command line: its exit code, and what is said after Ctrl-C.

In: a summary and the settings, or DEST.  Out: an exit code, a line.  Knows no command, and nothing that brings Dask.
"""

from __future__ import annotations

import os
from pathlib import Path

from dicomflow.cli.interrupt import CLUSTER_GRACE_SECONDS, GRACE_SECONDS
from dicomflow.cli.session import TOO_MANY_FAILED, print_message
from dicomflow.config import KINDS, Config
from dicomflow.dataset.layout import Layout
from dicomflow.report.text import format_share
from dicomflow.summary import RunSummary


def judge(summary: RunSummary, config: Config) -> int:
    """The exit code of a run that was done."""
    if config.max_failed is None or summary.failed_share <= config.max_failed:
        return 0
    print_message(
        f"{summary.failed:,} of {summary.files:,} files failed ({format_share(summary.failed_share)}), "
        f"more than --max-failed {config.max_failed * 100:g} % allows"
    )
    return TOO_MANY_FAILED


def choose_grace(config: Config) -> float:
    """How long Ctrl-C waits for what was begun to be put away: a cluster elsewhere goes on, and costs, until it is ended."""
    is_elsewhere = config.cluster.choose(config.compute.scheduler) in KINDS
    return CLUSTER_GRACE_SECONDS if is_elsewhere else GRACE_SECONDS


def say_what_is_left(dest: str) -> str:
    """The farewell after Ctrl-C."""
    layout = Layout(Path(os.path.abspath(dest)))
    if layout.commit_record.exists():
        return f"stopped while publishing; run the same command again to complete {dest}"
    if layout.is_dataset():
        return f"stopped; the dataset {dest} is as it was before; the same command goes on from here"
    return f"stopped; nothing was published in {dest}; the same command goes on from here"
