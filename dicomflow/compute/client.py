"""Map a function over tasks on a ``distributed`` cluster.

In: tasks.  Out: results as they complete.  Knows no DICOM, and neither how a cluster is started nor what is in flight when.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import dask

from dicomflow.compute.bag import make_bag
from dicomflow.compute.cluster import Function, Handlers, Killed, Note, Task
from dicomflow.compute.connect import Connection
from dicomflow.compute.scheduler import NO_CLUSTER
from dicomflow.compute.submit import run_tasks
from dicomflow.compute.watch import WorkerWatch
from dicomflow.config import ClusterConfig, ComputeConfig
from dicomflow.errors import ComputeError, OutOfMemory, first_line

if TYPE_CHECKING:
    from distributed import Client, Future

NOTE_TOPIC = "dicomflow-notes"


class ClientCluster:
    """A cluster behind a Dask client; leaving it closes what was started and nothing else."""

    def __init__(self, config: ComputeConfig, scheduler: str, cluster: ClusterConfig = NO_CLUSTER) -> None:
        self._connection = Connection(config, scheduler, cluster)

    def __enter__(self) -> Self:
        self._connection.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.__exit__(kind, error, traceback)

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, None where there is none."""
        return self._connection.dashboard

    def map(
        self, function: Function, tasks: Iterable[Task], *, name: str, on: Handlers[Task, Any], span: Sequence[str] = ()
    ) -> None:
        """See ``Cluster.map``."""
        client = self._connection.client
        transport = _BagTransport(client, function, name, _Spans(span))
        watch = transport.watch = WorkerWatch(
            client, self._connection.terms, transport.cancel, is_waiting=transport.has_tasks, tell=on.workers
        )

        def hear(said: dict[str, Any]) -> None:
            watch.note_progress()
            on.note(said)

        try:
            with _hear_notes(client, transport.topic, hear), watch:
                run_tasks(iter(tasks), transport, on)
        except (TimeoutError, CancelledError, OSError) as error:
            raise (watch.end or ComputeError(f"the Dask cluster was lost: {first_line(error)}")) from error
        finally:
            transport.cancel()


@contextlib.contextmanager
def _hear_notes(client: Client, topic: str, note: Note) -> Iterator[None]:
    """What workers say comes by way of the scheduler, on a thread of the client's."""
    client.subscribe_topic(topic, lambda event: note(event[1]))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, TimeoutError, ValueError, RuntimeError):
            client.unsubscribe_topic(topic)


def _make_note(topic: str) -> Note:
    """On a worker: say something to the driver."""
    from distributed import get_worker

    worker = get_worker()
    return lambda said: worker.log_event(topic, {**said, "worker": str(worker.name)})


class _BagTransport:
    """Tasks as partitions of Dask bags; see ``Transport``."""

    def __init__(self, client: Client, function: Function, name: str, spans: _Spans) -> None:
        from distributed import as_completed

        self._client = client
        self._function = function
        self._name = name
        self._spans = spans
        self._ended = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._futures: set[Future] = set()
        self.watch: WorkerWatch | None = None
        self.topic = f"{NOTE_TOPIC}-{uuid.uuid4().hex[:8]}"

    @property
    def threads(self) -> int:
        """Threads of all workers, as last seen."""
        return self.watch.threads if self.watch else 0

    def submit(self, tasks: Sequence[Any]) -> list[Future]:
        """One bag for the tasks of each span.

        Raises:
            ComputeError: the watch has given up, when no task was there to tell.
        """
        if self.watch and self.watch.end:
            raise self.watch.end
        futures: list[Any] = [None] * len(tasks)
        for span, places in _by_span(tasks):
            with self._spans.enter(span):
                note = partial(_make_note, self.topic)
                bag = make_bag(self._function, [tasks[place] for place in places], self._name, note)
                bag = self._client.persist(bag, optimize_graph=False)
            for future in _futures_of(bag):
                futures[places[future.key[1]]] = future  # a key is (name, number of the partition)
        self._futures.update(futures)
        self._ended.update(futures)
        return futures

    def take(self) -> list[tuple[Hashable, Any]]:
        """What has ended; Dask hands out a cancelled task as if that were its result."""
        ended = []
        for future, result in self._ended.next_batch():
            self._futures.discard(future)
            if self.watch:
                self.watch.note_progress()
            ended.append((future, _open_result(future, result)))
        return ended

    def has_ready(self) -> bool:
        """Whether something has ended."""
        return bool(self._ended.has_ready())

    def has_tasks(self) -> bool:
        """Whether any is with the scheduler."""
        return bool(self._futures)

    def cancel(self) -> None:
        """Have the scheduler forget the tasks, if it is still there to be told."""
        if self._futures and self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):
                self._client.cancel(list(self._futures))


def _futures_of(bag: Any) -> list[Future]:
    from distributed import futures_of

    return list(futures_of(bag))


def _open_result(future: Future, result: Any) -> Any:
    """What the one task of a partition gave, or how it was lost.

    Raises:
        Exception: what it raised.
    """
    from distributed import KilledWorker

    if isinstance(result, CancelledError):
        raise result
    if future.status != "error":
        return result[0]
    _, error, trace = result
    if isinstance(error, KilledWorker):
        return Killed(first_line(error))
    if isinstance(error, OutOfMemory):
        return error
    if _is_of_another_environment(error):
        raise ComputeError(
            f"the Dask cluster cannot take these tasks ({type(error).__name__}): install the version of dicomflow that runs "
            "here, with the same Python and Dask, where its scheduler and its workers run"
        ) from None
    raise error.with_traceback(trace)


def _is_of_another_environment(error: BaseException) -> bool:
    """Whether this is what comes of a task that cannot be unpickled there."""
    return isinstance(error, ImportError) or (
        isinstance(error, RuntimeError) and first_line(error).startswith("Error during deserialization")
    )


def _by_span(tasks: Sequence[Any]) -> list[tuple[str, list[int]]]:
    """Places of the tasks by the span that they belong to."""
    groups: dict[str, list[int]] = {}
    for place, task in enumerate(tasks):
        groups.setdefault(getattr(task, "span", ""), []).append(place)
    return list(groups.items())


class _Spans:
    """Spans for Fine Performance Metrics: each name is one span of the run, however often it is entered."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._known: dict[str, Any] = {}

    @contextlib.contextmanager
    def enter(self, name: str) -> Iterator[None]:
        tags = (*self._names, name) if name else self._names
        if not tags:
            yield
            return
        if name not in self._known:
            self._known[name] = self._make(tags)
        with dask.annotate(span=self._known[name]):
            yield

    def _make(self, tags: tuple[str, ...]) -> Any:
        """The annotation of a new span; ``distributed.span`` would make another one each time.  The levels above are shared."""
        from distributed import span

        if not self._names or tags == self._names:
            with span(*tags):
                return dask.get_annotations()["span"]
        if "" not in self._known:
            self._known[""] = self._make(self._names)
        with dask.annotate(span=self._known[""]), span(tags[-1]):
            return dask.get_annotations()["span"]
