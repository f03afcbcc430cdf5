"""Make a worker's storage slow, to see what a dashboard looks like then: for pictures only, nothing of it is in the product.

SLOW_OPEN=0.004 dask worker --preload docs/slow_storage.py tcp://127.0.0.1:8786

``SLOW_OPEN``: seconds that each ``os.open`` of a file takes longer.  ``SLOW_PART``: only of paths that contain this text.
"""

from __future__ import annotations

import os
import time
from typing import Any


def make_slow(seconds: float, part: str) -> None:
    """Each open of a path that contains ``part`` takes so many seconds longer."""
    real = os.open

    def slow_open(path: Any, *arguments: Any, **options: Any) -> int:
        if part in os.fsdecode(path):
            time.sleep(seconds)
        return real(path, *arguments, **options)

    os.open = slow_open  # type: ignore[assignment]


def dask_setup(_worker: object) -> None:
    """Called by Dask in the worker process, for a preload."""
    make_slow(float(os.environ.get("SLOW_OPEN", "0")), os.environ.get("SLOW_PART", ""))
