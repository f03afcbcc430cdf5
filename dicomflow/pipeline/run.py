"""The story: list, compare, read, publish, summarise.

In: SOURCEs, DEST, a Config.  Out: a dataset and a RunSummary.  Knows the order of the stages and nothing of their insides.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from dicomflow import __version__
from dicomflow.config import Config
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.commit import discard, prepare_destination
from dicomflow.dataset.compact import compact_if_needed
from dicomflow.dataset.deduplicate import Verdicts
from dicomflow.dataset.kept import read_profile
from dicomflow.dataset.known import count_outcomes
from dicomflow.dataset.layout import Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.partition import Partitioning
from dicomflow.dataset.snapshot import read_snapshot
from dicomflow.dataset.survey import Request, Survey
from dicomflow.dataset.transaction import Transaction, complete
from dicomflow.errors import CommitFailed, CommitStateUnknown, DatasetError
from dicomflow.log import bind_run, get_logger
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.pipeline.reading import About, Books, Reading
from dicomflow.pipeline.stages import Stages
from dicomflow.schema.arrow import instances_schema
from dicomflow.schema.profile import Profile, load_profile
from dicomflow.schema.version import FORMAT_VERSION
from dicomflow.sources import list_files
from dicomflow.summary import RunSummary, Totals
from dicomflow.uri import path_from_source
from dicomflow.watch import Watcher
from dicomflow.worker import ScanJob

_log = get_logger("pipeline")


class Run:
    """One run: what it works on, and the stages in their order."""

    def __init__(self, sources: list[str], layout: Layout, config: Config, watcher: Watcher, mode: Mode) -> None:
        self.sources = sources
        self.layout = layout
        self.config = config
        self.mode = mode
        self.profile: Profile = load_profile(config.columns)
        self.schema = instances_schema(self.profile)
        if "columns" in config.model_fields_set or not layout.is_dataset():  # else they are the dataset's
            Partitioning.of(config.dataset.partition_by, self.schema)
        self.began = datetime.now(UTC)
        self.started = int(self.began.timestamp() * 1_000_000)
        self.run_id = make_run_id(self.began)
        self.totals = Totals()
        self.stages = Stages()
        self._watcher = watcher
        self._stage = "list"

    def run(self) -> RunSummary:
        """All stages.

        Raises:
            DicomflowError: see ``extract``.
        """
        bind_run(self.run_id, uuid.uuid4().hex)
        self._watcher.on_begin(self.run_id)
        try:
            summary = self._run()
        except BaseException as error:
            self._watcher.on_end(error, self.totals)
            raise
        self._watcher.on_end(None, self.totals)
        return summary

    def _run(self) -> RunSummary:
        list_files(
            self.sources, config=self.config.sources
        )  # a SOURCE that is not there is said before DEST is touched
        prepare_destination(self.layout)
        with write_lock(self.layout) as lock:
            self._keep_columns()
            transaction = Transaction(self.layout, self.schema, self.config.dataset, lock)
            transaction.check(self.mode, self.config.columns, self._paths())
            if self.mode is Mode.COLUMNS and transaction.has_columns:
                self.mode = Mode.INCREMENT
            try:
                return self._run_stages(transaction)
            finally:
                discard(self.layout.spill)

    def _keep_columns(self) -> None:
        """Columns that nobody named are those of the dataset."""
        if "columns" in self.config.model_fields_set:
            return
        complete(self.layout)
        if (snapshot := read_snapshot(self.layout, FORMAT_VERSION)) is not None:
            self.profile = read_profile(self.layout, snapshot)
            self.schema = instances_schema(self.profile)

    def _run_stages(self, transaction: Transaction) -> RunSummary:
        survey = self._survey(transaction)
        with self._prepare_reading(transaction) as reading:
            self._read(survey, reading)
            with self.stages.of("publish"):
                self._enter("publish")
                verdicts = self._settle(transaction, survey, reading)
                reading.close()
                self._publish(transaction, survey, verdicts)
        summary = self._summarise(transaction, reading)
        _log.info("run_done", files=summary.files, rows=summary.rows, seconds=summary.seconds)
        return summary

    def _enter(self, stage: str) -> None:
        self._stage = stage
        self._report()

    def _report(self) -> None:
        self._watcher(self._stage, self.totals)

    # ---- what is to be read ----

    def _survey(self, transaction: Transaction) -> Survey:
        request = Request(
            paths=self._paths(), mode=self.mode, job=self._describe_job(transaction), started=self.started
        )
        return Survey(transaction, request)

    def _describe_job(self, transaction: Transaction) -> str:
        """What tasks are asked for, and so what an interrupted run must have been asked for to be taken up."""
        header = self.config.header.model_dump(exclude={"batch_rows", "prefix_bytes"})
        kind = "full" if self.mode is Mode.FULL else "changed"
        return f"{transaction.fingerprint} {__version__} {kind} {sorted(header.items())}"

    def _paths(self) -> list[str]:
        return [path_from_source(source) for source in self.sources]

    def _list(self) -> Iterator[pa.RecordBatch]:
        """The listing, drawn as there is room for more."""
        self.totals.is_listing = True
        listing = list_files(self.sources, config=self.config.sources, exclude=self.layout.root)
        for batch in self.stages.drawn("list", listing):
            self.totals.listed += batch.num_rows
            self._report()
            yield batch
        self.totals.is_listing = False
        if self._stage == "list":  # else, reading goes on
            self._enter("plan")

    def _find(self, survey: Survey) -> Iterator[pa.Table]:
        """Files to be read, and the totals that go with them; from the first on, the run is reading."""
        for files in self.stages.drawn("plan", survey.files(self._list())):
            self._count(survey)
            self._enter("scan")
            yield files
        self._count(survey)

    def _count(self, survey: Survey) -> None:
        totals, findings = self.totals, survey.findings
        totals.listed, totals.removed = findings.listed, findings.removed.num_rows
        totals.to_read, totals.resumed = survey.expected - survey.resumed, survey.resumed
        totals.unchanged = survey.unchanged

    # ---- reading ----

    def _prepare_reading(self, transaction: Transaction) -> Reading:
        job = ScanJob(
            run_id=self.run_id,
            started=self.started,
            staging=str(self.layout.staging),
            profile=self.profile,
            config=self.config,
        )
        about = About(plan=self.layout.plan, fingerprint=transaction.fingerprint + __version__, sources=self._paths())
        return Reading(
            job, about, Books(totals=self.totals, stages=self.stages, watcher=self._watcher, changed=self._report)
        )

    def _read(self, survey: Survey, reading: Reading) -> None:
        self._enter("list")
        with self.stages.of("scan"):
            reading.read(self._find(survey))
        if not (survey.findings.replaced.num_rows or survey.findings.removed.num_rows):
            reading.close()  # no old row goes, so none is missed

    # ---- publishing ----

    def _settle(self, transaction: Transaction, survey: Survey, reading: Reading) -> Verdicts:
        """One row per key; files whose row is needed now but was not kept are read, once."""
        while True:
            self._check_staged(transaction, survey.expected, reading.parts)
            verdicts = transaction.settle(survey.findings)
            unread = verdicts.unread.num_rows
            if not unread:
                return verdicts
            survey.expected += unread
            survey.findings.read_again(verdicts.unread)
            self.totals.to_read += unread
            self.totals.unchanged -= sum(survey.count_listed(files["uri"]) for files in verdicts.unread.tables())
            self._enter("scan")
            with self.stages.of("scan"):
                reading.read(map(_as_source_files, verdicts.unread.tables()))
            self._enter("publish")

    def _check_staged(self, transaction: Transaction, expected: int, reported: set[str]) -> None:
        """Every part that a worker reported is there; parts of attempts that were given up go."""
        staging = self.layout.staging
        missing = next((part for part in sorted(reported) if not (staging / part).is_file()), None)
        if missing is not None:
            raise CommitFailed(
                f"{staging / missing}: a worker wrote it, but it is not here; workers and this process must see DEST "
                "under the same name; nothing was published"
            )
        adopted = set(transaction.staging.completed)
        done = [part for part in transaction.staging.ledgers() if part in adopted or f"files/{part.name}" in reported]
        transaction.staging.keep_only(done)
        transaction.check_staged(expected)

    def _publish(self, transaction: Transaction, survey: Survey, verdicts: Verdicts) -> None:
        record = self._run_record()
        if transaction.is_needed(survey.findings, verdicts):
            transaction.commit(survey.findings, verdicts, self._paths(), record, self.started)
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
            "seconds": round(self.stages.total, 3),
        }

    def _summarise(self, transaction: Transaction, reading: Reading) -> RunSummary:
        stages = dict(self.stages.seconds)
        if reading.tasks:
            stages["tasks"] = reading.seconds
        return RunSummary.from_totals(
            self.totals,
            run_id=self.run_id,
            dest=str(self.layout.root),
            version=transaction.version,
            profile=self.profile.name,
            scheduler=reading.scheduler,
            dashboard=self.totals.dashboard,
            tasks=reading.tasks,
            stages=stages,
        )


def _as_source_files(files: pa.Table) -> pa.Table:
    """Rows of the ledger as listing would give them."""
    columns = {field.name: pa.nulls(files.num_rows, field.type) for field in SOURCE_FILE_SCHEMA}
    columns |= {name: files[name] for name in ("uri", "member", "size", "mtime", "etag", "first_seen")}
    return pa.table(columns)


def make_run_id(began: datetime) -> str:
    """Time and chance: sorts by time, and is nobody else's."""
    return f"{began:%Y%m%dT%H%M%S}.{began.microsecond // 1000:03}Z-{uuid.uuid4().hex[:8]}"
