"""Run records as a table that SQL can ask.

In: the folder of the records.  Out: SQL that makes the table ``runs``.  Knows no rendering.

Only numbers, times and modes are taken: SOURCEs and names of hosts stay where they are.
"""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import Iterator
from typing import Any

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.snapshot import read_json
from dicomflow.errors import DatasetError
from dicomflow.sql.sandbox import quote_text

MOST = 1000
"""Records that are looked at: the newest."""

_TYPES = {
    "run_id": "VARCHAR",
    "started": "VARCHAR",
    "mode": "VARCHAR",
    "listed": "BIGINT",
    "read": "BIGINT",
    "removed": "BIGINT",
    "seconds": "DOUBLE",
    "version": "BIGINT",
}

_LONGEST = 64


def make_table(layout: Layout) -> str:
    """A script that makes the temporary table ``runs``, with one row per run record that can be read."""
    structure = json.dumps([_TYPES])
    records = json.dumps(list(_read_records(layout)))
    return (
        "create temporary table runs as\n"
        f"select unnest(from_json({quote_text(records)}, {quote_text(structure)}), recursive := true)"
    )


def _read_records(layout: Layout) -> Iterator[dict[str, Any]]:
    for path in heapq.nlargest(MOST, layout.runs.glob("*.json"), key=lambda path: path.stem):
        with contextlib.suppress(DatasetError):
            found = {"run_id": path.stem, **(read_json(path) or {})}
            yield {name: _fit(found.get(name), kind) for name, kind in _TYPES.items()}


def _fit(value: object, kind: str) -> str | float | None:
    """The value, if it is of the type; None for what is something else, or too large."""
    if kind == "VARCHAR":
        return value[:_LONGEST] if isinstance(value, str) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    if not is_number:  # NaN is not below either
        return None
    assert isinstance(value, int | float)
    return int(value) if kind == "BIGINT" else float(value)
