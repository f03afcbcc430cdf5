"""Say what a run did: numbers first, then a page of text.

In: a RunSummary.  Out: what ``rich`` can print.  Knows the words of the ledger; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dicomflow.errors import Status
from dicomflow.report.text import (
    format_bytes,
    format_seconds,
    format_share,
    harmless,
)
from dicomflow.summary import RunSummary

STATUS_STYLES: Mapping[str, str] = {
    Status.OK: "green",
    Status.PARTIAL: "yellow",
    Status.CONFLICT: "yellow",
    Status.FAILED: "red",
}
_READABLE = frozenset({Status.OK, Status.PARTIAL, Status.DUPLICATE, Status.CONFLICT})
"""Outcomes of files whose header was read."""


def render_summary(summary: RunSummary) -> RenderableType:
    """What was read, how each file ended, where the dataset is, and what to do next."""
    parts: list[RenderableType] = [_headline(summary)]
    if summary.files:
        parts += ["", render_outcomes(summary.outcomes)]
    parts += ["", render_facts(_facts(summary)), "", render_facts(_next_steps(summary))]
    return Group(*parts)


def pydicom_share(summary: RunSummary) -> float:
    """Share of the readable files that the fast reader left to pydicom."""
    readable = sum(files for status, _, files in summary.outcomes if status in _READABLE)
    return summary.fallback_files / readable if readable else 0.0


def _headline(summary: RunSummary) -> Text:
    return Text.assemble(
        (_count(summary.files, "file"), "bold"),
        (" is " if summary.files == 1 else " are ") if summary.unchanged else " became ",
        (_count(summary.rows, "row"), "bold"),
        f"{_describe_again(summary)} in {format_seconds(summary.seconds)}",
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _describe_again(summary: RunSummary) -> str:
    """Of a run over files that are known: whether there was anything to do."""
    if not summary.unchanged:
        return ""
    if summary.read or summary.resumed or summary.removed:
        return f"; {summary.read:,} read, {summary.unchanged:,} unchanged,"
    return "; unchanged: nothing read,"


def render_outcomes(outcomes: Sequence[tuple[str, str | None, int]]) -> Table:
    """How files ended: (status, code, files), with their share."""
    all_files = sum(files for _, _, files in outcomes)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_edge=False)
    for name in ("outcome", "code"):
        table.add_column(name, no_wrap=True)
    table.add_column("files", justify="right")
    table.add_column("share", justify="right")
    for status, code, files in outcomes:
        style = STATUS_STYLES.get(status, "")
        table.add_row(Text(status, style), code or "", f"{files:,}", format_share(files / all_files))
    return table


def _facts(summary: RunSummary) -> Iterator[tuple[str, str]]:
    if not summary.files:
        yield "empty", "no file was found: is each SOURCE the right folder, and mounted?"
    if summary.unchanged or summary.resumed or summary.removed:
        yield "changed", _changes(summary)
    if summary.files_per_second:
        yield "read", f"{summary.files_per_second:,.0f} files/s, {format_bytes(summary.header_bytes)} of headers"
    if summary.fallback_files:
        yield "pydicom", f"read {format_share(pydicom_share(summary))} of the readable files"
    if summary.issues:
        yield (
            "issues",
            f"{_count(summary.issues, 'remark')} on values (null, or not as they should be); see the column `issues`",
        )
    yield "dataset", f"{harmless(summary.dest)}, version {summary.version}"
    if summary.dashboard:
        is_ours = "://" not in summary.scheduler  # that of a scheduler at an address goes on
        yield "dashboard", harmless(summary.dashboard) + (", while the run lasted" if is_ours else "")


def _changes(summary: RunSummary) -> str:
    """What this run did not have to read again, and what is gone."""
    counts = (
        (summary.read, "read"),
        (summary.unchanged, "known from earlier runs"),
        (summary.resumed, "taken over from a run that was interrupted"),
        (summary.removed, "gone"),
    )
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def _next_steps(summary: RunSummary) -> Iterator[tuple[str, str]]:
    """One line of pandas, one of SQL (also of partitions); where files have no row, the SQL line says which and why.

    ``repr`` makes literals that hold any path, and escapes what a terminal would act on.
    """
    yield "pandas", f"pd.read_parquet({summary.dest + '/instances'!r})"
    complete = summary.rows == summary.files
    table = "instances" if complete else "files"
    question = "limit 10" if complete else "select uri, status, code, message where status <> 'ok'"
    parts = f"{summary.dest}/{table}/**/*.parquet".replace("'", "''")
    query = f"from '{parts}' {question}"
    yield "SQL", f"duckdb.sql({query!r})"


def render_facts(facts: Iterable[tuple[str, str]]) -> Text:
    """One line each, never wrapped: paths and code are to be copied."""
    return Text("\n").join(Text.assemble((f"{name:<12}", "dim"), value) for name, value in facts)
