"""Lay out in what two datasets differ.

In: a DatasetDiff as a dict, rows of changes.  Out: ``rich.text.Text``.  Knows no SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from dicomflow.report.text import harmless

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_NAME = 11
_MAX_NAMES = 40


def render_diff(diff: Mapping[str, Any]) -> Text:
    """The counts, and the attributes that differ."""
    return Text("\n").join(_iter_lines(diff))


def _iter_lines(diff: Mapping[str, Any]) -> Iterator[Text]:
    for name, root, version in (
        ("before", diff["before"], diff["before_version"]),
        ("after", diff["after"], diff["after_version"]),
    ):
        yield Text.assemble((name.ljust(_NAME), "dim"), f"{harmless(root)} (version {version:,})")
    counts = {
        "added": diff["added"],
        "removed": diff["removed"],
        "changed": diff["changed"],
        "unchanged": diff["unchanged"],
    }
    size = len(f"{max(counts.values()):,}")
    for name, count in counts.items():
        style = _SIGNS[name][1] if count and name in _SIGNS else ""
        yield Text.assemble((name.ljust(_NAME), "dim"), (f"{count:>{size},}", style))
    for name, count in diff["attributes"].items():
        yield Text(f"  {count:>{size},}  {harmless(name)}")
    if diff["changed_elsewhere"]:
        yield Text(f"  {diff['changed_elsewhere']:>{size},}  (the header differs, but in no column that both have)")
    for about, names in (
        ("only before", diff["only_before"]),
        ("only after", diff["only_after"]),
        ("redefined", diff["redefined"]),
    ):
        if names:
            yield Text(f"columns {about}, not compared: {_join(names)}", style="dim")


def render_change(row: Mapping[str, Any]) -> Text:
    """One instance; a line more for each value."""
    sign, style = _SIGNS[row["change"]]
    line = Text.assemble((sign, style), f" {harmless(row['SOPInstanceUID'])}")
    if row["attributes"] and "values" not in row:
        line.append("  " + ", ".join(map(harmless, row["attributes"])), style="dim")
    for value in row.get("values") or ():
        before, after = ("-" if value[side] is None else harmless(value[side]) for side in ("before", "after"))
        line.append(f"\n    {harmless(value['attribute'])}: {before} -> {after}")
    return line


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(map(harmless, names[:_MAX_NAMES])) + more
