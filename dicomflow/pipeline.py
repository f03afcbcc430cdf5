"""The story: list, plan, run, publish, summarise.

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
from typing import TypeVar

import pyarrow as pa

from dicomflow import __version__
from dicomflow.compute import choose_scheduler, count_workers, open_cluster, record_stages
from dicomflow.config import Config, load_config
from dicomflow.dataset.commit import (
    discard_staging,
    prepare_destination,
    publish,
    read_description,
    redo,
    write_lock,
)
from dicomflow.dataset.deduplicate import Parts, count_outcomes, count_rows, deduplicate
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.ledger import settled_rows
from dicomflow.dataset.writer import write_data_file
from dicomflow.errors import CommitFailed, DatasetError
from dicomflow.log import bind_run, get_logger
from dicomflow.model import SOURCE_FILE_SCHEMA, ScanResult, ScanTask
from dicomflow.plan import plan_tasks, split_settled
from dicomflow.schema.arrow import FORMAT_VERSION, files_schema, instances_schema, schema_fingerprint
from dicomflow.schema.profile import Profile, load_profile
from dicomflow.sources import list_files
from dicomflow.sources.uri import path_from_source
from dicomflow.summary import RunSummary, Totals
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
    **options: object,
) -> RunSummary:
    """Read the header of every file below ``sources`` into a Parquet dataset at ``dest``.

    A dataset that is there already is replaced by the new one when all is read, not before; until then readers see the old.

    Args:
        sources: files and folders; every regular file counts, whatever its name.
        dest: folder of the dataset: new, empty, or a dicomflow dataset of the same sources.
        config: a Config, or the path of a YAML file.
        progress: called from time to time with the stage's name and the totals so far.
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
    run = _Run(
        _as_list(sources), Layout(Path(os.path.abspath(dest))), _as_config(config, options), progress or _no_progress
    )
    return run.run()


