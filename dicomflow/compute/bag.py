"""The heart: tasks as the partitions of a Dask bag, a function mapped over them.

In: tasks, a function.  Out: the bag.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import dask.bag

from dicomflow.compute.cluster import Function, Note


def make_bag(function: Function, tasks: Sequence[Any], name: str, note: Callable[[], Note]) -> dask.bag.Bag:
    """One partition per task, so that the scheduler balances, retries and shows them; named as the function is.

    Args:
        function: (task, note) -> result.
        tasks: at least one.
        name: the tasks' name on the dashboard.
        note: called on the worker; makes what the function gets as ``note``.
    """
    return dask.bag.from_sequence(tasks, npartitions=len(tasks)).map(_Named(function, name, note))


class _Named:
    """A function under a telling name."""

    def __init__(self, function: Function, name: str, note: Callable[[], Note]) -> None:
        self._function = function
        self._note = note
        self.__name__ = name

    def __dask_tokenize__(self) -> str:
        """Each bag is another one: under the keys of an earlier one, Dask would hand out how that one ended."""
        return uuid.uuid4().hex

    def __call__(self, task: Any) -> Any:
        return self._function(task, self._note())
