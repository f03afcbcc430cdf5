"""Book what tasks spend their time on, where Dask shows it."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def record_stages(seconds: Mapping[str, float]) -> None:
    """Book seconds by activity in Dask's Fine Performance Metrics; does nothing where ``distributed`` is not in use."""
    if "distributed" in sys.modules:
        from distributed.metrics import context_meter

        for stage, spent in seconds.items():
            context_meter.digest_metric(stage, spent, "seconds")