class _Run:
    """One run: what it works on, and the stages in their order."""

    def __init__(self, sources: list[str], layout: Layout, config: Config, progress: Progress) -> None:
        self.sources = sources
        self.layout = layout
        self.config = config
        self.progress = progress
        self.profile: Profile = load_profile(config.columns)
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
        self.totals = Totals()
        self.parts: set[str] = set()
        self.seconds: dict[str, float] = {}

    def run(self) -> RunSummary:
        bind_run(self.run_id, uuid.uuid4().hex)
        self._list_sources()  # a SOURCE that is not there is said before DEST is touched
        prepare_destination(self.layout)
        with write_lock(self.layout):
            if redo(self.layout):
                _log.warning("publish_completed", dest=str(self.layout.root))
            self._check_dataset()
            discard_staging(self.layout)
            try:
                return self._run_stages()
            finally:
                discard_staging(self.layout)

    def _run_stages(self) -> RunSummary:
        files = self._timed("list", self._list_files)
        scheduler = choose_scheduler(self.config.compute, files.num_rows)
        tasks = self._timed("plan", partial(self._plan, files, count_workers(self.config.compute, scheduler)))
        dashboard = self._timed("scan", partial(self._scan, tasks, scheduler))
        self._drop_strays()
        self._write_settled(files)
        self._timed("publish", self._publish)
        summary = self._summarise(scheduler, dashboard, len(tasks))
        _log.info("run_done", files=summary.files, rows=summary.rows, seconds=summary.seconds)
        return summary

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        self.progress(stage, self.totals)
        try:
            return work()
        finally:
            self.seconds[stage] = time.perf_counter() - start

    def _list_files(self) -> pa.Table:
        batches = []
        for batch in self._list_sources():
            batches.append(batch)
            self.totals.listed += batch.num_rows
            self.progress("list", self.totals)
        return pa.Table.from_batches(batches, SOURCE_FILE_SCHEMA)

    def _list_sources(self) -> Iterator[pa.RecordBatch]:
        return list_files(self.sources, config=self.config.sources, exclude=self.layout.root)

    def _plan(self, files: pa.Table, workers: int) -> list[ScanTask]:
        fingerprint = schema_fingerprint(instances_schema(self.profile)) + __version__
        return plan_tasks(files, config=self.config.plan, workers=workers, fingerprint=fingerprint)

    def _scan(self, tasks: list[ScanTask], scheduler: str) -> str | None:
        job = ScanJob(
            run_id=self.run_id,
            started=int(self.started.timestamp() * 1_000_000),
            staging=str(self.layout.staging(self.run_id)),
            profile=self.profile,
            config=self.config,
        )
        if not tasks:
            return None
        with open_cluster(self.config.compute, scheduler) as cluster:
            self.totals.dashboard = cluster.dashboard
            self.progress("scan", self.totals)
            start = time.perf_counter()
            cluster.map(partial(_scan_and_record, job=job), tasks, name="scan_task", done=self._book)
            self.seconds["tasks"] = time.perf_counter() - start
            return cluster.dashboard

    def _book(self, result: ScanResult) -> None:
        self.totals.add(result)
        self.parts.update(part.path for part in result.data_files)
        self.progress("scan", self.totals)

    def _drop_strays(self) -> None:
        """A task that was run again, because its worker was lost, may have left parts that its result does not name."""
        staging = self.layout.staging(self.run_id)
        for part in staging.glob("*/*.parquet"):
            if f"{part.parent.name}/{part.name}" not in self.parts:
                part.unlink()

    def _write_settled(self, files: pa.Table) -> None:
        """Ledger rows of what listing could already settle."""
        _, settled = split_settled(files)
        if settled.num_rows:
            seen = int(self.started.timestamp() * 1_000_000)
            rows = settled_rows(settled, self.run_id, seen)
            staging = self.layout.staging(self.run_id)
            write_data_file(rows, files_schema(self.profile), "files", staging, "listed.parquet", self.config.dataset)

    def _publish(self) -> None:
        staging = self.layout.staging(self.run_id)
        staging.mkdir(parents=True, exist_ok=True)
        schema, ledger = instances_schema(self.profile), files_schema(self.profile)
        self._write_empty_part("instances", schema, staging)
        self._write_empty_part("files", ledger, staging)
        self._check_complete(staging)
        deduplicate(Parts(staging, schema, ledger, self.config.dataset))
        self.totals.counts = count_outcomes(staged_parts(staging, "files"))
        self._write_empty_part("conflicts", schema, staging)
        self._check_not_emptied(staging)
        publish(self.layout, self.run_id, self._description(schema), self._run_record())

    def _check_complete(self, staging: Path) -> None:
        """Nothing is published unless every part that a worker reported is there and every input has its ledger row."""
        missing = [part for part in sorted(self.parts) if not (staging / part).is_file()]
        if missing:
            raise CommitFailed(
                f"{staging / missing[0]}: a worker wrote it, but it is not here; workers and this process must see DEST "
                "under the same name; nothing was published"
            )
        rows = count_rows(staged_parts(staging, "files"))
        if rows != self.totals.listed:
            raise CommitFailed(
                f"{self.totals.listed} files were listed, but the ledger has {rows}; nothing was published"
            )

    def _check_not_emptied(self, staging: Path) -> None:
        """A mount that went away leaves an empty folder; that is no reason to drop what was read from it."""
        old, new = (count_rows(parts) for parts in (self.layout.parts("instances"), staged_parts(staging, "instances")))
        if old and not new:
            raise DatasetError(
                f"{self.layout.root}: this run found no instance at all, but the dataset has {old:,}; is a source not "
                "mounted?  To start afresh, extract into a new folder"
            )

    def _write_empty_part(self, name: str, schema: pa.Schema, staging: Path) -> None:
        """A table without rows has one part, so that every reader finds it and its schema."""
        if not staged_parts(staging, name):
            write_data_file(schema.empty_table(), schema, name, staging, "empty.parquet", self.config.dataset)

    def _description(self, schema: pa.Schema) -> dict[str, object]:
        return {
            "format": FORMAT_VERSION,
            "profile": self.profile.name,
            "schema": schema_fingerprint(schema),
            "sources": [path_from_source(source) for source in self.sources],
            "dicomflow": __version__,
            "last_run": self.run_id,
        }

    def _run_record(self) -> dict[str, object]:
        return {
            "run_id": self.run_id,
            "started": self.started.isoformat(),
            "sources": [path_from_source(source) for source in self.sources],
            "outcomes": [[status, code, count] for (status, code), count in self.totals.counts.items()],
        }

    def _check_dataset(self) -> None:
        """A run replaces what is there, so it must cover it."""
        found = read_description(self.layout)
        if found is None:
            return
        if found.get("format") != FORMAT_VERSION:
            raise DatasetError(
                f"{self.layout.root}: has format {found.get('format')!r}, this version writes {FORMAT_VERSION!r}; "
                "extract into a new folder"
            )
        mine = [path_from_source(source) for source in self.sources]
        lost = [old for old in found.get("sources", []) if not any(_covers(new, str(old)) for new in mine)]
        if lost:
            raise DatasetError(
                f"{self.layout.root}: also holds {lost[0]}, which this run would drop; name all sources, or another DEST"
            )

    def _summarise(self, scheduler: str, dashboard: str | None, tasks: int) -> RunSummary:
        return RunSummary.from_totals(
            self.totals,
            run_id=self.run_id,
            dest=str(self.layout.root),
            profile=self.profile.name,
            scheduler=scheduler,
            dashboard=dashboard,
            tasks=tasks,
            stages=self.seconds,
        )


def staged_parts(staging: Path, table: str) -> list[Path]:
    """The parts of a table that the tasks of a run have written."""
    return sorted((staging / table).glob("*.parquet"))


def _scan_and_record(task: ScanTask, job: ScanJob) -> ScanResult:
    """Runs on the worker: the task, and its stages for the dashboard."""
    result = scan_task(task, job)
    record_stages(result.seconds)
    return result


def _covers(new: str, old: str) -> bool:
    return old == new or old.startswith(new.rstrip("/") + "/")


def _as_list(sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    if isinstance(sources, (str, os.PathLike)):
        return [os.fspath(sources)]
    return [os.fspath(source) for source in sources]


_OPTIONS = {name: f"compute.{name}" for name in ("scheduler", "workers", "performance_report")}
"""Options that the command line has under a shorter name, for Python too."""


def _as_config(config: Config | str | os.PathLike[str] | None, options: Mapping[str, object]) -> Config:
    overrides = {_OPTIONS.get(name, name.replace("__", ".")): value for name, value in options.items()}
    if isinstance(config, Config):
        return load_config(None, {**config.model_dump(), **overrides}) if overrides else config
    return load_config(Path(config) if config is not None else None, overrides)


def _no_progress(stage: str, totals: Totals) -> None:
    """The default: nobody watches."""
