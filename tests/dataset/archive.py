"""A dataset that grows run by run, from files that exist as dictionaries only: all of a run but listing and reading headers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from dicomflow.config import DatasetConfig
from dicomflow.dataset import survey as survey_of_run
from dicomflow.dataset.changes import Mode
from dicomflow.dataset.commit import prepare_destination
from dicomflow.dataset.compact import compact_parts
from dicomflow.dataset.layout import BASE_TABLES, Layout
from dicomflow.dataset.lock import write_lock
from dicomflow.dataset.snapshot import Snapshot
from dicomflow.dataset.survey import Request, Survey
from dicomflow.dataset.transaction import Transaction
from dicomflow.dataset.writer import write_data_file
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.arrow import files_schema

NOON = datetime(2024, 5, 1, 12)
Place = tuple[str, str | None]
Row = dict[str, Any]


def fill_rows(schema: pa.Schema, rows: list[Row]) -> pa.Table:
    """Rows with these values, null elsewhere."""
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)


def stage_task(staging: Path, task: str, found: list[Row], instances: pa.Schema) -> None:
    """Write what one task would leave in staging: a row for each file that has a key, and the ledger last."""
    ledger = [{"status": "ok", "mtime": NOON, **row} for row in found]
    rows = [
        {**row, "source_uri": row["uri"], "source_member": row.get("member"), "source_mtime": row["mtime"]}
        for row in ledger
        if row.get("SOPInstanceUID") is not None
    ]
    files, config = files_schema(), DatasetConfig()
    if rows:
        write_data_file(fill_rows(instances, rows), instances, "instances", staging, f"{task}-0.parquet", config)
    write_data_file(fill_rows(files, ledger), files, "files", staging, f"{task}.parquet", config)


def entry(uri: str, uid: str | None = "1.2", **more: Any) -> Row:
    """A file with this key; ``settled`` says that listing is enough to know how it ends."""
    row = {"uri": uri, "member": None, "size": 7, "mtime": NOON, "SOPInstanceUID": uid, "header_digest": "same"}
    return {**row, "status": "ok", "offset": 9 if more.get("status") == "partial" else None, **more}


def place(row: Row) -> Place:
    return row["uri"], row["member"]


class Archive:
    """Files, and the dataset of them."""

    def __init__(self, root: Path, instances: pa.Schema, *, config: DatasetConfig | None = None) -> None:
        self.layout = Layout(root)
        self.instances = instances
        self.config = config or DatasetConfig()
        self.world: dict[Place, Row] = {}
        self.now = NOON
        self.runs = 0
        self.read: list[Place] = []
        """What the last run read."""
        self.snapshot: Snapshot | None = None

    def put(self, *rows: Row) -> None:
        """Add files, or change them."""
        self.world.update({place(row): row for row in rows})

    def drop(self, *uris: str) -> None:
        """Remove files."""
        self.world = {at: row for at, row in self.world.items() if at[0] not in uris}

    def run(
        self, mode: Mode = Mode.INCREMENT, *, sources: Sequence[str] = ("/",), tasks: int = 1, stop: bool = False
    ) -> bool:
        """List, read what is to be read, and publish; False where there was nothing to publish, or it was stopped before."""
        self.runs += 1
        self.now += timedelta(hours=1)
        self.read = []
        prepare_destination(self.layout)
        with write_lock(self.layout) as lock, patch("os.fsync"):  # the disk of the test may take its time
            transaction = Transaction(self.layout, self.instances, self.config, lock)
            transaction.check(mode, "minimal", sources)
            return self._change(transaction, mode, list(sources), 0 if stop else tasks)

    def compact(self, done: Callable[[str, int], None] | None = None) -> bool:
        """Merge small parts; False where there was nothing to merge."""
        self.runs += 1
        with self.writing() as transaction:
            return compact_parts(transaction, self._record(), done)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """The dataset, locked, for a run that keeps its columns."""
        with write_lock(self.layout) as lock, patch("os.fsync"):
            yield Transaction.of_dataset(self.layout, self.config, lock)

    def _record(self) -> dict[str, str]:
        return {"run_id": f"run{self.runs:03}", "dicomflow": "0", "started": self.now.isoformat() + "+00:00"}

    def _change(self, transaction: Transaction, mode: Mode, sources: list[str], tasks: int) -> bool:
        request = Request(paths=sources, mode=mode, job=f"job {mode is Mode.FULL}", started=self._micros(self.now))
        survey = Survey(transaction, request)
        with patch.object(survey_of_run, "SourceCheck"):  # here a SOURCE may become empty
            to_read = [*survey.files(iter(self._list(sources).to_batches(max_chunksize=3)))]
        findings, expected = survey.findings, survey.expected
        if to_read:
            self._read(pa.concat_tables(to_read), tasks or 2)
        if not tasks:
            return False
        transaction.staging.keep_only(transaction.staging.ledgers())
        while (verdicts := transaction.settle(findings)).unread.num_rows:
            expected += verdicts.unread.num_rows
            self._read(verdicts.unread.whole(), tasks)
            transaction.staging.keep_only(transaction.staging.ledgers())
            findings.read_again(verdicts.unread)
        transaction.check_staged(expected)
        record = self._record()
        if not transaction.is_needed(findings, verdicts):
            transaction.record(record)
            return False
        self.snapshot = transaction.commit(findings, verdicts, sources, record, self._micros(self.now))
        return True

    def _list(self, sources: list[str]) -> pa.Table:
        listed = [row for row in self.world.values() if any(row["uri"].startswith(source) for source in sources)]
        plain = [{**row, "status": row["status"] if row.get("settled") else None, "code": None} for row in listed]
        return fill_rows(SOURCE_FILE_SCHEMA, plain)

    def _read(self, files: pa.Table, tasks: int) -> None:
        found = [self._read_one(row) for row in files.to_pylist()]
        self.read += map(place, found)
        for task in range(tasks):
            if own := found[task::tasks]:
                stage_task(self.layout.staging, f"run{self.runs}{len(self.read)}{task}-a", own, self.instances)

    def _read_one(self, listed: Row) -> Row:
        version = {name: listed[name] for name in ("uri", "member", "size", "mtime")}
        truth = self.world.get(place(listed)) or entry(listed["uri"], None, status="failed", code="not_found")
        first_seen = listed.get("first_seen") or self.now
        return {**truth, **version, "run_id": f"run{self.runs:03}", "first_seen": first_seen, "last_seen": self.now}

    def _micros(self, moment: datetime) -> int:
        return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)

    # ---- what is published ----

    def tables(self) -> dict[str, dict[Place, Row]]:
        """All rows by file, as a plain reader finds them; no file has two in one table."""
        found: dict[str, dict[Place, Row]] = {}
        for table in BASE_TABLES:
            uri, member = ("uri", "member") if table == "files" else ("source_uri", "source_member")
            rows = pq.read_table(self.layout.table(table), partitioning=None).to_pylist()
            found[table] = {(row[uri], row[member]): row for row in rows}
            assert len(found[table]) == len(rows)
        return found

    def outcome(self) -> dict[str, dict[Place, Any]]:
        """What does not depend on when a file was read; removed files left out."""
        names = ("status", "code", "message", "SOPInstanceUID", "header_digest")
        tables = self.tables()
        return {
            "files": {
                at: tuple(row[name] for name in names)
                for at, row in tables["files"].items()
                if row["status"] != "removed"
            },
            **{
                table: {at: (row["SOPInstanceUID"], row["PatientID"]) for at, row in tables[table].items()}
                for table in ("instances", "conflicts")
            },
        }

    def expected(self) -> dict[str, dict[Place, Any]]:
        """What ``outcome`` must be, by the rule as the specification has it: one group of files after the other."""
        claims: dict[str, list[Row]] = {}
        found: dict[str, dict[Place, Any]] = {"files": {}, "instances": {}, "conflicts": {}}
        for row in self.world.values():
            key = row["SOPInstanceUID"]
            if key is not None:
                claims.setdefault(key, []).append(row)
            else:
                found["files"][place(row)] = (
                    row["status"],
                    row.get("code"),
                    row.get("message"),
                    None,
                    row["header_digest"],
                )
        for key, rows in claims.items():
            first = min(rows, key=_precedence)
            for row in rows:
                lost = "duplicate" if row["header_digest"] == first["header_digest"] else "conflict"
                code = "same_header" if lost == "duplicate" else "other_header"
                member = "" if first["member"] is None else f" member {first['member']}"
                said = (lost, code, f"the instance is taken from {first['uri']}{member}")
                own = (row["status"], row.get("code"), row.get("message"))
                found["files"][place(row)] = (*(own if row is first else said), key, row["header_digest"])
                if row is first or lost == "conflict":
                    table = "instances" if row is first else "conflicts"
                    found[table][place(row)] = (key, row.get("PatientID"))
        return found


def _precedence(row: Row) -> tuple[Any, ...]:
    mtime = row["mtime"]
    newest = (mtime is None, -(mtime - NOON).total_seconds() if mtime else 0)
    return row["status"] == "partial", *newest, row["uri"], row["member"] is not None, row["member"] or ""
