"""Make the rollups of a coming version: ``series``, ``studies`` and ``patients`` in step with its ``instances``.

In: the parts of the coming ``instances``, which keys the run touched, the rollups that are published.  Out: the coming tables in
``next``.  Knows which parts are read and where rows go; what they say is ``rollup``'s business.

Parts that tasks have just written bring their records along (``records``); only others are read.  Where few keys are touched, of
those only row groups that hold one of them are read, and only parts of a rollup that hold one of them are written again.  Memory
is bounded by a row group and by ``memory_bytes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicomflow.dataset.commit import discard
from dicomflow.dataset.layout import ROLLUPS, Layout, list_parts
from dicomflow.dataset.order import sort_keys, sort_rows
from dicomflow.dataset.parts import count_rows, explained, read_part, read_schema
from dicomflow.dataset.records import read_records
from dicomflow.dataset.rewrite import Rewriter
from dicomflow.dataset.spill import Buckets, Integers, hash_texts
from dicomflow.dataset.staging import Schemas
from dicomflow.dataset.touched import Touched
from dicomflow.errors import DatasetError
from dicomflow.rollup.measure import GEOMETRY_COLUMNS, measure, usable_columns
from dicomflow.rollup.tables import roll_up, select_columns
from dicomflow.schema.rollup import KEYS, rollup_schema

Mask = npt.NDArray[np.bool_]

_PART_ROWS = 1 << 18
_ROWS_AT_ONCE = 1 << 16
_PIECES_AT_ONCE = 64
_TEXT_PLAIN = ("source_uri",)

Published = Mapping[str, Sequence[Path]]
"""Table -> its published parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a run has to do with the rollups.

    Attributes:
        parts: of the coming ``instances``.
        old: of the published rollups; none of a dataset without.
        touched: keys whose rows are made anew; None for all.
    """

    parts: Sequence[Path]
    old: Published
    touched: Touched | None


def make_rollups(layout: Layout, rewriter: Rewriter, schemas: Schemas, old: Published, *, renew: bool) -> None:
    """Assemble the rollups of what ``rewriter`` assembled, where they change.

    Args:
        layout: of the dataset.
        rewriter: whose tables are whole.
        schemas: of all parts; memory.
        old: published rollups.
        renew: whether all rows are others, or there was nothing before.

    Raises:
        DatasetError: a part cannot be read, or the disk is full; nothing was changed.
    """
    parts = list_parts(layout.next / "instances") or layout.parts("instances")
    touched = rewriter.touched
    if not renew and are_current(old):
        if not touched.rows:
            return
        renew = touched.rows * 2 > count_rows(parts)
    else:
        renew = True
    scope = Scope(parts=parts, old=old, touched=None if renew else touched)
    try:
        _Maker(layout, rewriter, schemas).make(scope)
    finally:
        discard(layout.spill)


def are_current(old: Published) -> bool:
    """Whether all rollups are there, as this version of dicomflow makes them; what is damaged is made anew, too."""
    return all(bool(old[table]) and all(_is_current(part, table) for part in old[table]) for table in ROLLUPS)


def _is_current(part: Path, table: str) -> bool:
    try:
        found, made = read_schema(part), rollup_schema(table)
        return bool(found.equals(made)) and found.metadata == made.metadata
    except DatasetError:
        return False


class _Maker:
    """Reads instances once, for all three tables."""

    def __init__(self, layout: Layout, rewriter: Rewriter, schemas: Schemas) -> None:
        self._layout = layout
        self._rewriter = rewriter
        self._memory = schemas.config.memory_bytes
        self._has_geometry = {*GEOMETRY_COLUMNS} <= {*usable_columns(schemas.instances)}

    def make(self, scope: Scope) -> None:
        """Read, fold, write."""
        keys = None if scope.touched is None else {table: scope.touched.keys(table) for table in ROLLUPS}
        buckets = self._collect(scope.parts, keys)
        for table in ROLLUPS:
            wanted = None if keys is None else keys[table]
            self._write(table, self._roll_up(table, buckets[table], wanted))
            kept = [] if wanted is None else list(self._keep(table, scope.old[table], wanted))
            self._rewriter.finish(table, kept)

    def _collect(self, parts: Sequence[Path], keys: Mapping[str, pa.Array] | None) -> dict[str, Buckets]:
        share = {"series": 4, "studies": 16, "patients": 16}
        buckets = {
            table: Buckets(
                partial(_hash_key, name=f"key:{KEYS[table]}"), self._layout.spill / table, self._memory // share[table]
            )
            for table in ROLLUPS
        }
        for records in self._measure(parts, keys):
            for table in ROLLUPS:
                buckets[table].add(select_columns(records, table))
        return buckets

    def _measure(self, parts: Sequence[Path], keys: Mapping[str, pa.Array] | None) -> Iterator[pa.Table]:
        """Records of all rows with these keys; of parts that tasks measured, all rows are touched."""
        unmeasured: list[Path] = []
        for records in _gather(self._take_measured(parts, unmeasured)):
            yield records.combine_chunks()
        for rows in _gather(self._read(unmeasured, keys)):
            yield measure(rows)

    def _take_measured(self, parts: Sequence[Path], unmeasured: list[Path]) -> Iterator[pa.Table]:
        for part in parts:
            if (records := read_records(part, self._layout.staging)) is None:
                unmeasured.append(part)
            else:
                yield records

    def _read(self, parts: Sequence[Path], keys: Mapping[str, pa.Array] | None) -> Iterator[pa.Table]:
        for part in parts:
            with explained(part), _open(part) as file:
                columns = usable_columns(file.metadata.schema.to_arrow_schema())  # its own has dictionaries for text
                yield from _read_groups(file, columns, keys)

    def _roll_up(self, table: str, buckets: Buckets, keys: pa.Array | None) -> Iterator[pa.Table]:
        for records in buckets:
            rows = roll_up(records, table, has_geometry=self._has_geometry)
            yield rows if keys is None else rows.filter(pc.is_in(rows[KEYS[table]], value_set=keys))

    def _write(self, table: str, pieces: Iterator[pa.Table]) -> None:
        """Parts of a decent size, sorted."""
        waiting: list[pa.Table] = []
        for rows in pieces:
            waiting.append(rows)
            is_much = sum(one.nbytes for one in waiting) > self._memory // 8
            if is_much or sum(one.num_rows for one in waiting) > _PART_ROWS:
                self._write_part(table, waiting)
        self._write_part(table, waiting)

    def _write_part(self, table: str, waiting: list[pa.Table]) -> None:
        if waiting:
            self._rewriter.write_part(sort_rows(waiting, sort_keys(table, rollup_schema(table))), table)

    def _keep(self, table: str, old: Sequence[Path], keys: pa.Array) -> Iterator[Path]:
        """Old parts without a key that was made anew; the others are written again without it."""
        for part in old:
            is_touched = pc.is_in(read_part(part, [KEYS[table]])[KEYS[table]], value_set=keys)
            if not pc.any(is_touched).as_py():
                yield part
            else:
                self._rewriter.write_part(read_part(part).filter(pc.invert(is_touched)), table)


def _hash_key(records: pa.Table, name: str) -> Integers:
    return hash_texts(records[name])


# ---- reading ---------------------------------------------------------------------------------------------------------


def _open(part: Path) -> pq.ParquetFile:
    """Text that repeats stays in its dictionary: to compare it is to compare numbers."""
    about = pq.read_metadata(part)
    schema = about.schema.to_arrow_schema()
    coded = [field.name for field in schema if pa.types.is_string(field.type) and field.name not in _TEXT_PLAIN]
    return pq.ParquetFile(part, metadata=about, read_dictionary=coded)


def _read_groups(file: pq.ParquetFile, columns: list[str], keys: Mapping[str, pa.Array] | None) -> Iterator[pa.Table]:
    """Rows of each row group, or those with one of these keys."""
    for group in range(file.num_row_groups):
        mask = None if keys is None else _find_touched(file, group, columns, keys)
        if mask is None or mask.all():
            yield file.read_row_group(group, _find_present(file, group, columns))
        elif mask.any():
            yield file.read_row_group(group, _find_present(file, group, columns)).filter(pa.array(mask))


def _gather(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Small pieces together: what a column costs at all is paid less often, and has less memory."""
    waiting: list[pa.Table] = []
    for rows in pieces:
        waiting.append(rows)
        if len(waiting) >= _PIECES_AT_ONCE or sum(one.num_rows for one in waiting) >= _ROWS_AT_ONCE:
            yield _join(waiting)
            waiting = []
    if waiting:
        yield _join(waiting)


