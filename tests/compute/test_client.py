"""Tasks on a ``distributed`` cluster that does not do what it should."""

from __future__ import annotations

import os

import pytest
from distributed import LocalCluster

from dicomflow.compute import Handlers, Note, open_cluster
from dicomflow.errors import ComputeError
from tests.compute.running import make_compute, twice


def die(task: int, note: Note) -> int:
    os._exit(1)


def test_workers_that_die_again_and_again() -> None:
    """A task that kills every worker ends the run with an error of ours, not a stranger's."""
    with (
        pytest.raises(ComputeError, match="workers died again and again|cluster was lost"),
        open_cluster(make_compute(scheduler="processes", workers=2), "processes") as cluster,
    ):
        cluster.map(die, [1], name="die", on=Handlers(done=lambda _: None))


def test_a_cluster_without_workers_is_not_waited_for() -> None:
    """Dask alone would wait for ever for a worker to come."""
    with LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as cluster:
        address = cluster.scheduler_address
        with (
            pytest.raises(ComputeError, match="cluster was lost"),
            open_cluster(make_compute(scheduler=address, no_worker_seconds=0.5), address) as ours,
        ):
            ours.map(twice, [1], name="never", on=Handlers(done=lambda _: None))
