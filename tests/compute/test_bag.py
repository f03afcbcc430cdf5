"""Bags of the same tasks are told apart."""

from __future__ import annotations

from dask.core import flatten

from dicomflow.compute.bag import make_bag
from tests.compute.running import double


def test_the_same_task_again_has_keys_of_its_own() -> None:
    """Under the keys of the first bag, a task that killed its workers would be handed back without being tried again."""
    first, second = (set(flatten(make_bag(double, [7], "scan_task", print).__dask_keys__())) for _ in range(2))
    assert len(first) == len(second) == 1 and not first & second
