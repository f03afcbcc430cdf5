"""What a run has to read: the listed files held against the ledger.

In: rows of SourceFiles, rows of the ledger, a mode.  Out: ``Changes``, which say of each listed file and of each ledger row what
becomes of it.  Pure: Arrow in, Arrow out; no I/O, no DICOM.

A file is known by (uri, member); it is unchanged if size, mtime and etag are what they were.  One that was written while the run
that read it was under way may have been read too early: it is read again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.errors import Code, Status
from dicomflow.uri import path_from_uri, uri_from_path

KNOWN_COLUMNS = ("uri", "member", "size", "mtime", "etag", "status", "code", "message", "first_seen", "last_seen")
"""Columns of the ledger that are needed to compare."""

_VERSION_COLUMNS = ("size", "mtime", "etag")
_OUTCOME_COLUMNS = ("status", "code", "message")
_WITH_ROW = (str(Status.OK), str(Status.PARTIAL), str(Status.CONFLICT))

Mask = npt.NDArray[np.bool_]


class Mode(StrEnum):
    """Which known files a run reads again."""

    INCREMENT = "increment"  # new, changed, and earlier failed ones
    FULL = "full"  # all
    RETRY = "retry_failed"  # earlier failed ones, and no others
    COLUMNS = "add_columns"  # as INCREMENT, and all that have a row


@dataclass(frozen=True, slots=True)
class Changes:
    """What listing found, against what is known.

    Attributes:
        to_read: SourceFiles to be read, with the column ``first_seen`` of those that are known.
        settled: SourceFiles that listing settled otherwise than before, or of another version.
        replaced: (uri, member) of ledger rows that a file of ``to_read`` or ``settled`` takes the place of, or that were never a
            file's and are gone.
        removed: (uri, member) of known files that are not there any more.
        listed: files listed, the sum of those to read, settled and unchanged.
        kept: places, in the ledger as given, of listed files whose row stays as it is.
    """

    to_read: pa.Table
    settled: pa.Table
    replaced: pa.Table
    removed: pa.Table
    listed: int
    kept: npt.NDArray[np.int64]


def compare(
    listed: pa.Table,
    known: pa.Table,
    sources: Sequence[str],
    mode: Mode,
    now: int,
    unlisted: AbstractSet[str] | None = None,
) -> Changes:
    """Say what becomes of each listed file and each known one.

    What becomes of a file depends on it alone, and on ``unlisted``: files may be compared in any number of groups, as long as
    each is in the same one on both sides.

    Args:
        listed: ``SOURCE_FILE_SCHEMA``, and ``first_seen`` if it is known; each (uri, member) once.
        known: ``KNOWN_COLUMNS`` of the ledger; each (uri, member) once.
        sources: absolute paths that were listed: what is not below them is left alone.
        mode: what is read again.
        now: when listing began, in microseconds since the epoch.
        unlisted: paths that could not be listed, where ``listed`` is one group of several; else they are found there.
    """
    if unlisted is None:
        unlisted = frozenset(find_unlisted(listed))
    places = pc.index_in(place_of(listed), value_set=place_of(known))
    is_known = places.is_valid().to_numpy(zero_copy_only=False)
    at = places.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    is_settled = listed["status"].is_valid().to_numpy(zero_copy_only=False)
    same = np.zeros(len(at), bool)
    if known.num_rows:
        before = known.take(pa.array(at))
        same = is_known & np.where(
            is_settled,
            _same(listed, before, (*_OUTCOME_COLUMNS, *_VERSION_COLUMNS)),
            _is_done(listed, before, mode, now),
        )
    unseen = np.ones(known.num_rows, bool)
    unseen[at[is_known]] = False
    gone = unseen & below(known["uri"], sources)
    gone[gone] = ~lie_in_any(known["uri"].filter(pa.array(gone)), unlisted)
    removed = gone & _true(pc.and_(pc.not_equal(known["status"], str(Status.REMOVED)), known["size"].is_valid()))
    if mode is Mode.RETRY:
        same |= ~(is_known & ~is_settled & _ended(known, at, Status.FAILED))
        gone = removed = np.zeros(known.num_rows, bool)
    vanished = gone & _true(known["size"].is_null())
    replaced = vanished.copy()
    replaced[at[is_known & ~same]] = True
    return Changes(
        to_read=_with_first_seen(listed, known, pa.array(at, mask=~is_known)).filter(pa.array(~is_settled & ~same)),
        settled=_with_first_seen(listed, known, pa.array(at, mask=~is_known)).filter(pa.array(is_settled & ~same)),
        replaced=_keys(known, replaced),
        removed=_keys(known, removed),
        listed=_count_present(is_known, known, at) if mode is Mode.RETRY else listed.num_rows,
        kept=at[is_known & same],
    )


def _with_first_seen(listed: pa.Table, known: pa.Table, at: pa.Array) -> pa.Table:
    if "first_seen" in listed.column_names:
        return listed
    nothing = pa.nulls(len(at), pa.timestamp("us"))
    return listed.append_column("first_seen", known["first_seen"].take(at) if known.num_rows else nothing)


def place_of(files: pa.Table) -> pa.Array | pa.ChunkedArray:
    """One text that tells a file from all others: its uri, and its member where it has one.

    >>> place_of(pa.table({"uri": ["/a", "/b"], "member": ["x", None]})).to_pylist()
    ['/a\\x00x', '/b']
    """
    if files["member"].null_count == files.num_rows:
        return files["uri"]
    member = files["member"].cast(pa.string())  # which may be dictionary-encoded
    joined = pc.binary_join_element_wise(files["uri"], member, "\0")
    return pc.coalesce(joined, files["uri"])


def is_below(path: str, source: str) -> bool:
    """Whether a path is a SOURCE, or lies in it.

    >>> is_below("/a/b", "/a"), is_below("/ab", "/a"), is_below("/a", "/")
    (True, False, True)
    """
    return path == source or path.startswith(source.rstrip("/") + "/")


def _same(listed: pa.Table, before: pa.Table, names: Sequence[str]) -> Mask:
    """Row by row: all these columns are equal; null is equal to null."""
    equal = np.ones(listed.num_rows, bool)
    for name in names:
        mine, theirs = listed[name], before[name]
        if mine.null_count == theirs.null_count == len(mine):
            continue
        matches = pc.if_else(mine.is_valid(), pc.fill_null(pc.equal(mine, theirs), False), theirs.is_null())
        equal &= matches.to_numpy(zero_copy_only=False) if isinstance(matches, pa.Array) else _true(matches)
    return equal


def _is_done(listed: pa.Table, before: pa.Table, mode: Mode, now: int) -> Mask:
    """Files to be read that need not be: unchanged, and settled for good."""
    if mode is Mode.FULL:
        return np.zeros(listed.num_rows, bool)
    again = pc.is_in(before["status"], value_set=pa.array([str(Status.FAILED), str(Status.REMOVED)]))
    was_archive = pc.fill_null(pc.equal(before["code"], str(Code.ARCHIVE)), False)  # its members stood for it
    again = pc.or_(again, was_archive)
    if mode is Mode.COLUMNS:
        again = pc.or_(again, pc.is_in(before["status"], value_set=pa.array(_WITH_ROW)))
    return _same(listed, before, _VERSION_COLUMNS) & ~_true(again) & ~_read_too_early(before, now)


def _read_too_early(before: pa.Table, now: int) -> Mask:
    """Written at the time of the run that read it or later, but not in the future: that would be so for ever."""
    mtime, seen = (before[name].cast(pa.int64()).fill_null(0).to_numpy() for name in ("mtime", "last_seen"))
    early: Mask = (mtime >= seen) & (mtime < now)
    return early


def _ended(known: pa.Table, at: npt.NDArray[np.int64], status: Status) -> Mask:
    if not known.num_rows:
        return np.zeros(len(at), bool)
    return _true(pc.equal(known["status"], str(status)))[at]


def _count_present(is_known: Mask, known: pa.Table, at: npt.NDArray[np.int64]) -> int:
    """Files that the ledger has; one that is back since is not, as long as it says ``removed``."""
    return int((is_known & ~_ended(known, at, Status.REMOVED)).sum())


def below(uris: pa.ChunkedArray, sources: Sequence[str]) -> Mask:
    """Which uris are a SOURCE or lie in one; also where the name is not UTF-8 and the uri therefore quoted."""
    found = np.zeros(len(uris), bool)
    for source in sources:
        uri = uri_from_path(source)
        quoted = uri_from_path(os.fsencode(source) + b"/\xff").removesuffix("/%FF")
        for prefix in dict.fromkeys((uri.rstrip("/") + "/", quoted.rstrip("/") + "/")):
            found |= _true(pc.starts_with(uris, prefix))
        found |= _true(pc.equal(uris, uri))
    return found


def lie_in_any(uris: pa.ChunkedArray, folders: AbstractSet[str]) -> Mask:
    """Which uris are one of these paths, or lie in one: looked up, for there may be very many links that lead nowhere."""
    if not folders:
        return np.zeros(len(uris), bool)
    return np.fromiter((_lies_in_any(path_from_uri(uri), folders) for uri in uris.to_pylist()), bool, len(uris))


def _lies_in_any(path: str, folders: AbstractSet[str]) -> bool:
    while path and path not in folders:
        path = path.rpartition("/")[0]
    return bool(path) or "/" in folders


def find_unlisted(listed: pa.Table) -> list[str]:
    """Paths of folders and archives that could not be listed: nobody knows whether the files in them are still there."""
    if listed["status"].null_count == listed.num_rows:
        return []
    is_failed = pc.and_(pc.equal(listed["status"], str(Status.FAILED)), pc.is_null(listed["member"]))
    failed = listed.filter(is_failed)["uri"].to_pylist()
    return [path_from_uri(uri) for uri in failed]


def _keys(known: pa.Table, mask: Mask) -> pa.Table:
    return pa.table({name: known[name] for name in ("uri", "member")}).filter(pa.array(mask))


def _true(values: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy().astype(bool, copy=False)
    return mask
