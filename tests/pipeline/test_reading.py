"""Tasks on a cluster: what becomes of those that are lost, and of the cluster itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomflow.synth import make_series
from tests.poison import poisoned
from tests.test_pipeline import extract, leftovers, read_all


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve files of one series."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number, file in enumerate(make_series("mr", instances=12)):
        (folder / f"f{number:02}").write_bytes(file.data)
    return folder


@pytest.mark.parametrize(("scheduler", "workers"), [("threads", 1), ("threads", 2), ("in-process", 2)])
def test_files_that_get_no_memory(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler: str, workers: int
) -> None:
    """A task that gets no memory is divided until the file stands alone; all others are in the dataset, and nothing is left."""
    victims = sorted(source.iterdir())[3:9:5]
    for victim in victims:
        victim.rename(f"{victim}.hog")
    settings: dict[str, Any] = {
        "scheduler": scheduler,
        "workers": workers,
        "plan__files_per_task": 6,
        "columns": "minimal",
    }
    with poisoned(".hog=MEMORY"):
        summary = extract(source, tmp_path / "d", **settings)
    assert summary.outcomes == (("ok", None, 10), ("failed", "out_of_memory", 2)) and leftovers(tmp_path / "d") == []
    failed = [row for row in read_all(tmp_path / "d")["files"] if row["status"] == "failed"]
    assert [Path(row["uri"]).name for row in failed] == [f"{victim.name}.hog" for victim in victims]
    said = capsys.readouterr().err
    assert said.count("file_given_up") == 2 and "task_out_of_memory" in said
    settings |= {"scheduler": "threads"}
    assert extract(source, tmp_path / "d", **settings).outcomes == (
        ("ok", None, 12),
    )  # tried again like all that failed
