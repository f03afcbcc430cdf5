"""What a run has to read, found while it is listed.

In: the listing as it comes, the dataset as it is.  Out: SourceFiles to be read, batch after batch; in the end, ``Changes``.
Knows no headers, no Dask.

Where nothing is known yet, files go on as they are listed, and none is kept here.  Otherwise what is gone and what is left to do
is known when all is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.dataset.changes import Changes, Mode, compare
from dicomflow.dataset.commit import discard
from dicomflow.dataset.known import check_replaced, check_sources
from dicomflow.dataset.transaction import Transaction
from dicomflow.model import SOURCE_FILE_SCHEMA

_KEYS = pa.schema([pa.field("uri", pa.string()), pa.field("member", pa.string())])


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
            DatasetError: staging cannot be made ready.
        """
        self._transaction = transaction
        self._request = request
        transaction.staging.open(request.job)
        discard(transaction.layout.plan)  # of a run that was killed
        self.expected = 0
        """Files that are to have a ledger row in staging when all is read."""
        self.resumed = 0
        """Files of these that an interrupted run had read."""
        self.changes = Changes(
            to_read=SOURCE_FILE_SCHEMA.empty_table(),
            settled=SOURCE_FILE_SCHEMA.empty_table(),
            replaced=_KEYS.empty_table(),
            removed=_KEYS.empty_table(),
            listed=0,
            kept=np.zeros(0, np.int64),
        )

    @property
    def unchanged(self) -> int:
        """Listed files that need not be looked at again."""
        return self.changes.listed - self.expected - int(self.changes.settled.num_rows)

    def files(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        """The files to be read, in the order in which they are listed.

        Raises:
            DatasetError: in one line, why this listing cannot be true.
        """
        if self._is_first():
            yield from self._pass_on(listing)
        else:
            yield self._compare(pa.Table.from_batches(listing, SOURCE_FILE_SCHEMA))

    def _is_first(self) -> bool:
        """Nothing is known, published or staged, that listing could be held against."""
        staging = self._transaction.staging
        if self._transaction.old_parts("files") or staging.ledgers():
            return False
        staging.keep_only(())
        return self._request.mode is not Mode.RETRY

    def _pass_on(self, listing: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        settled = [SOURCE_FILE_SCHEMA.empty_table()]
        for batch in listing:
            to_read, others = split_settled(pa.Table.from_batches([batch], SOURCE_FILE_SCHEMA))
            self.expected += to_read.num_rows
            self.changes = replace(self.changes, listed=self.changes.listed + batch.num_rows)
            if others.num_rows:
                settled.append(others)
                self.changes = replace(self.changes, settled=pa.concat_tables(settled))
            if to_read.num_rows:
                yield to_read

    def _compare(self, listed: pa.Table) -> pa.Table:
        transaction, request = self._transaction, self._request
        known = transaction.read_known()
        check_sources(known, listed, request.paths)
        self.changes = compare(listed, known, request.paths, request.mode, request.started)
        if not transaction.has_columns:
            check_replaced(known, self.changes, transaction.layout.root)
        to_read = transaction.staging.adopt(self.changes.to_read, request.started)
        self.expected = self.changes.to_read.num_rows
        self.resumed = self.expected - to_read.num_rows
        self.changes = replace(self.changes, to_read=to_read.slice(0, 0))  # what is drawn need not be kept, too
        return to_read


def split_settled(files: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows to be read, and the rows that listing settled (their ``status`` is set); both in their order."""
    if files["status"].null_count == files.num_rows:
        return files, files.slice(0, 0)
    settled = pc.is_valid(files["status"])
    return files.filter(pc.invert(settled)), files.filter(settled)
