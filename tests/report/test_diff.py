"""Differences as people read them."""

from __future__ import annotations

from typing import Any

from dicomflow.diff import DatasetDiff
from dicomflow.report.diff import render_change, render_diff


def diff(**given: Any) -> dict[str, Any]:
    none: dict[str, Any] = dict.fromkeys(
        ["before_version", "after_version", "added", "removed", "changed", "changed_elsewhere", "unchanged"], 0
    )
    lists = {"only_before": [], "only_after": [], "redefined": []}
    return DatasetDiff(**{"before": "/a", "after": "/b\x1b", "attributes": {}, **none, **lists, **given}).to_dict()


def test_summary() -> None:
    """Counts, attributes, and the columns that were left alone."""
    text = render_diff(
        diff(added=1234, changed=3, changed_elsewhere=1, attributes={"Rows": 2}, only_after=["KVP"])
    ).plain
    assert text.splitlines() == [
        "before     /a (version 0)",
        "after      /b\\x1b (version 0)",
        "added      1,234",
        "removed        0",
        "changed        3",
        "unchanged      0",
        "      2  Rows",
        "      1  (the header differs, but in no column that both have)",
        "columns only after, not compared: KVP",
    ]
    assert "and 60 more" in render_diff(diff(only_before=[f"c{n}" for n in range(100)])).plain


def test_changes() -> None:
    """A sign, the UID, what changed; values when they are there, harmless."""
    row = {"change": "changed", "SOPInstanceUID": "1.2", "attributes": ["Rows", "KVP"]}
    assert render_change(row).plain == "~ 1.2  Rows, KVP"
    assert render_change({**row, "change": "added", "attributes": None}).plain == "+ 1.2"
    values = [{"attribute": "Rows", "before": None, "after": '"\x1b"'}]
    assert render_change({**row, "values": values}).plain == '~ 1.2\n    Rows: - -> "\\x1b"'
    assert render_change({**row, "change": "removed", "attributes": [], "values": None}).plain == "- 1.2"
