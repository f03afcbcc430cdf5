"""Hold a listing against the ledger in bounded memory: all at once where both are small, else a bucket of files at a time.

In: the listing as it comes, the rows of the ledger, and those that an interrupted run staged.  Out: buckets, which together say
what becomes of each file.  Knows what is compared and when it fits; what is the same file, and what has changed, is ``changes``'
business.

    listed, known, staged -> by hash of (uri, member) -> compare -> to_read, by place in the listing -> to_read in its order

What was found of a bucket depends on nothing but its own rows, and on which folders could not be listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dicomflow.dataset.changes import KNOWN_COLUMNS, Changes, Mask, Mode, compare, find_unlisted, place_of
from dicomflow.dataset.spill import BUCKETS, MAX_BYTES, Buckets, Integers, cut_ranges, hash_texts
from dicomflow.model import SOURCE_FILE_SCHEMA
from dicomflow.schema.arrow import files_schema

KNOWN_SCHEMA = pa.schema([files_schema().field(name) for name in KNOWN_COLUMNS])

_SIDE_SHARE, _WHOLE_SHARE, _BUCKET_SHARE = 4, 3, 8
"""Parts of the memory: each side until it goes to the disk; all sides, so that they are compared at once; the rows of a bucket.
Rows that are compared take some three times as much while they are."""

_AT = "\0at"
"""Where a row came: a name that no column has."""

_AT_FIELD = pa.field(_AT, pa.int64())
_LISTED, _STAGED = SOURCE_FILE_SCHEMA.append(_AT_FIELD), KNOWN_SCHEMA.append(_AT_FIELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Some files, on both sides.

    Attributes:
        known: their rows of the ledger.
        changes: what listing says of them.
        left: files of ``to_read`` that are not staged.
    """

    known: pa.Table
    changes: Changes
    left: int


class Comparison:
    """A listing against a ledger.

    Args:
        spill: a folder for what does not fit.
        memory: bytes that may be taken.
    """

    def __init__(self, spill: Path, memory: int) -> None:
        self._memory = memory
        side = memory // _SIDE_SHARE
        self._listed, self._known, self._staged = (
            Buckets(_hash_place, spill / name, side) for name in ("listed", "known", "staged")
        )
        self._to_read = Buckets(self._divide_listing, spill / "to_read", side)
        self.unlisted: set[str] = set()
        """Paths of folders and archives that could not be listed, so far."""
        self._staged_rows = 0
        self.listed = 0
        """Rows of the listing so far."""
        self.staged_kept: Mask = np.zeros(0, bool)
        """Of each staged row, in the order in which they were added: whether it still holds."""

    # ---- what is compared ----

    def add_listed(self, rows: pa.Table) -> None:
        """Take more of the listing.

        Args:
            rows: ``SOURCE_FILE_SCHEMA``; each (uri, member) once in all.

        Raises:
            DatasetError: the disk is full; so for all sides.
        """
        self.unlisted.update(find_unlisted(rows))
        self._listed.add(_number(rows, self.listed))
        self.listed += rows.num_rows

    def add_known(self, rows: pa.Table) -> None:
        """Take more of the ledger: ``KNOWN_SCHEMA``; each (uri, member) once in all."""
        self._known.add(rows)

    def add_staged(self, rows: pa.Table) -> None:
        """Take more of what was staged: ``KNOWN_SCHEMA``; of several rows of one (uri, member) the first one counts."""
        self._staged.add(_number(rows, self._staged_rows))
        self._staged_rows += rows.num_rows

    # ---- what was found ----

    def compare(self, sources: Sequence[str], mode: Mode, now: int) -> Iterator[Bucket]:
        """What becomes of the files, some after the other: see ``changes.compare``.

        It is drawn to its end before anything else is asked.
        """
        self.staged_kept = np.zeros(self._staged_rows, bool)
        for listed, known, staged in self._draw():
            changes = compare(listed, known, sources, mode, now, self.unlisted)
            to_read = self._take_up(changes.to_read, staged, now)
            self._to_read.add(to_read)
            yield Bucket(known=known, changes=changes, left=to_read.num_rows)

    def _draw(self) -> Iterator[list[pa.Table]]:
        """Rows of the same files on all three sides."""
        sides = (self._listed, self._known, self._staged)
        empty = (_LISTED.empty_table(), KNOWN_SCHEMA.empty_table(), _STAGED.empty_table())
        is_whole = sum(side.nbytes for side in sides) <= self._memory // _WHOLE_SHARE
        if is_whole and not any(side.is_spilled for side in sides):
            yield [side.held() or nothing for side, nothing in zip(sides, empty, strict=True)]
        else:
            for side in sides:
                side.spill()
            sizes = self._listed.sizes + self._known.sizes + self._staged.sizes
            for first, end in cut_ranges(sizes, min(self._memory // _BUCKET_SHARE, MAX_BYTES)):
                yield [side.read(first, end) or nothing for side, nothing in zip(sides, empty, strict=True)]
        for side in sides:
            side.clear()

    def _take_up(self, to_read: pa.Table, staged: pa.Table, now: int) -> pa.Table:
        """What is left to be read; notes which staged rows are as good as read again."""
        if not staged.num_rows:
            return to_read
        changes = compare(to_read, staged, [], Mode.INCREMENT, now, frozenset())
        self.staged_kept[staged[_AT].to_numpy()[changes.kept]] = True
        return changes.to_read

    def to_read(self) -> Iterator[pa.Table]:
        """Files that are left to be read, in the order in which they were listed: ``SOURCE_FILE_SCHEMA`` and ``first_seen``."""
        for rows in self._to_read:
            places = rows[_AT].to_numpy()
            ordered = rows if (places[1:] > places[:-1]).all() else rows.sort_by(_AT)
            yield ordered.drop_columns(_AT)

    def _divide_listing(self, rows: pa.Table) -> Integers:
        """Neighbours of the listing together."""
        bucket: Integers = rows[_AT].to_numpy() * BUCKETS // self.listed
        return bucket


def _number(rows: pa.Table, start: int) -> pa.Table:
    return rows.append_column(_AT_FIELD, pa.array(np.arange(start, start + rows.num_rows)))


def _hash_place(rows: pa.Table) -> Integers:
    return hash_texts(place_of(rows))
