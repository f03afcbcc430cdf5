"""``dicomflow synth``: studies for people without data, and load for benchmarks.

In: DEST and how much of what.  Out: files, a few lines about them.  Knows nothing of how they are made.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import click

from dicomflow.cli.interrupt import leave_on_interrupt
from dicomflow.cli.options import parse_share
from dicomflow.cli.output import print_json, stdout_console
from dicomflow.cli.waiting import watch_folder
from dicomflow.report.summary import render_facts
from dicomflow.report.text import format_bytes, harmless
from dicomflow.synth import KINDS, SynthSummary, write_studies


@click.command("synth")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option(
    "--files", type=click.IntRange(min=0), default=1000, show_default=True, help="How many files, faulty ones included."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed writes the same bytes.")
@click.option(
    "--corrupt", type=parse_share, default="0", metavar="SHARE", help="Share of faulty files: 0.02 or 2%.  [default: 0]"
)
@click.option("--kinds", metavar="A,B,...", help=f"Only these of {', '.join(KINDS)}.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress, no summary; only errors.")
def command(
    dest: Path, files: int, workers: int | None, as_json: bool, quiet: bool, kinds: str | None, **request: float
) -> int:
    """Write synthetic studies to DEST, a folder that is empty or does not exist.

    Several kinds of objects, vendors, character sets and transfer syntaxes; all persons and hospitals are invented.  Faulty
    files are cut, empty, not DICOM, copies, conflicting, or hold values that are not valid.

    \b
    Example:
      dicomflow synth scans --files 10000 --corrupt 2%
      dicomflow synth scans --kinds ct,mr --seed 7
    """
    work = partial(write_studies, dest, files=files, kinds=_split(kinds), workers=workers or os.cpu_count() or 1)
    with (
        leave_on_interrupt(lambda: f"stopped; {dest} holds what was written so far"),
        watch_folder(dest, files, quiet=quiet),
    ):
        summary = work(seed=int(request["seed"]), corrupt=request["corrupt"])
    if as_json:
        print_json({**_numbers(summary), "dest": str(dest)})
    elif not quiet:
        stdout_console().print(render_facts(_facts(summary, dest)))
    return 0


def _split(kinds: str | None) -> list[str] | None:
    return None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]


def _numbers(summary: SynthSummary) -> dict[str, object]:
    return {
        "files": summary.files,
        "bytes": summary.bytes,
        "studies": summary.studies,
        "kinds": dict(summary.kinds),
        "corruptions": dict(summary.corruptions),
    }


def _facts(summary: SynthSummary, dest: Path) -> Iterator[tuple[str, str]]:
    yield "written", f"{summary.files:,} files, {format_bytes(summary.bytes)}, {summary.studies:,} studies"
    yield "kinds", _join(summary.kinds)
    if summary.corruptions:
        yield "faulty", f"{sum(summary.corruptions.values()):,} files of {len(summary.corruptions)} sorts"
    yield "where", harmless(str(dest))
    yield "next", f"dicomflow extract {harmless(shlex.quote(str(dest)))} -o headers"


def _join(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
