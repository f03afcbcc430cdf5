"""Find what is published, also at the moment when tables change places.

In: the layout of a dataset.  Out: its newest version, and the paths of its parts.  Reads only; waits a little, never for a run.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.snapshot import Snapshot, read_published
from dicomflow.errors import DatasetError
from dicomflow.schema.version import FORMAT_VERSION

_TRIES, _PAUSE = 5, 0.05  # seconds


def find_published(layout: Layout) -> tuple[Snapshot, dict[str, list[Path]]]:
    """The newest version, whole, and the paths of its parts by table.

    Raises:
        DatasetError: there is none, or a part of it is gone.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(DatasetError):
            return read_published(layout, FORMAT_VERSION)
        if not layout.is_dataset():
            break
        time.sleep(_PAUSE)  # tables change places at this moment
    return read_published(layout, FORMAT_VERSION)
