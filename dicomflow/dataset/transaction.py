"""One run's changes to a dataset, from what is published to what is published next.

In: a locked dataset, what listing found, what tasks staged.  Out: a new version, or none where nothing changed.  Knows the order
of the steps; headers, Dask and the user's options are others' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from dicomflow.config import DatasetConfig
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.commit import discard, publish, redo, sweep
from dicomflow.dataset.deduplicate import Verdicts, deduplicate
from dicomflow.dataset.findings import Findings
from dicomflow.dataset.known import check_columns, check_partitions, join_sources, last_listed
from dicomflow.dataset.layout import BASE_TABLES, ROLLUPS, Layout
from dicomflow.dataset.ledger import settled_rows
from dicomflow.dataset.lock import WriteLock
from dicomflow.dataset.partition import Partitioning
from dicomflow.dataset.parts import count_rows, read_schema
from dicomflow.dataset.repair import check_repair, find_damaged, say_parts
from dicomflow.dataset.rewrite import Plan, Rewriter
from dicomflow.dataset.rollups import are_current, make_rollups
from dicomflow.dataset.rows import Rows
from dicomflow.dataset.snapshot import Snapshot, read_published, read_snapshot
from dicomflow.dataset.staging import Schemas, Staging
from dicomflow.dataset.storage import write_json
from dicomflow.errors import CommitFailed, DatasetError
from dicomflow.log import get_logger
from dicomflow.schema.arrow import files_schema, schema_fingerprint
from dicomflow.schema.version import FORMAT_VERSION

_log = get_logger("dataset")


class Transaction:
    """What a run that holds the lock does to the dataset; until ``commit``, nothing that is visible changes."""

    def __init__(self, layout: Layout, instances: pa.Schema, config: DatasetConfig, lock: WriteLock) -> None:
        """Complete what an earlier run began to publish, and see what is there.

        Args:
            layout: of the dataset.
            instances: schema of ``instances`` as the run writes it.
            config: how parts are written.
            lock: held by the run.

        Raises:
            DatasetError: the dataset cannot be read, or is of another format.
        """
        complete(layout)
        discard(layout.next)
        if layout.next.exists():
            raise DatasetError(f"{layout.next}: cannot be removed; remove it, then run again")
        discard(layout.spill)
        sweep(layout.private)  # of a run that was killed
        self.layout = layout
        self.schemas = Schemas(instances=instances, files=files_schema(), config=config)
        self.profile = (instances.metadata or {}).get(b"dicomflow.profile", b"").decode()
        self.fingerprint = schema_fingerprint(instances)
        self.staging = Staging(layout, self.schemas)
        self.before: Snapshot | None = read_snapshot(layout, FORMAT_VERSION)
        self.partition_by = self._choose_partitions(config)
        self.damaged: list[Path] = []
        """Published parts that a run which reads everything again does without."""
        self._lock = lock

    @classmethod
    def of_dataset(cls, layout: Layout, config: DatasetConfig, lock: WriteLock) -> Self:
        """For a run that keeps the columns and partitions that are there.

        Raises:
            DatasetError: there is no dataset, it cannot be read, or the settings ask for other partitions.
        """
        complete(layout)
        _, parts = read_published(layout, FORMAT_VERSION)
        transaction = cls(layout, read_schema(parts["instances"][0]), config, lock)
        check_partitions(transaction.before, transaction.partition_by, Mode.INCREMENT, layout.root)
        return transaction

    def _choose_partitions(self, config: DatasetConfig) -> list[str]:
        """Those that the settings name; where they name none, not even an empty list, those that are there."""
        if self.before is None or "partition_by" in config.model_fields_set:
            return list(config.partition_by)
        return self.before.partition_by

    @property
    def version(self) -> int:
        """The version that is published now; 0 for none."""
        return self.before.version if self.before else 0

    @property
    def has_columns(self) -> bool:
        """Whether rows that are there have the columns of the run, and can be read."""
        return self.before is None or (self.before.schema == self.fingerprint and not self.damaged)

    @property
    def has_partitions(self) -> bool:
        """Whether parts that are there are split as the run splits them."""
        return self.before is None or self.before.partition_by == self.partition_by

    def make_rewriter(self, run_id: str) -> Rewriter:
        """What writes the coming version."""
        partitioning = Partitioning.of(self.partition_by, self.schemas.instances)
        return Rewriter(self.layout, self.schemas, run_id, partitioning)

    def old_parts(self, table: str) -> list[Path]:
        """The published parts of a table; where some are damaged, of rows none at all: each is made anew."""
        if self.damaged and table != "files":
            return []
        names = sorted(self.before.tables[table]) if self.before else []
        parts = (self.layout.table(table) / name for name in names)
        return [part for part in parts if part not in self.damaged]

    def old_rollups(self) -> dict[str, list[Path]]:
        """The published parts of the rollups."""
        return {table: self.old_parts(table) for table in ROLLUPS}

    def check(self, mode: Mode, columns: str, sources: Sequence[str] = ()) -> None:
        """Refuse a run whose columns do not fit, or a dataset that is not whole, unless the run can make it whole.

        Args:
            mode: of the run.
            columns: what the user calls its columns.
            sources: absolute paths that the run lists.

        Raises:
            DatasetError: in one line, with what to do.
            ConfigError: rows cannot be split into partitions by these columns.
        """
        check_columns(self.before, columns, self.fingerprint, mode, self.layout.root)
        check_partitions(self.before, self.partition_by, mode, self.layout.root)
        Partitioning.of(self.partition_by, self.schemas.instances)
        if mode is Mode.FULL and self.before:
            self._do_without_damaged(self.before, sources)
        for part in (part for table in BASE_TABLES for part in self.old_parts(table)):
            if not part.is_file():
                raise DatasetError(f"{part}: is gone; restore it, or read everything again with `extract --full`")

    def _do_without_damaged(self, before: Snapshot, sources: Sequence[str]) -> None:
        root, damaged = self.layout.root, find_damaged(self.layout, before)
        if not damaged:
            return
        check_repair(before, damaged, sources, root)
        self.damaged = damaged
        lost = any(part.is_relative_to(self.layout.table("files")) for part in damaged)
        note = (
            "of files whose ledger row is lost, first_seen is this run, and those that are gone are forgotten"
            if lost
            else ""
        )
        _log.warning(
            "dataset_damaged", parts=f"{say_parts(damaged, root)} made anew", **({"note": note} if note else {})
        )

    def settle(self, findings: Findings) -> Verdicts:
        """One row per SOP Instance UID over what is published and what is staged."""
        config = self.schemas.config
        return deduplicate(
            self.staging.completed,
            self.old_parts("files"),
            findings.replaced,
            findings.removed,
            spill=self.layout.spill,
            memory=config.memory_bytes,
        )

    def check_staged(self, expected: int) -> None:
        """Nothing is published unless every file that was to be read has its ledger row.

        Raises:
            CommitFailed: the number is another.
        """
        rows = count_rows(self.staging.completed)
        if rows != expected:
            raise CommitFailed(
                f"{expected} files were to be read, but the ledger has {rows} of them; workers and this process must see DEST "
                "under the same name; nothing was published"
            )

    def is_needed(self, findings: Findings, verdicts: Verdicts) -> bool:
        """Whether anything changed: files that failed as they had failed before are no change."""
        edits, dropped = verdicts.edits, verdicts.count_dropped()
        staged = count_rows(self.staging.completed)
        if self.before is None or not (self.has_columns and self.has_partitions and are_current(self.old_rollups())):
            return True
        return bool(findings.settled.num_rows) or edits.num_rows > dropped or staged > dropped

    def commit(
        self, findings: Findings, verdicts: Verdicts, sources: Sequence[str], run: Mapping[str, Any], started: int
    ) -> Snapshot:
        """Assemble the new version and publish it.

        Args:
            findings: what listing found.
            verdicts: of ``settle``, with nothing unread.
            sources: absolute paths.
            run: the run record, with ``run_id`` and the version of ``dicomflow``.
            started: when the run began, in microseconds since the epoch.

        Raises:
            CommitFailed: nothing was changed; run again.
            CommitStateUnknown: recorded, but not completed; the next run completes it.
        """
        run_id = str(run["run_id"])
        rewriter = self.make_rewriter(run_id)
        plan = Plan(
            old={table: self.old_parts(table) for table in BASE_TABLES},
            ledgers=self.staging.completed,
            settled=self._settled_rows(findings, run_id, started),
            edits=verdicts.edits,
            removed_at=last_listed(self.layout) or started,
            renew=not (self.has_columns and self.has_partitions),
        )
        rewriter.apply(plan)
        return self.publish(rewriter, sources, run)

    def _settled_rows(self, findings: Findings, run_id: str, started: int) -> Rows:
        """Ledger rows of what listing settled."""
        rows = Rows(self.schemas.files, self.layout.spill, self.schemas.config.memory_bytes)
        for files in findings.settled.tables():
            rows.add(settled_rows(files, run_id, started))
        return rows

    def publish(self, rewriter: Rewriter, sources: Sequence[str], run: Mapping[str, Any]) -> Snapshot:
        """Publish the tables that ``rewriter`` assembled, and their rollups."""
        renew = self.before is None or not (self.has_columns and self.has_partitions)
        make_rollups(self.layout, rewriter, self.schemas, self.old_rollups(), renew=renew)
        coming = Snapshot(
            format=FORMAT_VERSION,
            version=self.version + 1,
            profile=self.profile,
            schema=self.fingerprint,
            sources=join_sources(self.before.sources if self.before else [], sources),
            dicomflow=str(run["dicomflow"]),
            last_run=str(run["run_id"]),
            tables=rewriter.describe(self.before.tables if self.before else {}),
            partition_by=self.partition_by,
        )
        publish(self.layout, coming, {**run, "version": coming.version}, self._lock)
        self.before, self.damaged = coming, []
        return coming

    def record(self, run: Mapping[str, Any]) -> None:
        """Leave the dataset as it is, and say that a run looked."""
        discard(self.layout.staging)
        write_json(self.layout.run_record(str(run["run_id"])), {**run, "version": self.version})


def complete(layout: Layout) -> None:
    """Complete what an earlier run began to publish, if there is such a thing.

    Raises:
        CommitStateUnknown: it cannot be completed now.
    """
    if redo(layout):
        _log.warning("publish_completed", dest=str(layout.root))
