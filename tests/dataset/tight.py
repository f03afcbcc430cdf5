"""No memory at all: whatever may go to the disk does, a bucket at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from dicomflow.dataset import comparison, deduplicate, rows

NOTHING = 1 << 62
"""A share that is nothing, of any memory."""


@contextlib.contextmanager
def tight() -> Iterator[None]:
    """While the block runs, listings, ledgers and what is found in them are on the disk."""
    with (
        patch.multiple(comparison, _SIDE_SHARE=NOTHING, _WHOLE_SHARE=NOTHING, _BUCKET_SHARE=NOTHING),
        patch.object(rows, "SHARE", NOTHING),
        patch.object(deduplicate, "FEW_MOVES", 0),
    ):
        yield