def _join(pieces: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(pieces, promote_options="default").unify_dictionaries() if len(pieces) > 1 else pieces[0]


def _find_present(file: pq.ParquetFile, group: int, columns: list[str]) -> list[str]:
    """Without those that are null all through, as their statistics say: in most archives that is half of them."""
    about = file.metadata.row_group(group)
    present = set()
    for index in range(about.num_columns):
        chunk = about.column(index)
        found = chunk.statistics
        if found is None or not found.has_null_count or found.null_count < chunk.num_values:
            present.add(chunk.path_in_schema.partition(".")[0])
    return [name for name in columns if name in present]


def _find_touched(file: pq.ParquetFile, group: int, columns: list[str], keys: Mapping[str, pa.Array]) -> Mask:
    """Rows that have a key that was touched, in any of the three."""
    names = {table: name for table, name in KEYS.items() if name in columns}
    rows = file.read_row_group(group, [*names.values()])
    found = np.zeros(file.metadata.row_group(group).num_rows, bool)
    for table, wanted in keys.items():
        if table in names:
            found |= _is_in(rows[names[table]].combine_chunks(), wanted)
        elif wanted.null_count:  # no row has it
            found[:] = True
    return found


def _is_in(values: pa.Array, wanted: pa.Array) -> Mask:
    """Asked once for each different value."""
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    is_wanted = np.append(
        pc.is_in(coded.dictionary, value_set=wanted).to_numpy(zero_copy_only=False), wanted.null_count > 0
    )
    found: Mask = is_wanted[coded.indices.fill_null(len(is_wanted) - 1).to_numpy()]
    return found
