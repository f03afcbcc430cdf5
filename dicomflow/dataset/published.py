"""Find what is published, also at the moment when tables change places.

In: the layout of a dataset.  Out: its newest version, and the paths of its parts.  Reads only; waits a little, never for a run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from dicomflow.dataset.layout import Layout
from dicomflow.dataset.snapshot import Snapshot, read_published
from dicomflow.errors import DatasetError, describe
from dicomflow.schema.arrow import FORMAT_VERSION

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


@contextlib.contextmanager
def reading(root: Path) -> Iterator[None]:
    """Make one error of parts that a later run takes away while they are read, and of damaged ones, whose values Arrow may quote.

    Raises:
        DatasetError: a part cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{root}: a run has published meanwhile; try again") from None
    except OSError as error:
        raise DatasetError(f"{root}: cannot be read: {describe(error)}") from None
    except pa.ArrowException as error:
        raise DatasetError(f"{root}: a part is damaged: {type(error).__name__}") from None
