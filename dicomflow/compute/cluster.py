"""What a cluster is to the rest of the house, and which one a run gets.

In: ``ComputeConfig``.  Out: something that maps a function over tasks, and says what becomes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from dicomflow.compute.scheduler import NO_CLUSTER
from dicomflow.config import ClusterConfig, ComputeConfig
from dicomflow.errors import ComputeError, OutOfMemory, describe

Task = TypeVar("Task")
Result = TypeVar("Result")

Note = Callable[[dict[str, Any]], None]
"""Takes what a task says while it runs: plain values only, for they travel as msgpack."""


class Killed(Exception):
    """The workers that ran a task died, as often as the cluster allows; the text says what the cluster says."""


Loss: TypeAlias = Killed | OutOfMemory
"""How a task ends that says nothing of what it was to do: it is divided."""

Function = Callable[[Any, Note], Any]
"""What is mapped: (task, note) -> result; runs on the worker and can be pickled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCounts:
    """Workers of a cluster at one moment.

    Attributes:
        running: take tasks.
        paused: take none before they have memory again.
    """

    running: int = 0
    paused: int = 0

    @property
    def all_paused(self) -> bool:
        """Whether there are some, and none of them takes a task."""
        return bool(self.paused) and not self.running


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers(Generic[Task, Result]):
    """What the driver does with what comes back; called in the driver.

    Attributes:
        done: the result of a task is there.
        split: the task was lost, each time (its workers died, or it got no memory): what to run in its place; itself where it
            cannot be split.
        give_up: the task was lost alone, with nothing else in flight; and how.
        note: a worker says something of a task under way.
        flow: how many tasks are in flight, each time that this changes.
        workers: how many workers there are, about once per second; where they are not threads of this process.

    ``note`` and ``workers`` may come from other threads than the rest.
    """

    done: Callable[[Result], None]
    split: Callable[[Task], Sequence[Task]] | None = None
    give_up: Callable[[Task, Loss], None] | None = None
    note: Note = field(default=lambda _: None)
    flow: Callable[[int], None] = field(default=lambda _: None)
    workers: Callable[[WorkerCounts], None] = field(default=lambda _: None)


class Cluster(Protocol):
    """Something that maps a function over tasks as a Dask bag; more than once, if it is asked again."""

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, None where there is none."""

    def map(
        self, function: Function, tasks: Iterable[Task], *, name: str, on: Handlers[Task, Any], span: Sequence[str] = ()
    ) -> None:
        """Map over the tasks, of which no more than a bounded number is in flight: the others are not even drawn.

        Args:
            function: runs on the workers.
            tasks: drawn when there is room; a generator that lists and plans is drawn as the workers go.
            name: what the dashboard calls the tasks.
            on: what is done with results, in no particular order.
            span: names of the span that tasks belong to; a task's own ``span`` attribute is one level more.

        Raises:
            ComputeError: the cluster was lost.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def check_report(path: Path | None, scheduler: str) -> None:
    """Find out before the run, not after it.

    Raises:
        ComputeError: the performance report that is asked for cannot be written.
    """
    if path is None:
        return
    if scheduler == "threads":
        raise ComputeError("the threads scheduler has no performance report; take in-process, processes or an address")
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise ComputeError(f"{path}: the performance report cannot be written: {describe(error)}") from None


def open_cluster(config: ComputeConfig, scheduler: str, cluster: ClusterConfig = NO_CLUSTER) -> Cluster:
    """The cluster that a scheduler's name (see ``choose_scheduler``) stands for; a context manager.

    Raises:
        ComputeError: it cannot write the performance report that is asked for; on entering, if it cannot be reached or
            started.
    """
    from dicomflow.compute.client import ClientCluster
    from dicomflow.compute.threads import ThreadsCluster

    check_report(config.performance_report, scheduler)
    return ThreadsCluster(config) if scheduler == "threads" else ClientCluster(config, scheduler, cluster)
