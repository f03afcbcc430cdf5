"""Stages for the dashboard."""

from __future__ import annotations

from dicomflow.compute import record_stages


def test_stages_outside_of_a_task() -> None:
    """Booking stages is harmless where nobody meters."""
    record_stages({"read": 1.0})
