"""Map a function over tasks on a ``distributed`` cluster: a bounded number in flight, whatever fails.

In: tasks, drawn one by one as there is room.  Out: results as they complete.  Knows no DICOM, and not how a cluster is started.

A task whose workers die is split, and its pieces again, until one task stands alone: that one is tried once more with nothing
else in flight, so that no neighbour is blamed for what another one did.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import dask

from dicomflow.compute.bag import make_bag
from dicomflow.compute.cluster import MIN_IN_FLIGHT, TASKS_AHEAD, Function, Handlers, Note, Task
from dicomflow.compute.connect import Connection, first_line
from dicomflow.compute.watch import WorkerWatch
from dicomflow.config import ComputeConfig
from dicomflow.errors import ComputeError
from dicomflow.log import get_logger

if TYPE_CHECKING:
    from distributed import Client, Future

_log = get_logger("compute")

NOTE_TOPIC = "dicomflow-notes"


class ClientCluster:
    """A cluster behind a Dask client; leaving it closes what was started and nothing else."""

    def __init__(self, config: ComputeConfig, scheduler: str) -> None:
        self._config = config
        self._connection = Connection(config, scheduler)

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
        loop = _Loop(client, function, name, on, span)
        try:
            with (
                _hear_notes(client, loop.topic, on.note),
                WorkerWatch(client, self._config.no_worker_seconds, loop.cancel) as watch,
            ):
                loop.run(iter(tasks), watch)
        except (TimeoutError, CancelledError, OSError) as error:
            raise ComputeError(f"the Dask cluster was lost: {first_line(error)}") from error
        finally:
            loop.cancel()


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


class _Loop:
    """Submit as there is room, book what completes."""

    def __init__(
        self, client: Client, function: Function, name: str, on: Handlers[Any, Any], span: Sequence[str]
    ) -> None:
        self._client = client
        self._function = function
        self._name = name
        self._on = on
        self._spans = _Spans(span)
        self.topic = f"{NOTE_TOPIC}-{uuid.uuid4().hex[:8]}"
        self._in_flight: dict[Future, Any] = {}
        self._pieces: deque[Any] = deque()  # of tasks that were split: before all others
        self._suspects: deque[Any] = deque()  # cannot be split further: after all others, one at a time

    def run(self, tasks: Iterator[Any], watch: WorkerWatch) -> None:
        """Until all tasks, and what became of them, are done."""
        from distributed import as_completed

        done = as_completed(loop=self._client.loop, with_results=True, raise_errors=False)
        while (drawn := self._refill(tasks, done, watch.threads)) or self._in_flight:
            if drawn and not done.has_ready():
                continue  # there may be room for more
            for future, result in done.next_batch():
                task = self._in_flight.pop(future)
                self._settle(future, task, result)
            self._on.flow(len(self._in_flight))
        while self._suspects:
            self._run_alone(self._suspects.popleft(), done)

    def _refill(self, tasks: Iterator[Any], done: Any, threads: int) -> bool:
        """Draw tasks while there is room; first one for each thread, so that none waits until the others are planned."""
        limit, in_flight = max(MIN_IN_FLIGHT, threads * TASKS_AHEAD), len(self._in_flight)
        if in_flight > limit // 2:  # several at once cost the scheduler less
            return False
        room = (threads if in_flight < threads else limit) - in_flight
        drawn: list[Any] = []
        while len(drawn) < room and (not drawn or not done.has_ready()):
            task = self._pieces.popleft() if self._pieces else next(tasks, None)
            if task is None:
                break
            drawn.append(task)
        if drawn:
            self._submit(drawn, done)
        return bool(drawn)

    def _submit(self, tasks: Sequence[Any], done: Any) -> None:
        from distributed import futures_of

        for span, group in _by_span(tasks):
            with self._spans.enter(span):
                bag = make_bag(self._function, group, self._name, partial(_make_note, self.topic))
                bag = self._client.persist(bag, optimize_graph=False)
            futures = {future.key[1]: future for future in futures_of(bag)}
            for number, task in enumerate(group):
                self._in_flight[futures[number]] = task
                done.add(futures[number])
        self._on.flow(len(self._in_flight))

    def _settle(self, future: Future, task: Any, result: Any) -> None:
        from distributed import KilledWorker

        if isinstance(result, CancelledError):  # Dask hands it out as if it were the result
            raise result
        if future.status != "error":
            self._on.done(result[0])  # a partition of one
            return
        error = result[1]
        if not isinstance(error, KilledWorker) or self._on.split is None:
            raise _as_compute_error(error) if isinstance(error, KilledWorker) else error.with_traceback(result[2])
        pieces = self._on.split(task)
        _log.warning("task_killed_workers", pieces=len(pieces))
        (self._pieces if len(pieces) > 1 else self._suspects).extend(pieces)

    def _run_alone(self, task: Any, done: Any) -> None:
        """One task and nothing else: if a worker dies now, it is this one's doing."""
        from distributed import KilledWorker

        self._submit([task], done)
        future, result = next(done)
        del self._in_flight[future]
        if future.status == "error" and isinstance(result[1], KilledWorker) and self._on.give_up is not None:
            self._on.give_up(task)
        else:
            self._settle(future, task, result)
        self._on.flow(0)

    def cancel(self) -> None:
        """Have the scheduler forget the tasks, if it is still there to be told."""
        if self._in_flight and self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):
                self._client.cancel(list(self._in_flight))


def _as_compute_error(error: BaseException) -> ComputeError:
    return ComputeError(f"workers died again and again, of too little memory? {first_line(error)}")


def _by_span(tasks: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Tasks by the span that they belong to."""
    groups: dict[str, list[Any]] = {}
    for task in tasks:
        groups.setdefault(getattr(task, "span", ""), []).append(task)
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
