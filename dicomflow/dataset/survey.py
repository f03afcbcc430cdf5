"""What a run has to read, found while it is listed.

In: the listing as it comes, the dataset as it is.  Out: SourceFiles to be read, batch after batch; in the end, ``Findings``.
Knows no headers, no Dask.

Where nothing is known yet, files go on as they are listed, and none is kept here.  Otherwise what is gone and what is left to do
is known when all is listed; what does not fit into memory until then is on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.dataset.changes import Mode, below, lie_in_any
from dicomflow.dataset.commit import discard
from dicomflow.dataset.comparison import Comparison
from dicomflow.dataset.findings import Findings
from dicomflow.dataset.known import SourceCheck, check_replaced, count_staying, iter_known
from dicomflow.dataset.transaction import Transaction
from dicomflow.model import SOURCE_FILE_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run was asked to look at.

    Attributes:
        paths: absolute paths of the SOURCEs.
        mode: which known files are read again.
        job: fingerprint of what tasks are asked for; an interrupted run must have been asked for the same to be taken up.
        started: microseconds since the epoch.
    """

    paths: Sequence[str]
    mode: Mode
    job: str
    started: int


class Survey:
    """Hold a listing against a dataset; ``files`` is drawn once, to its end, before anything else is asked."""

    def __init__(self, transaction: Transaction, request: Request) -> None:
        """Make staging ready: what an interrupted run left there for the same job is kept.

        Raises:
            DatasetError: staging cannot be written.
        """
        self._transaction = transaction
        self._request = request
        transaction.staging.open(request.job)
        discard(transaction.layout.plan)  # of a run that was killed
        self.expected = 0
        """Files that are to have a ledger row in staging when all is read."""
        self.resumed = 0
        """Files of these that an interrupted run had read."""
        self._unlisted: AbstractSet[str] = frozenset()
        self.findings = Findings.none(transaction.layout.spill, transaction.schemas.config.memory_bytes)

    @property
    def unchanged(self) -> int:
        """Listed files that need not be looked at again."""
        return self.findings.listed - self.expected - self.findings.settled.num_rows

    def files(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        """The files to be read, in the order in which they are listed.

        Raises:
            DatasetError: in one line, why this listing cannot be true.
        """
        if self._is_first():
            yield from self._pass_on(listing)
        else:
            yield from self._compare(listing)

    def _is_first(self) -> bool:
        """Nothing is known, published or staged, that listing could be held against."""
        staging = self._transaction.staging
        if self._transaction.old_parts("files") or staging.ledgers():
            return False
        staging.keep_only(())
        return self._request.mode is not Mode.RETRY

    def _pass_on(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        for batch in listing:
            to_read, others = split_settled(pa.Table.from_batches([batch], SOURCE_FILE_SCHEMA))
            self.expected += to_read.num_rows
            self.findings.listed += batch.num_rows
            self.findings.settled.add(others.append_column("first_seen", pa.nulls(len(others), pa.timestamp("us"))))
            if to_read.num_rows:
                yield to_read

    def _compare(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        comparison = self._collect(listing)
        self._find(comparison)
        yield from comparison.to_read()

    def _collect(self, listing: Iterator[pa.RecordBatch]) -> Comparison:
        """All sides of what is to be compared."""
        transaction = self._transaction
        ledger = transaction.old_parts("files")
        comparison = Comparison(transaction.layout.spill, transaction.schemas.config.memory_bytes)
        check = SourceCheck(self._request.paths)
        for batch in listing:
            listed = pa.Table.from_batches([batch], SOURCE_FILE_SCHEMA)
            check.add(listed)
            comparison.add_listed(listed)
        check.finish(iter_known(ledger))
        for known in iter_known(ledger):
            comparison.add_known(known)
        for staged in transaction.staging.read_rows():
            comparison.add_staged(staged)
        return comparison

    def _find(self, comparison: Comparison) -> None:
        transaction, request = self._transaction, self._request
        staying = left = 0
        for bucket in comparison.compare(request.paths, request.mode, request.started):
            self.findings.add(bucket.changes)
            self.expected += bucket.changes.to_read.num_rows
            left += bucket.left
            if not transaction.has_columns:
                staying += count_staying(bucket.known, bucket.changes)
        check_replaced(staying, transaction.layout.root)
        transaction.staging.keep_rows(comparison.staged_kept)
        self.resumed = self.expected - left
        self._unlisted = comparison.unlisted

    def count_listed(self, uris: pa.ChunkedArray) -> int:
        """How many of these known files were listed: some are of other SOURCEs, or lie in what could not be listed."""
        return int((below(uris, self._request.paths) & ~lie_in_any(uris, self._unlisted)).sum())


def split_settled(files: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows to be read, and the rows that listing settled (their ``status`` is set); both in their order."""
    if files["status"].null_count == files.num_rows:
        return files, files.slice(0, 0)
    settled = pc.is_valid(files["status"])
    return files.filter(pc.invert(settled)), files.filter(settled)
