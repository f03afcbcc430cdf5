"""Is a series one regular volume, and why not.

In: folded records of series.  Out: the geometry columns of ``series``.  Pure; ``geometry`` measures, this says what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dicomflow.rollup import fold
from dicomflow.rollup.geometry import PARALLEL_TOLERANCE, Stacks, is_orthonormal, measure_obliquity, measure_stacks
from dicomflow.schema.rollup import IRREGULARITIES, rollup_schema

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
NameFlags = Callable[[Mapping[str, Mask], int], pa.ListArray]

_COLUMNS = [
    "obliquity_degrees",
    "slice_count",
    "slice_positions",
    "slice_spacing",
    "min_slice_spacing",
    "max_slice_spacing",
    "missing_slices",
    "duplicate_positions",
    "frames_per_position",
    "regularly_spaced_3d_volume",
    "irregularities",
]


def describe_volumes(found: pa.Table, name_flags: NameFlags, *, is_known: bool) -> dict[str, pa.Array]:
    """The geometry columns of series; all null where the profile has no positions."""
    if not is_known:
        schema = rollup_schema("series")
        return {name: pa.nulls(found.num_rows, schema.field(name).type) for name in _COLUMNS}
    orientation = _Orientation.of(found)
    flags = _flag_headers(found, orientation)
    flags["no_series"] = fold.column(found, "key:SeriesInstanceUID").is_null().to_numpy(zero_copy_only=False)
    unmeasurable = [
        "no_series",
        "no_geometry",
        "no_frame_positions",
        "invalid_orientation",
        "mixed_frame_of_reference",
        "mixed_orientation",
    ]
    can_measure = ~np.logical_or.reduce([flags[name] for name in unmeasurable])
    stacks = _measure(found, orientation.mean, can_measure)
    flags |= _flag_stacks(stacks, can_measure)
    flags = {name: flags[name] for name in IRREGULARITIES}
    is_oriented = ~(flags["no_geometry"] | flags["mixed_orientation"] | flags["invalid_orientation"])
    return {
        "obliquity_degrees": _where(measure_obliquity(orientation.mean), is_oriented),
        **_describe_stacks(stacks, can_measure),
        "regularly_spaced_3d_volume": pa.array(~np.logical_or.reduce([*flags.values()])),
        "irregularities": name_flags(flags, found.num_rows),
    }


@dataclass(frozen=True, slots=True)
class _Orientation:
    """Of each series: the mean of its cosines (n x 6), and whether they vary."""

    mean: Floats
    varies: Mask

    @classmethod
    def of(cls, found: pa.Table) -> _Orientation:
        lowest, highest = (_stack(found, [f"{end}_cosine{index}" for index in range(6)]) for end in ("min", "max"))
        varies = (highest - lowest > PARALLEL_TOLERANCE).any(axis=1)
        return cls((lowest + highest) / 2, np.asarray(varies))


def _stack(found: pa.Table, names: list[str]) -> Floats:
    return np.stack([fold.column(found, name).to_numpy(zero_copy_only=False).astype(float) for name in names], axis=1)


def _flag_headers(found: pa.Table, orientation: _Orientation) -> dict[str, Mask]:
    """What single headers, and attributes that differ, say."""
    number = {name: fold.column(found, name).to_numpy() for name in _SUMMED}
    differs = {
        name: fold.column(found, fold.DIFFERS + name).to_numpy(zero_copy_only=False)
        for name in ("FrameOfReferenceUID", "Rows", "Columns")
    }
    has_any = number["located"] > 0
    lowest, highest = (_stack(found, [f"{end}_spacing0", f"{end}_spacing1"]) for end in ("min", "max"))
    return {
        "localizer": number["localizers"] > 0,
        "mosaic": number["mosaics"] > 0,
        "no_geometry": ~has_any,
        "partial_geometry": has_any & (number["unlocated"] > 0),
        "no_frame_positions": number["unframed"] > 0,
        "invalid_orientation": has_any & ~orientation.varies & ~is_orthonormal(orientation.mean),
        "mixed_frame_of_reference": has_any & differs["FrameOfReferenceUID"],
        "mixed_orientation": orientation.varies,
        "mixed_size": differs["Rows"] | differs["Columns"],
        "mixed_spacing": (highest - lowest > PARALLEL_TOLERANCE * np.abs(lowest)).any(axis=1)
        | ((number["spaced"] > 0) & (number["unspaced"] > 0)),
    }


_SUMMED = ("localizers", "mosaics", "located", "unlocated", "unframed", "spaced", "unspaced")


def _measure(found: pa.Table, orientation: Floats, can_measure: Mask) -> Stacks:
    """Measure those that can be; the others have no positions."""
    lists = fold.column(found, "positions")
    bounds = lists.offsets.to_numpy().astype(np.int64)
    sizes = np.diff(bounds) // 3
    values = lists.values.to_numpy(zero_copy_only=False)[bounds[0] : bounds[-1]].reshape(-1, 3)
    offsets = np.concatenate([[0], np.cumsum(np.where(can_measure, sizes, 0))])
    return measure_stacks(offsets, values[np.repeat(can_measure, sizes)], np.nan_to_num(orientation))


def _flag_stacks(stacks: Stacks, can_measure: Mask) -> dict[str, Mask]:
    found = {
        "single_slice": stacks.count == 1,
        "duplicate_position": stacks.frames > stacks.count,
        "missing_slice": stacks.gaps.missing > 0,
        "irregular_spacing": stacks.gaps.is_irregular,
        "misaligned": stacks.is_shifted & ~stacks.is_sheared,
        "tilted_gantry": stacks.is_sheared,
    }
    return {name: mask & can_measure for name, mask in found.items()}


def _describe_stacks(stacks: Stacks, can_measure: Mask) -> dict[str, pa.Array]:
    is_counted = can_measure & ~stacks.gaps.is_irregular
    positions = pa.ListArray.from_arrays(pa.array(stacks.offsets, pa.int32()), pa.array(stacks.distances))
    return {
        "slice_count": _where(stacks.count, can_measure),
        "slice_positions": positions.take(pa.array(np.arange(len(can_measure)), mask=~can_measure)),
        "slice_spacing": _where(stacks.gaps.spacing, ~np.isnan(stacks.gaps.spacing)),
        "min_slice_spacing": _where(stacks.gaps.lowest, ~np.isnan(stacks.gaps.lowest)),
        "max_slice_spacing": _where(stacks.gaps.highest, ~np.isnan(stacks.gaps.highest)),
        "missing_slices": _where(stacks.gaps.missing, is_counted),
        "duplicate_positions": _where(stacks.frames - stacks.count, can_measure),
        "frames_per_position": _where(stacks.frames_per_position, stacks.frames_per_position > 0),
    }


def _where(values: npt.NDArray[np.generic], is_there: Mask) -> pa.Array:
    return pa.array(values, mask=~is_there)
