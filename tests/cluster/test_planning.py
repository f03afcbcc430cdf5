"""What ``make planning`` and ``make increment`` measure on many files, on few."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomflow.dataset.changes import Mode
from tests.cluster.increment import increment, publish
from tests.cluster.planning import list_simulated, plan
from tests.dataset.tight import tight


def test_every_file_is_planned() -> None:
    """Each once, in tasks that all end."""
    assert plan(list_simulated(3000), 3000, 4).files == 3000


@pytest.mark.parametrize("mode", [Mode.INCREMENT, Mode.FULL])
def test_what_changed_is_planned(tmp_path: Path, mode: Mode) -> None:
    """A hundredth, or all; a hundredth is gone; with nothing in memory."""
    about = (tmp_path / "dest", 2000, 1 << 27, mode)
    assert publish(*about) == "2,000 rows"
    with tight():
        assert increment(*about).startswith(f"{20 if mode is Mode.INCREMENT else 1980:,} files")
