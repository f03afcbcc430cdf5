"""Rows of ``series``, ``studies`` and ``patients`` from folded records.

In: all records of some keys.  Out: one row per key, with the schema of the table.  Pure.

What has no key is in the row whose key is null, so that counts add up to those of ``instances``.  A series whose instances are of
two studies is one row, with ``StudyInstanceUID`` among its conflicts; it counts in both studies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.rollup import fold
from dicomflow.rollup.measure import KEY_COLUMNS, RULES, SUMS, TIMES
from dicomflow.rollup.volume import describe_volumes
from dicomflow.schema.rollup import ATTRIBUTES, CONSTANT, KEYS, rollup_schema

Mask = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

_COUNTED = [*SUMS[:4], "source_prefix"]
_MEGABYTE = 1e6  # as idc-index has it

_RULES: Mapping[str, list[str]] = MappingProxyType(
    {
        "series": list(RULES),
        "studies": [*_COUNTED, "first_acquisition", "last_acquisition"],
        "patients": [*_COUNTED, "first_study", "last_study"],
    }
)
"""Table -> what of a record is folded for it, besides attributes."""


def select_columns(records: pa.Table, table: str) -> pa.Table:
    """Of records, what a table needs."""
    names = [*(f"key:{name}" for name in KEY_COLUMNS), *_RULES[table]]
    attributes = ATTRIBUTES[table]
    flags = [fold.DIFFERS + name for name in attributes]
    return records.select(list(dict.fromkeys([*names, *attributes, *flags])))


def roll_up(records: pa.Table, table: str, *, has_geometry: bool) -> pa.Table:
    """One row per key.

    Args:
        records: what ``select_columns`` gave; all those of each key.
        table: ``series``, ``studies`` or ``patients``.
        has_geometry: whether the profile has position and orientation: without them, nothing is known of volumes.
    """
    key = f"key:{KEYS[table]}"
    records = records.take(pc.sort_indices(records, sort_keys=[(key, "ascending")]))
    starts = fold.find_starts(records, [key])
    rules = {name: RULES[name] for name in _RULES[table]} | {key: fold.keep_first}
    found = fold.fold(records, starts, rules, list(ATTRIBUTES[table]))
    columns = {KEYS[table]: fold.column(found, key), **_attributes(found, table), **_counts(found)}
    if table == "series":
        columns |= _describe_series(found, has_geometry=has_geometry)
    else:
        columns |= _count_below(records, starts, table)
        columns |= {name: fold.column(found, name) for name in _RULES[table] if name.startswith(("first_", "last_"))}
    schema = rollup_schema(table)
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


def _attributes(found: pa.Table, table: str) -> dict[str, pa.Array]:
    """Each attribute, null where it differs, and the names of those that should not."""
    rows = np.arange(found.num_rows)
    differs = {
        name: fold.column(found, fold.DIFFERS + name).to_numpy(zero_copy_only=False) for name in ATTRIBUTES[table]
    }
    columns = {name: fold.column(found, name).take(pa.array(rows, mask=differs[name])) for name in ATTRIBUTES[table]}
    return {**columns, "conflicts": name_flags({name: differs[name] for name in CONSTANT[table]}, found.num_rows)}


def name_flags(flags: Mapping[str, Mask], count: int) -> pa.ListArray:
    """For each row, the names of the flags that it has."""
    matrix = np.stack([*flags.values()], axis=1) if flags else np.zeros((count, 0), bool)
    offsets = np.concatenate([[0], np.cumsum(matrix.sum(axis=1))])
    names = pa.array(list(flags), pa.string()).take(pa.array(np.nonzero(matrix)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names)


def _counts(found: pa.Table) -> dict[str, pa.Array]:
    counts = {name: fold.column(found, name) for name in SUMS[:4]}
    prefixes = fold.column(found, "source_prefix").to_pylist()
    return {**counts, "source_prefix": pa.array([text[: text.rfind("/") + 1] for text in prefixes], pa.string())}


# ---- series ----------------------------------------------------------------------------------------------------------


def _describe_series(found: pa.Table, *, has_geometry: bool) -> dict[str, pa.Array]:
    size = np.round(fold.column(found, "source_size").to_numpy() / _MEGABYTE, 2)
    times = {f"{end}_{name}": fold.column(found, f"{end}_{name}") for name in TIMES for end in ("first", "last")}
    return {"series_size_MB": pa.array(size), **times, **describe_volumes(found, name_flags, is_known=has_geometry)}


# ---- studies and patients --------------------------------------------------------------------------------------------


def _count_below(records: pa.Table, starts: Integers, table: str) -> dict[str, pa.Array]:
    """How many series and studies, and which modalities."""
    runs = np.repeat(np.arange(len(starts)), np.diff([*starts, records.num_rows]))
    modalities = _list_distinct(fold.column(records, "key:Modality"), runs, len(starts))
    counts = {
        name: _count_distinct(fold.column(records, f"key:{column}"), runs, len(starts))
        for name, column in (("series_count", "SeriesInstanceUID"), ("study_count", "StudyInstanceUID"))
    }
    return {**counts, "ModalitiesInStudy": modalities, "modalities": modalities}


def _count_distinct(values: pa.Array, runs: Integers, count: int) -> pa.Array:
    pairs = _find_pairs(fold.code_text(values), runs)
    return pa.array(np.bincount(pairs[:, 0], minlength=count))


def _list_distinct(values: pa.Array, runs: Integers, count: int) -> pa.ListArray:
    """The different texts of each run, in their order."""
    texts = sorted(values.unique().drop_null().to_pylist())
    codes = pc.index_in(values, value_set=pa.array(texts, pa.string())).fill_null(-1).to_numpy()
    pairs = _find_pairs(codes, runs)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(pairs[:, 0], minlength=count))])
    names = pa.array(texts, pa.string()).take(pa.array(pairs[:, 1]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names)


def _find_pairs(codes: npt.NDArray[np.integer[Any]], runs: Integers) -> Integers:
    """Which codes occur in which run, each once; -1 is none."""
    has_code = codes >= 0
    return np.unique(np.stack([runs[has_code], codes[has_code]], axis=1), axis=0)
