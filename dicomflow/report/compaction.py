"""Say what compacting did.

In: the snapshots before and after.  Out: what ``rich`` can print, or what ``json`` takes.  Decides nothing.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dicomflow.dataset.layout import TABLES
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.report.text import format_bytes


def render_compaction(before: Snapshot, after: Snapshot) -> RenderableType:
    """Parts and bytes of each table, before and after."""
    if before.version == after.version:
        return Text(f"nothing to merge; version {after.version} is as it was")
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_edge=False)
    for name in ("table", "rows", "parts", "", "bytes", ""):
        shown.add_column(name, justify="left" if name == "table" else "right", no_wrap=True)
    for table in TABLES:
        counts = (f"{len(before.tables[table]):,}", f"to {len(after.tables[table]):,}")
        sizes = (format_bytes(before.bytes(table)), f"to {format_bytes(after.bytes(table))}")
        shown.add_row(table, f"{after.rows(table):,}", *counts, *sizes)
    return Group(Text.assemble("merged into ", (f"version {after.version}", "bold")), "", shown)


def describe_compaction(before: Snapshot, after: Snapshot) -> dict[str, object]:
    """The same as numbers."""
    return {
        "version_before": before.version,
        "version": after.version,
        "tables": {
            table: {
                "rows": after.rows(table),
                "parts_before": len(before.tables[table]),
                "parts": len(after.tables[table]),
                "bytes_before": before.bytes(table),
                "bytes": after.bytes(table),
            }
            for table in TABLES
        },
    }
