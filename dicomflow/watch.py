"""Those who watch a run: displays of its progress, metrics, a function of the user's.

In: what happens in a run, as it happens.  Out: calls to whoever watches.  Knows no rendering, no Dask and no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomflow.model import BatchDone, ScanResult
from dicomflow.summary import Totals

Progress = Callable[[str, Totals], None]
"""Called with the stage and the totals so far, each time something is done."""


class Watcher:
    """Is told how a run goes; each method is called often and must be quick.  A subclass overrides what it wants to hear.

    ``on_batch`` may come from another thread than the rest, and so at the same time.
    """

    def on_begin(self, run_id: str) -> None:
        """A run begins."""

    def __call__(self, stage: str, totals: Totals) -> None:
        """The run is in this stage, with these totals: they change while the run goes on."""

    def on_batch(self, batch: BatchDone) -> None:
        """A worker has read some more files of a task."""

    def on_result(self, result: ScanResult) -> None:
        """A task is done: ``result`` holds what its batches told before, all of it."""

    def on_task_lost(self, task_id: str) -> None:
        """A task will be read again from its beginning, or split: what its batches told does not count."""

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        """The run is over; ``error`` ended it, if there is one."""


class Watchers(Watcher):
    """Several, told one after the other."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def on_begin(self, run_id: str) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.on_begin(run_id)

    def __call__(self, stage: str, totals: Totals) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher(stage, totals)

    def on_batch(self, batch: BatchDone) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.on_batch(batch)

    def on_result(self, result: ScanResult) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.on_result(result)

    def on_task_lost(self, task_id: str) -> None:
        """See ``Watcher``."""
        for watcher in self._watchers:
            watcher.on_task_lost(task_id)

    def on_end(self, error: BaseException | None, totals: Totals) -> None:
        """See ``Watcher``; each is told, even if one before it fails."""
        faults: list[Exception] = []
        for watcher in self._watchers:
            try:
                watcher.on_end(error, totals)
            except Exception as fault:  # noqa: BLE001  raised below
                faults.append(fault)
        if faults and error is None:
            raise faults[0]


class _Called(Watcher):
    """A function of the user's, which hears of stages and totals."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, stage: str, totals: Totals) -> None:
        """See ``Watcher``."""
        self._progress(stage, totals)


def as_watcher(progress: Progress | None) -> Watcher:
    """Whatever ``progress=`` was given: a Watcher, a function, or nothing.

    >>> seen = []
    >>> as_watcher(lambda stage, totals: seen.append(stage))("scan", Totals())
    >>> seen
    ['scan']
    """
    if progress is None:
        return Watcher()
    return progress if isinstance(progress, Watcher) else _Called(progress)


class InFlight:
    """What batches told of tasks that are not done: forgotten when the task's result comes, which holds it all.

    Not locked: whoever uses it is.

    Attributes:
        sum: all of it together.
    """

    def __len__(self) -> int:
        """Tasks that something was told of."""
        return len(self._tasks)

    def __init__(self) -> None:
        self._tasks: dict[str, BatchDone] = {}
        self.sum = _NOTHING

    def add(self, batch: BatchDone) -> None:
        """Add to the batches of the same task and worker; another worker has begun the task anew."""
        before = self._tasks.get(batch.task_id, _NOTHING)
        if before.worker != batch.worker:
            self.drop(batch.task_id)
            before = _NOTHING
        self._tasks[batch.task_id] = _combine(before, batch, 1)
        self.sum = _combine(self.sum, batch, 1)

    def drop(self, task_id: str) -> BatchDone:
        """Forget a task; what was known of it."""
        dropped = self._tasks.pop(task_id, _NOTHING)
        self.sum = _combine(self.sum, dropped, -1)
        return dropped


_NOTHING = BatchDone(task_id="", files=0)


def _combine(a: BatchDone, b: BatchDone, sign: int) -> BatchDone:
    return BatchDone(
        task_id=b.task_id,
        files=a.files + sign * b.files,
        failed=a.failed + sign * b.failed,
        header_bytes=a.header_bytes + sign * b.header_bytes,
        file_bytes=a.file_bytes + sign * b.file_bytes,
        retries=a.retries + sign * b.retries,
        worker=b.worker,
    )
