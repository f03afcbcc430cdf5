"""The story: list, compare, read, publish, summarise.

In: SOURCEs, DEST, a Config.  Out: a dataset and a RunSummary.  Knows the order of the stages and nothing of their insides.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from dicomflow import __version__
from dicomflow.compute import choose_scheduler, count_workers, open_cluster, record_stages
from dicomflow.config import Config, load_config
from dicomflow.dataset.changes import Changes, Mode, below, compare
from dicomflow.dataset.commit import prepare_destination
from dicomflow.dataset.compact import compact_if_needed, compact_parts
from dicomflow.dataset.deduplicate import Verdicts
from dicomflow.dataset.known import check_replaced, check_sources, count_outcomes
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.partition import Partitioning
from dicomflow.dataset.snapshot import Snapshot, read_published
from dicomflow.dataset.transaction import Transaction, read_again
from dicomflow.errors import CommitFailed, CommitStateUnknown, DatasetError
from dicomflow.log import bind_run, get_logger
from dicomflow.model import SOURCE_FILE_SCHEMA, ScanResult, ScanTask
from dicomflow.plan import plan_tasks
from dicomflow.schema.arrow import FORMAT_VERSION, instances_schema
from dicomflow.schema.profile import Profile, load_profile
from dicomflow.sources import list_files
from dicomflow.summary import RunSummary, Totals
from dicomflow.uri import path_from_source
from dicomflow.worker import ScanJob, scan_task

Progress = Callable[[str, Totals], None]
"""Called with the stage and the totals so far, each time something is done."""

T = TypeVar("T")

_log = get_logger("pipeline")


def extract(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    dest: str | os.PathLike[str],
    *,
    config: Config | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    mode: Mode | str = Mode.INCREMENT,
    **options: object,
) -> RunSummary:
    """Read the header of every file below ``sources`` into a Parquet dataset at ``dest``.

    Into a dataset that is there already, only what is new, changed or failed earlier is read; rows of files that are gone
    leave it.  A run that was killed is taken up where it stopped.  Readers see the old version until the new one is whole.

    Args:
        sources: files and folders; every regular file counts, whatever its name.
        dest: folder of the dataset: new, empty, or a dicomflow dataset.
        config: a Config, or the path of a YAML file.
        progress: called from time to time with the stage's name and the totals so far.
        mode: ``increment``; ``full`` reads everything again; ``retry_failed`` reads earlier failed files and no others;
            ``add_columns`` reads files that have a row again, to give them other columns.
        options: settings by name as on the command line (``columns="minimal"``, ``scheduler="processes"``, ``workers=4``);
            all others with two underscores: ``header__prefix_bytes=65536``.

    Raises:
        SourceError: a source does not exist.
        DatasetError: ``dest`` cannot be written, is something else, or is being written by another run.
        ConfigError: a setting or column is wrong.
        ComputeError: the cluster cannot be reached or was lost.

    >>> import dicomflow
    >>> summary = dicomflow.extract("scans/", "headers/", columns="minimal")    # doctest: +SKIP
    >>> summary.rows                                                            # doctest: +SKIP
    10000
    """
    if not os.fspath(dest) or "://" in os.fspath(dest):
        raise DatasetError(f"{os.fspath(dest)!r}: DEST is a folder of this machine")
    layout, settings = Layout(Path(os.path.abspath(dest))), _as_config(config, options)
    return _Run(_as_list(sources), layout, settings, progress or _no_progress, Mode(mode)).run()


class _Run:
    """One run: what it works on, and the stages in their order."""

    def __init__(self, sources: list[str], layout: Layout, config: Config, progress: Progress, mode: Mode) -> None:
        self.sources = sources
        self.layout = layout
        self.config = config
        self.progress = progress
        self.mode = mode
        self.profile: Profile = load_profile(config.columns)
        self.schema = instances_schema(self.profile)
        if mode is not Mode.COLUMNS:  # which keeps what the dataset has
            Partitioning.of(config.dataset.partition_by, self.schema)
        self.began = datetime.now(UTC)
        self.started = int(self.began.timestamp() * 1_000_000)
        self.run_id = make_run_id(self.began)
        self.totals = Totals()
        self.fingerprint = ""
        self.parts: set[str] = set()
        self.tasks = 0
        self.scheduler = "threads"
        self.seconds: dict[str, float] = {}

    def run(self) -> RunSummary:
        bind_run(self.run_id, uuid.uuid4().hex)
        self._list_sources()  # a SOURCE that is not there is said before DEST is touched
        prepare_destination(self.layout)
        with write_lock(self.layout) as lock:
            transaction = Transaction(self.layout, self.schema, self.config.dataset, lock)
            transaction.check(self.mode, self.config.columns, self._paths())
            self.fingerprint = transaction.fingerprint
            if self.mode is Mode.COLUMNS and transaction.has_columns:
                self.mode = Mode.INCREMENT
            return self._run_stages(transaction)

    def _run_stages(self, transaction: Transaction) -> RunSummary:
        listed = self._timed("list", self._list_files)
        changes, to_read = self._timed("plan", partial(self._compare, transaction, listed))
        self._timed("scan", partial(self._read, to_read))
        changes, verdicts = self._settle(transaction, changes)
        self._timed("publish", partial(self._publish, transaction, changes, verdicts))
        summary = self._summarise(transaction)
        _log.info("run_done", files=summary.files, rows=summary.rows, seconds=summary.seconds)
        return summary

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        self.progress(stage, self.totals)
        try:
            return work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    # ---- what is to be read ----

    def _list_files(self) -> pa.Table:
        batches = []
        for batch in self._list_sources():
            batches.append(batch)
            self.totals.listed += batch.num_rows
            self.progress("list", self.totals)
        return pa.Table.from_batches(batches, SOURCE_FILE_SCHEMA)

    def _list_sources(self) -> Iterator[pa.RecordBatch]:
        return list_files(self.sources, config=self.config.sources, exclude=self.layout.root)

    def _compare(self, transaction: Transaction, listed: pa.Table) -> tuple[Changes, pa.Table]:
        """What changed, and what of it an interrupted run has not read yet."""
        known, paths = transaction.read_known(), self._paths()
        check_sources(known, listed, paths)
        changes = compare(listed, known, paths, self.mode, self.started)
        if not transaction.has_columns:
            check_replaced(known, changes, self.layout.root)
        transaction.staging.open(self._job())
        to_read = transaction.staging.adopt(changes.to_read, self.started)
        self.parts.update(f"files/{ledger.name}" for ledger in transaction.staging.ledgers())
        self._count(changes, to_read.num_rows)
        return changes, to_read

    def _count(self, changes: Changes, to_read: int) -> None:
        totals = self.totals
        totals.listed, totals.to_read = changes.listed, to_read
        totals.resumed = changes.to_read.num_rows - to_read
        totals.removed = changes.removed.num_rows
        totals.unchanged = changes.listed - changes.to_read.num_rows - changes.settled.num_rows

    def _paths(self) -> list[str]:
        return [path_from_source(source) for source in self.sources]

    def _job(self) -> str:
        """What tasks are asked for, and so what an interrupted run must have been asked for to be taken up."""
        header = self.config.header.model_dump(exclude={"batch_rows", "prefix_bytes"})
        kind = "full" if self.mode is Mode.FULL else "changed"
        return f"{self.fingerprint} {__version__} {kind} {sorted(header.items())}"

    # ---- reading ----

    def _read(self, files: pa.Table) -> None:
        """Read headers into staging."""
        if not files.num_rows:
            return
        self.scheduler = choose_scheduler(self.config.compute, files.num_rows)
        workers = count_workers(self.config.compute, self.scheduler)
        tasks = plan_tasks(files, config=self.config.plan, workers=workers, fingerprint=self.fingerprint + __version__)
        self.tasks += len(tasks)
        self._run_tasks(tasks)

    def _run_tasks(self, tasks: list[ScanTask]) -> None:
        job = ScanJob(
            run_id=self.run_id,
            started=self.started,
            staging=str(self.layout.staging),
            profile=self.profile,
            config=self.config,
        )
        with open_cluster(self.config.compute, self.scheduler) as cluster:
            self.totals.dashboard = cluster.dashboard
            self.progress("scan", self.totals)
            start = time.perf_counter()
            cluster.map(partial(_scan_and_record, job=job), tasks, name="scan_task", done=self._book)
            self.seconds["tasks"] = self.seconds.get("tasks", 0.0) + time.perf_counter() - start

    def _book(self, result: ScanResult) -> None:
        self.totals.add(result)
        self.parts.update(part.path for part in result.data_files)
        self.progress("scan", self.totals)

    # ---- publishing ----

    def _settle(self, transaction: Transaction, changes: Changes) -> tuple[Changes, Verdicts]:
        """One row per key; files whose row is needed now but was not kept are read, once."""
        expected = changes.to_read.num_rows
        while True:
            self._timed("publish", partial(self._check_staged, transaction, expected))
            verdicts = self._timed("publish", partial(transaction.settle, changes))
            if not verdicts.unread.num_rows:
                return changes, verdicts
            expected += verdicts.unread.num_rows
            changes = read_again(changes, verdicts.unread)
            self.totals.to_read += verdicts.unread.num_rows
            self.totals.unchanged -= int(below(verdicts.unread["uri"], self._paths()).sum())
            self._timed("scan", partial(self._read, _as_source_files(verdicts.unread)))

    def _check_staged(self, transaction: Transaction, expected: int) -> None:
        """Every part that a worker reported is there; parts of attempts that were given up go."""
        staging = self.layout.staging
        missing = [part for part in sorted(self.parts) if not (staging / part).is_file()]
        if missing:
            raise CommitFailed(
                f"{staging / missing[0]}: a worker wrote it, but it is not here; workers and this process must see DEST "
                "under the same name; nothing was published"
            )
        done = [ledger for ledger in transaction.staging.ledgers() if f"files/{ledger.name}" in self.parts]
        transaction.staging.keep_only(done)
        transaction.check_staged(expected)

    def _publish(self, transaction: Transaction, changes: Changes, verdicts: Verdicts) -> None:
        record = self._run_record()
        if transaction.is_needed(changes, verdicts):
            transaction.commit(changes, verdicts, self._paths(), record, self.started)
            self._compact(transaction, {**record, "run_id": f"{self.run_id}-compact"})
        else:
            transaction.record(record)
        self.totals.counts = count_outcomes(transaction.old_parts("files"), self._scope(transaction))

    def _compact(self, transaction: Transaction, record: dict[str, Any]) -> None:
        """What the run found is published already: that small parts stay small is worth a warning, no more."""
        try:
            compact_if_needed(transaction, record)
        except CommitStateUnknown:
            raise
        except DatasetError as error:
            _log.warning("compaction_failed", reason=str(error))

    def _scope(self, transaction: Transaction) -> list[str] | None:
        """The SOURCEs, where the dataset has others, too."""
        paths = self._paths()
        return paths if transaction.before and set(transaction.before.sources) - set(paths) else None

    def _run_record(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "started": self.began.isoformat(),
            "mode": str(self.mode),
            "sources": self._paths(),
            "dicomflow": __version__,
            "listed": self.totals.listed,
            "read": self.totals.done,
            "unchanged": self.totals.unchanged,
            "resumed": self.totals.resumed,
            "removed": self.totals.removed,
            "seconds": round(sum(self.seconds.values()) - self.seconds.get("tasks", 0.0), 3),
        }

    def _summarise(self, transaction: Transaction) -> RunSummary:
        return RunSummary.from_totals(
            self.totals,
            run_id=self.run_id,
            dest=str(self.layout.root),
            version=transaction.version,
            profile=self.profile.name,
            scheduler=self.scheduler,
            dashboard=self.totals.dashboard,
            tasks=self.tasks,
            stages=self.seconds,
        )


def _as_source_files(files: pa.Table) -> pa.Table:
    """Rows of the ledger as listing would give them."""
    columns = {field.name: pa.nulls(files.num_rows, field.type) for field in SOURCE_FILE_SCHEMA}
    columns |= {name: files[name] for name in ("uri", "member", "size", "mtime", "etag", "first_seen")}
    return pa.table(columns)


def _scan_and_record(task: ScanTask, job: ScanJob) -> ScanResult:
    """Runs on the worker: the task, and its stages for the dashboard."""
    result = scan_task(task, job)
    record_stages(result.seconds)
    return result


def _as_list(sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    if isinstance(sources, (str, os.PathLike)):
        return [os.fspath(sources)]
    return [os.fspath(source) for source in sources]


def add_columns(
    dest: str | os.PathLike[str],
    columns: str,
    *,
    config: Config | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: object,
) -> RunSummary:
    """Give a dataset other columns: read again the files that have a row, and what changed since, and nothing else.

    Args:
        dest: a dataset.
        columns: ``minimal``, ``standard`` or a YAML file.
        config: as for ``extract``, like the errors.
        progress: as for ``extract``.
        options: as for ``extract``.

    >>> import dicomflow
    >>> dicomflow.add_columns("headers/", "wide.yaml").rows    # doctest: +SKIP
    10000
    """
    snapshot, _ = read_published(Layout(Path(os.path.abspath(dest))), FORMAT_VERSION)
    given: dict[str, Any] = {"config": config, "progress": progress, "columns": columns, **options}
    return extract(snapshot.sources, dest, mode=Mode.COLUMNS, **given)


def compact(
    dest: str | os.PathLike[str], *, config: Config | None = None, progress: Progress | None = None
) -> Snapshot:
    """Merge the small parts of a dataset into large ones; the snapshot that is published then.

    Raises:
        DatasetError: there is no dataset, it is being written, or cannot be written.
    """
    layout = Layout(Path(os.path.abspath(dest)))
    before, _ = read_published(layout, FORMAT_VERSION)
    began = datetime.now(UTC)
    run = {
        "run_id": make_run_id(began),
        "started": began.isoformat(),
        "sources": before.sources,
        "dicomflow": __version__,
    }
    bind_run(str(run["run_id"]), uuid.uuid4().hex)
    totals = Totals()
    with write_lock(layout) as lock:
        transaction = Transaction.of_dataset(layout, (config or Config()).dataset, lock)
        compact_parts(transaction, run, lambda table, rows: (progress or _no_progress)(f"compact {table}", totals))
        assert transaction.before is not None
        return transaction.before


def make_run_id(began: datetime) -> str:
    """Time and chance: sorts by time, and is nobody else's."""
    return f"{began:%Y%m%dT%H%M%S}.{began.microsecond // 1000:03}Z-{uuid.uuid4().hex[:8]}"


_OPTIONS = {name: f"compute.{name}" for name in ("scheduler", "workers", "performance_report")}
"""Options that the command line has under a shorter name, for Python too."""


def _as_config(config: Config | str | os.PathLike[str] | None, options: Mapping[str, object]) -> Config:
    overrides = {_OPTIONS.get(name, name.replace("__", ".")): value for name, value in options.items()}
    if isinstance(config, Config):
        return load_config(None, {**config.model_dump(), **overrides}) if overrides else config
    return load_config(Path(config) if config is not None else None, overrides)


def _no_progress(stage: str, totals: Totals) -> None:
    """The default: nobody watches."""
