"""Say how a dataset is, as a page of text.

In: a DatasetStatus.  Out: what ``rich`` can print.  Knows words; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dicomflow.dataset.lock import Owner
from dicomflow.report.summary import render_facts, render_outcomes
from dicomflow.report.text import format_bytes, format_seconds, harmless
from dicomflow.rerun import Rerun
from dicomflow.status import DatasetStatus, RunStatus, TableStatus

_RUN_COLUMNS = ("started (UTC)", "mode", "listed", "read", "removed", "time", "version")


def render_status(status: DatasetStatus) -> RenderableType:
    """What is published, how the inputs ended, the last runs, who is at work, what a re-run would do."""
    parts: list[RenderableType] = [_headline(status)]
    if status.tables:
        parts += ["", _tables_table(status.tables)]
    if status.outcomes:
        parts += ["", render_outcomes(status.outcomes)]
    if status.runs:
        parts += ["", _runs_table(status.runs)]
    if facts := list(_facts(status)):
        parts += ["", render_facts(facts)]
    return Group(*parts)


def _headline(status: DatasetStatus) -> Text:
    name = (harmless(status.dest), "bold")
    if not status.version:
        return Text.assemble(name, ": nothing is published yet")
    about = f": version {status.version}, profile {harmless(str(status.profile))}, by dicomflow {status.dicomflow}"
    return Text.assemble(name, harmless(about))


def _tables_table(tables: tuple[TableStatus, ...]) -> Table:
    shown = _table("table", "rows", "bytes", "parts")
    for table in tables:
        shown.add_row(table.name, f"{table.rows:,}", format_bytes(table.bytes), f"{table.parts:,}")
    return shown


def _runs_table(runs: tuple[RunStatus, ...]) -> Table:
    shown = _table(*_RUN_COLUMNS, left=2)
    for run in runs:
        seconds = format_seconds(run.seconds) if isinstance(run.seconds, int | float) else ""
        counts = (_count(run.listed), _count(run.read), _count(run.removed), seconds, _count(run.version))
        shown.add_row(_time(run.started), harmless(run.mode or ""), *counts)
    return shown


def _table(*names: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_edge=False)
    for place, name in enumerate(names):
        table.add_column(name, justify="left" if place < left else "right", no_wrap=True)
    return table


def _count(number: int | None) -> str:
    return f"{number:,}" if isinstance(number, int) else ""


def _time(text: str | None) -> str:
    """Of an ISO time, what people read: to the second."""
    return harmless(text[:19].replace("T", " ")) if isinstance(text, str) else ""


def _facts(status: DatasetStatus) -> Iterator[tuple[str, str]]:
    for place, source in enumerate(status.sources):
        yield "" if place else "sources", harmless(source)
    if status.partition_by:
        yield "partitions", f"by {harmless(', '.join(status.partition_by))}: {status.partitions:,} of `instances`"
    if status.removed:
        yield "removed", f"{_files(status.removed)} that earlier runs knew"
    yield from _activity(status)
    if status.rerun:
        yield "re-run", _describe_rerun(status.rerun)
        for problem in status.rerun.problems:
            yield "", f"refused: {harmless(problem)}"


def _activity(status: DatasetStatus) -> Iterator[tuple[str, str]]:
    """Who is at work, and what was left."""
    if status.writer:
        yield "writing", harmless(_describe_writer(status.writer))
    if status.commit_pending:
        yield "commit", "was recorded and not completed; readers by `open_dataset` are exact, the next run completes it"
    if status.staged:
        is_read = status.writer and status.writer.alive is not False
        taken = "read so far" if is_read else "can be taken up by the same command"
        plural = "" if status.staged.tasks == 1 else "s"
        yield "staged", f"{_files(status.staged.files)} of {status.staged.tasks:,} task{plural} {taken}"


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _describe_writer(owner: Owner) -> str:
    who = "a run that has not said its name"
    if owner.host is not None or owner.pid is not None:
        who = f"process {owner.pid} on {owner.host} since {owner.since}"
    return f"nobody: {who} is gone; the next run takes its lock" if owner.alive is False else who


def _describe_rerun(rerun: Rerun) -> str:
    counts = (
        (rerun.new, "new"),
        (rerun.changed, "changed"),
        (rerun.retried, "failed before and to be tried again"),
        (rerun.settled, "not to be read"),
        (rerun.unchanged, "unchanged"),
        (rerun.removed, "gone"),
    )
    return f"{_files(rerun.listed)} listed: " + (
        ", ".join(f"{n:,} {what}" for n, what in counts if n)
        or ("nothing can be done" if rerun.problems else "nothing to do")
    )
