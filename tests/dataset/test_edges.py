"""Edges that a review found: links, empty datasets, torn records, aliases, leftovers, compaction that fails."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import dicomflow
from dicomflow import pipeline
from dicomflow.dataset import commit
from dicomflow.dataset.layout import Layout
from dicomflow.errors import CommitFailed, DatasetError
from tests.durable.model import Content, write

ONE = {"columns": "minimal", "compute__scheduler": "threads", "compute__workers": 1}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "source" / f"f{number}", Content(f"1.{number}", "Doe^A", number))
    return tmp_path / "source"


def uris(dest: Path) -> list[str]:
    return sorted(dicomflow.open_dataset(dest).to_arrow(["source_uri"])["source_uri"].to_pylist())


def test_a_source_that_is_a_link_in_another_stays(source: Path, tmp_path: Path) -> None:
    """Where links are not followed, listing the outer folder does not come to it."""
    write(tmp_path / "out" / "b", Content("1.9", "Doe^B", 0))
    (source / "link").symlink_to(tmp_path / "out")
    dicomflow.extract([source, source / "link"], tmp_path / "d", sources__follow_symlinks=False, **ONE)
    before = uris(tmp_path / "d")
    dicomflow.add_columns(tmp_path / "d", "standard", sources__follow_symlinks=False, compute__scheduler="threads")
    assert uris(tmp_path / "d") == before and len(before) == 4


def test_columns_of_a_dataset_without_rows(tmp_path: Path) -> None:
    """They change like others."""
    (tmp_path / "empty").mkdir()
    dicomflow.extract(tmp_path / "empty", tmp_path / "d", **ONE)
    dicomflow.add_columns(tmp_path / "d", "standard", compute__scheduler="threads")
    assert "KVP" in dicomflow.open_dataset(tmp_path / "d").schema.names


def test_a_torn_run_record_stops_nothing(source: Path, tmp_path: Path) -> None:
    """It only says when files that are gone were last seen."""
    dicomflow.extract(source, tmp_path / "d", **ONE)
    (record,) = Layout(tmp_path / "d").runs.glob("*.json")
    record.write_text("{")
    (source / "f0").unlink()
    assert dicomflow.extract(source, tmp_path / "d", **ONE).removed == 1


def test_a_folder_with_two_names(source: Path, tmp_path: Path) -> None:
    """It is listed under one of them, and the other is not taken for a mount that went away."""
    (tmp_path / "alias").symlink_to(source)
    dicomflow.extract(source, tmp_path / "d", **ONE)
    dicomflow.extract(tmp_path / "alias", tmp_path / "d", **ONE)
    dicomflow.add_columns(tmp_path / "d", "standard", compute__scheduler="threads")
    assert len(uris(tmp_path / "d")) == 3 and not dicomflow.verify_dataset(tmp_path / "d").faults


def test_leftovers_that_cannot_be_removed_are_not_published(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops, and says which folder is in its way."""
    dicomflow.extract(source, tmp_path / "d", **ONE)
    Layout(tmp_path / "d").next.mkdir()

    def refuse(*_: Any) -> None:
        raise OSError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(commit.shutil, "rmtree", refuse)
        with pytest.raises(DatasetError, match="next: cannot be removed; remove it, then run again"):
            dicomflow.extract(source, tmp_path / "d", mode="full", **ONE)
    shutil.rmtree(Layout(tmp_path / "d").next, ignore_errors=True)
    assert dicomflow.extract(source, tmp_path / "d", mode="full", **ONE).rows == 3


def test_a_compaction_that_fails_is_no_failed_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is published; the small parts stay."""

    def refuse(*_: Any) -> bool:
        raise CommitFailed("nothing was published; run again: No space left on device")

    monkeypatch.setattr(pipeline.run, "compact_if_needed", refuse)
    assert dicomflow.extract(source, tmp_path / "d", **ONE).rows == 3
    assert len(uris(tmp_path / "d")) == 3
