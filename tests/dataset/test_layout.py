"""Names and places of a dataset."""

from __future__ import annotations

from pathlib import Path

from dicomflow.dataset.layout import PRIVATE, TABLES, Layout


def test_plain_readers_see_the_tables_only(tmp_path: Path) -> None:
    """All that is private lies under one name with an underscore, which readers skip."""
    layout = Layout(tmp_path)
    private = [layout.description, layout.commit_record, layout.lock, layout.staging, layout.next, layout.job_record]
    private += [layout.runs, layout.run_record("r")]
    assert PRIVATE.startswith("_") and all(path.is_relative_to(tmp_path / PRIVATE) for path in private)
    assert [layout.table(name).parent for name in TABLES] == [tmp_path] * 6


def test_parts_are_parquet_files_by_name(tmp_path: Path) -> None:
    """Temporary files are no parts."""
    layout = Layout(tmp_path)
    layout.table("files").mkdir()
    for name in ("b.parquet", "a.parquet", ".c.parquet.123.tmp"):
        (layout.table("files") / name).write_bytes(b"")
    assert [part.name for part in layout.parts("files")] == ["a.parquet", "b.parquet"]
    assert layout.parts("conflicts") == [] and not layout.is_dataset()
