"""What a run found of all files together, in bounded memory.

In: ``Changes`` of some files after the others.  Out: rows of those that come, change or go.  Knows no parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from dicomflow.dataset.changes import Changes
from dicomflow.dataset.rows import Rows
from dicomflow.model import SOURCE_FILE_SCHEMA

KEYS_SCHEMA = pa.schema([pa.field("uri", pa.string()), pa.field("member", pa.string())])

_SETTLED_SCHEMA = SOURCE_FILE_SCHEMA.append(pa.field("first_seen", pa.timestamp("us")))


@dataclass(slots=True, kw_only=True)
class Findings:
    """See ``Changes``; files that are to be read are not kept here.

    Attributes:
        settled: SourceFiles that listing settled otherwise than before, with ``first_seen`` of those that are known.
        replaced: (uri, member) of ledger rows that another row takes the place of, or that go with no trace.
        removed: (uri, member) of known files that are not there any more.
        listed: files listed.
    """

    settled: Rows
    replaced: Rows
    removed: Rows
    listed: int = 0

    @classmethod
    def none(cls, spill: Path, memory: int) -> Self:
        """Nothing yet.

        Args:
            spill: a folder for what does not fit into memory.
            memory: bytes that the run may take.
        """
        return cls(
            settled=Rows(_SETTLED_SCHEMA, spill, memory),
            replaced=Rows(KEYS_SCHEMA, spill, memory),
            removed=Rows(KEYS_SCHEMA, spill, memory),
        )

    def add(self, changes: Changes) -> None:
        """What was found of some more files.

        Raises:
            DatasetError: the disk is full.
        """
        self.settled.add(changes.settled)
        self.replaced.add(changes.replaced)
        self.removed.add(changes.removed)
        self.listed += changes.listed

    def read_again(self, unread: Rows) -> None:
        """Add files whose row is needed after all."""
        for rows in unread.tables():
            self.replaced.add(rows)
