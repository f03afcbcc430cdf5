"""Fold neighbouring records that have the same key into one.

In: a table of records, where each run of equal keys begins, what to do with each column.  Out: one record per run.  Pure.

Folding folded records gives what folding all at once gives, so records of one key may come from any number of parts.
An attribute is kept with a flag that says whether it differs somewhere: a missing value beside a present one is a difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Starts: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Fold: TypeAlias = Callable[[pa.Array, Starts], pa.Array]

DIFFERS = "differs:"
"""Before the name of an attribute: the column that says whether its values are not all the same."""


def find_starts(records: pa.Table, keys: list[str]) -> Starts:
    """Where a record has another key than the one before it; the first included."""
    if not records.num_rows:
        return np.zeros(0, np.int64)
    changed = np.zeros(records.num_rows - 1, bool)
    for key in keys:
        changed |= find_changes(column(records, key))
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


def fold(records: pa.Table, starts: Starts, rules: Mapping[str, Fold], attributes: list[str]) -> pa.Table:
    """One record per run.

    Args:
        records: what ``measure`` or an earlier fold gave.
        starts: see ``find_starts``.
        rules: how a column is folded.
        attributes: columns whose first value is kept, with whether others differ.
    """
    columns: dict[str, pa.Array] = {}
    for name, rule in rules.items():
        columns[name] = rule(column(records, name), starts)
    is_inside = np.ones(max(0, records.num_rows - 1), bool)  # of a run: not between two of them
    is_inside[starts[1:] - 1] = False
    for name in attributes:
        values = column(records, name)
        columns[name] = keep_first(values, starts)
        columns[DIFFERS + name] = pa.array(_differ(records, name, values, starts, is_inside))
    return pa.table(columns)


def _differ(records: pa.Table, name: str, values: pa.Array, starts: Starts, is_inside: Mask) -> Mask:
    """For each run, whether a value is not that of the record before it, or was found to differ by an earlier fold."""
    found = np.zeros(len(starts), bool)
    if values.null_count < len(values):
        changed = np.flatnonzero(find_changes(values) & is_inside)
        found[np.searchsorted(starts, changed + 1, "right") - 1] = True
    if DIFFERS + name in records.column_names and len(starts):
        found |= np.logical_or.reduceat(column(records, DIFFERS + name).to_numpy(zero_copy_only=False), starts)
    return found


def column(records: pa.Table, name: str) -> pa.Array:
    """A column as one array."""
    values = records[name]
    return values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()


# ---- rules -----------------------------------------------------------------------------------------------------------


def keep_first(values: pa.Array, starts: Starts) -> pa.Array:
    """The first value of each run, as plain text where it was in a dictionary."""
    found = values.take(pa.array(starts))
    return found.cast(found.type.value_type) if pa.types.is_dictionary(found.type) else found


def add_up(values: pa.Array, starts: Starts) -> pa.Array:
    """The sum of whole numbers; a missing one is nothing."""
    return pa.array(np.add.reduceat(values.fill_null(0).to_numpy(), starts) if len(starts) else np.zeros(0, np.int64))


def keep_lowest(values: pa.Array, starts: Starts) -> pa.Array:
    """The lowest value that is there."""
    return _keep_extreme(values, starts, np.minimum, lowest=True)


def keep_highest(values: pa.Array, starts: Starts) -> pa.Array:
    """The highest value that is there."""
    return _keep_extreme(values, starts, np.maximum, lowest=False)


def _keep_extreme(values: pa.Array, starts: Starts, choose: np.ufunc, *, lowest: bool) -> pa.Array:
    if not len(starts) or values.null_count == len(values):
        return pa.nulls(len(starts), values.type)
    numbers, is_valid = to_numbers(values)
    if not values.null_count:
        return pa.array(choose.reduceat(numbers, starts)).view(values.type)
    limits = np.finfo(numbers.dtype) if numbers.dtype.kind == "f" else np.iinfo(numbers.dtype)
    numbers = np.where(is_valid, numbers, limits.max if lowest else limits.min).astype(numbers.dtype)
    found = pa.array(choose.reduceat(numbers, starts), mask=~np.logical_or.reduceat(is_valid, starts))
    return found.view(values.type)


def join_lists(values: pa.Array, starts: Starts) -> pa.Array:
    """All items, in their order; a null list is an empty one."""
    offsets = values.offsets.to_numpy()
    bounds = np.append(offsets[starts], offsets[-1:]) if len(starts) else np.zeros(1, np.int32)
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), values.values)


def keep_prefix(values: pa.Array, starts: Starts) -> pa.Array:
    """What all texts begin with; that of the lowest and the highest is that of all."""
    texts, bounds = values.to_pylist(), [*starts.tolist(), len(values)]
    runs = (texts[bounds[index] : bounds[index + 1]] for index in range(len(starts)))
    prefixes = [os.path.commonprefix([min(run), max(run)]) for run in runs]  # noqa: RUF071 - by character, on purpose
    return pa.array(prefixes, pa.string())


# ---- what changes ----------------------------------------------------------------------------------------------------


def find_changes(values: pa.Array) -> Mask:
    """For each value but the first, whether it is another than the one before it."""
    if pa.types.is_list(values.type):
        return _find_list_changes(values)
    if is_text(values.type):
        codes = code_text(values)
        return np.asarray(codes[1:] != codes[:-1])
    numbers, is_valid = to_numbers(values)
    if not values.null_count:
        return np.asarray(numbers[1:] != numbers[:-1])
    return np.asarray((numbers[1:] != numbers[:-1]) | (is_valid[1:] != is_valid[:-1]))


def to_numbers(values: pa.Array) -> tuple[npt.NDArray[Any], Mask]:
    """Numbers that are equal where the values are, and which values are there; those that are not are all 0."""
    if is_text(values.type):
        numbers = code_text(values)
        return numbers, numbers >= 0
    if pa.types.is_temporal(values.type):
        values = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
    if not values.null_count:
        return values.to_numpy(zero_copy_only=False), np.ones(len(values), bool)
    is_valid = values.is_valid().to_numpy(zero_copy_only=False)
    return values.fill_null(0).to_numpy(zero_copy_only=False), is_valid


def is_text(kind: pa.DataType) -> bool:
    """Whether this is text, dictionary-encoded or not."""
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def code_text(values: pa.Array) -> npt.NDArray[np.integer[Any]]:
    """A number for each different text, -1 for none; a dictionary that a file brings may hold a text twice, or null."""
    if not pa.types.is_dictionary(values.type):
        return _indices(values.dictionary_encode())
    distinct = values.dictionary.dictionary_encode()
    if len(distinct.dictionary) == len(values.dictionary):
        return _indices(values)
    return np.asarray(np.append(_indices(distinct), -1)[_indices(values)])


def _indices(values: pa.DictionaryArray) -> npt.NDArray[np.integer[Any]]:
    indices = values.indices
    if indices.null_count:
        indices = indices.cast(pa.int32()).fill_null(-1)
    found: npt.NDArray[np.integer[Any]] = indices.to_numpy(zero_copy_only=False)
    return found


def _differ_below(items: npt.NDArray[Any], size: int) -> Mask:
    """Of lists of one size, which differ from the one above."""
    unequal = items[size:] != items[:-size]
    found: Mask = np.logical_or.reduce([unequal[start::size] for start in range(size)])
    return found


def _find_list_changes(values: pa.ListArray) -> Mask:
    """Lists are compared item by item, all pairs of neighbours of one length at once."""
    offsets, (items, has_item) = values.offsets.to_numpy().astype(np.int64), to_numbers(values.values)
    is_valid = values.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.where(is_valid, np.diff(offsets), -1)
    if (size := lengths[0] if len(lengths) else 0) > 0 and (lengths == size).all():
        shape = slice(offsets[0], offsets[-1])
        return _differ_below(items[shape], size) | _differ_below(has_item[shape], size)
    changed: Mask = lengths[1:] != lengths[:-1]
    pairs = np.flatnonzero(~changed & (lengths[1:] > 0))
    if len(pairs):
        sizes = lengths[pairs]
        firsts = np.cumsum(sizes) - sizes
        within = np.arange(sizes.sum()) - np.repeat(firsts, sizes)
        one, other = np.repeat(offsets[pairs], sizes) + within, np.repeat(offsets[pairs + 1], sizes) + within
        unequal = (items[one] != items[other]) | (has_item[one] != has_item[other])
        changed[pairs] = np.logical_or.reduceat(unequal, firsts)
    return changed
