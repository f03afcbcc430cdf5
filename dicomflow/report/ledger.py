"""Lay out rows of the ledger: for people, or as CSV and JSON for programs.

In: batches of ``LEDGER_COLUMNS``.  Out: text, batch by batch: a ledger may have millions of rows.  CSV and JSON are exact.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyarrow import csv
from rich.text import Text

from dicomflow.report.summary import STATUS_STYLES
from dicomflow.report.text import harmless, harmless_json

LEDGER_COLUMNS = ("uri", "member", "status", "code", "message", "offset", "size", "mtime", "attempts")
"""What the ledger says of a file that did not end as it should."""

_CHUNK = 500

_WIDTHS = {"status": 9, "code": 24, "size": 13, "mtime": 19, "attempts": 8}
"""Cells of the columns before the names, which are as long as they are."""

_RIGHT = frozenset({"size", "attempts"})


def render_files(batches: Iterable[pa.Table]) -> Iterator[Text]:
    """One line per file: what happened, then where; the message last."""
    header = "  ".join(_align(name, name) for name in _WIDTHS)
    for number, batch in enumerate(batches):
        if number == 0:
            yield Text(f"{header}  file", style="dim")
        for start in range(0, batch.num_rows, _CHUNK):
            yield Text("\n").join(map(_render_file, batch.slice(start, _CHUNK).to_pylist()))


def _render_file(row: Mapping[str, Any]) -> Text:
    line = Text("  ").join(Text(_align(name, _cell(row[name])), _style(name, row)) for name in _WIDTHS)
    line.append(f"  {harmless(row['uri'])}")
    if row["member"] is not None:
        line.append(f" member {harmless(row['member'])}")
    about = "; ".join(_describe(row))
    return line.append(f"  ({about})", style="dim") if about else line


def _describe(row: Mapping[str, Any]) -> Iterator[str]:
    if row["message"]:
        yield harmless(row["message"])
    if row["offset"] is not None:
        yield f"at byte {row['offset']:,}"


def _style(name: str, row: Mapping[str, Any]) -> str:
    return STATUS_STYLES.get(row["status"], "") if name == "status" else ""


def _align(name: str, text: str) -> str:
    return text.rjust(_WIDTHS[name]) if name in _RIGHT else text.ljust(_WIDTHS[name])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}" if isinstance(value, int) else harmless(str(value))


def format_csv(batches: Iterable[pa.Table], columns: Iterable[str], *, terminal: bool = False) -> Iterator[str]:
    """CSV with a header line, RFC 4180 but for the line ends; text is quoted, null is empty and not.

    Args:
        batches: rows.
        columns: their names, for the header line that is there without any row, too.
        terminal: escape what a terminal acts on.
    """
    yield ",".join(f'"{name}"' for name in columns) + "\n"
    for batch in batches:
        sink = io.BytesIO()
        csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
        text = sink.getvalue().decode()
        yield "\n".join(map(harmless, text.split("\n"))) if terminal else text


def format_json(batches: Iterable[pa.Table]) -> Iterator[str]:
    """One array of objects, an object a line."""
    before = "[\n"
    for line in _format_objects(batches):
        yield before + line
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def format_ndjson(batches: Iterable[pa.Table]) -> Iterator[str]:
    """An object a line."""
    return (line + "\n" for line in _format_objects(batches))


def _format_objects(batches: Iterable[pa.Table]) -> Iterator[str]:
    for batch in batches:
        for row in batch.to_pylist():
            yield harmless_json(json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False))


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
