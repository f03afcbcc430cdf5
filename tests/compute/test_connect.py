"""What a connection does to the loop that it runs on."""

from __future__ import annotations

import asyncio
import gc

import pytest

from dicomflow.compute.connect import Connection
from dicomflow.config import load_config


@pytest.mark.parametrize(("error", "shown"), [(TimeoutError("Timeout"), 0), (ValueError("of somebody"), 1)])
def test_timeouts_that_nobody_waits_for_are_not_shown(
    error: Exception, shown: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Dask leaves them behind when it ends in the wrong moment; all other errors of its loop are shown."""
    config = load_config(None, {"compute.dashboard_address": ""}).compute

    async def leave() -> None:
        asyncio.get_running_loop().create_future().set_exception(error)

    with Connection(config, "in-process") as connection:
        connection.client.sync(leave)
        gc.collect()
    assert [record.name for record in caplog.records].count("asyncio") == shown
