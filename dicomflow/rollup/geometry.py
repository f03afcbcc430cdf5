"""Where the slices of a series lie: positions along the normal, spacing, gaps, duplicates, shifts.

In: positions and an orientation per series.  Out: numbers per series.  Pure numpy; all series at once, no loop over them.

DICOM names no tolerance for any of this.  Those here are what others who build volumes take:

- spacing: 1 % of it (highdicom's ``_DEFAULT_SPACING_RELATIVE_TOLERANCE``, and the query of idc-index's volume_geometry_index;
  ITK warns from 0.01 % on);
- the same position: 0.001 mm from the lowest of it (3D Slicer's tolerance for irregular volumes), so that many near each other do
  not chain;
- shifts within the plane: 0.1 mm, orientation as unit vectors: 1 % (both of idc-index's volume_geometry_index);
- parallel, and of one pixel spacing: 0.0001 of a cosine or of the spacing, which is 0.05 mm at the far end of 512 pixels of 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SPACING_TOLERANCE = 0.01
SAME_POSITION = 0.001  # mm
IN_PLANE_TOLERANCE = 0.1  # mm
UNIT_TOLERANCE = 0.01
PARALLEL_TOLERANCE = 0.0001

FARTHEST = 1e6  # mm: a coordinate beyond is no place in a patient


@dataclass(frozen=True, slots=True)
class Gaps:
    """Between neighbouring positions of a series, one value per series.

    Attributes:
        spacing: NaN for fewer than two positions, and where gaps are no multiples of it.
        lowest, highest: NaN for fewer than two positions.
        missing: slices that are missing in gaps that are multiples of the spacing.
        is_irregular: gaps are no multiples of the commonest one.
    """

    spacing: Floats
    lowest: Floats
    highest: Floats
    missing: Integers
    is_irregular: Mask

    @classmethod
    def none(cls, series: int) -> Gaps:
        """Of series without any."""
        spacing, lowest, highest = (np.full(series, np.nan) for _ in range(3))
        return cls(spacing, lowest, highest, np.zeros(series, np.int64), np.zeros(series, bool))


@dataclass(frozen=True, slots=True)
class Stacks:
    """What was measured, one value per series; NaN or 0 where there is nothing to measure.

    Attributes:
        offsets: distances of series ``i`` are those from ``offsets[i]`` to ``offsets[i + 1]``.
        distances: along the normal, in mm, ascending, each position once.
        frames: at all positions together.
        frames_per_position: 0 where they have different numbers of frames.
        gaps: between them.
        is_shifted: positions lie beside each other in the plane ...
        is_sheared: ... by as much from each slice to the next.
    """

    offsets: Integers
    distances: Floats
    frames: Integers
    frames_per_position: Integers
    gaps: Gaps
    is_shifted: Mask
    is_sheared: Mask

    @property
    def count(self) -> Integers:
        """Positions of each series."""
        return np.diff(self.offsets)


def cross(orientation: Floats) -> Floats:
    """The normals of orientations (n x 6): row direction times column direction, not normalised."""
    found: Floats = np.cross(orientation[:, :3], orientation[:, 3:])
    return found


def is_orthonormal(orientation: Floats) -> Mask:
    """Whether directions of rows and columns (n x 6) are unit vectors at right angles (PS3.3 C.7.6.2.1.1)."""
    row, column = (np.linalg.norm(half, axis=1) for half in (orientation[:, :3], orientation[:, 3:]))
    normal = np.linalg.norm(cross(orientation), axis=1)
    sizes = np.stack([row, column, normal])
    return np.asarray((np.abs(sizes - 1) <= UNIT_TOLERANCE).all(axis=0))


def measure_obliquity(orientation: Floats) -> Floats:
    """The angle between the normal and the nearest axis of the patient, in degrees."""
    normal = np.abs(cross(orientation))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = normal.max(axis=1, initial=0) / np.linalg.norm(normal, axis=1)
    return np.asarray(np.round(np.degrees(np.arccos(np.clip(cosine, -1, 1))), 2))


def measure_stacks(offsets: Integers, positions: Floats, orientation: Floats) -> Stacks:
    """Measure all series.

    Args:
        offsets: positions of series ``i`` are those from ``offsets[i]`` to ``offsets[i + 1]``.
        positions: of the upper left pixel of each frame, in mm (n x 3).
        orientation: of each series: direction of its rows, then of its columns (series x 6).
    """
    series = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    row, column = orientation[series, :3], orientation[series, 3:]
    distance, across, down = (_dot(positions, axis) for axis in (np.cross(row, column), row, column))
    order = np.lexsort((distance, series))
    distance, across, down = distance[order], across[order], down[order]
    place = _find_places(series, distance)
    owner = series[place]
    count = np.bincount(owner, minlength=len(offsets) - 1)
    shifted, sheared = _look_for_shifts(offsets, distance, across, down)
    return Stacks(
        offsets=_to_offsets(count),
        distances=distance[place],
        frames=np.diff(offsets),
        frames_per_position=_count_frames(place, len(series), _to_offsets(count)),
        is_shifted=shifted,
        is_sheared=sheared,
        gaps=_measure_gaps(owner, distance[place], len(offsets) - 1),
    )


def _find_places(series: Integers, distance: Floats) -> Integers:
    """Where each position begins: what lies farther than ``SAME_POSITION`` from the first of one begins the next."""
    is_apart = np.append(True, (series[1:] != series[:-1]) | (np.diff(distance) > SAME_POSITION))[: len(series)]
    begins = np.flatnonzero(is_apart)
    ends = np.append(begins[1:], len(series))[: len(begins)]
    more: list[int] = []
    for chain in np.flatnonzero(distance[ends - 1] - distance[begins] > SAME_POSITION).tolist():  # hardly any
        begin, inside = int(begins[chain]), distance[begins[chain] : ends[chain]]
        place = 0
        while (place := int(np.searchsorted(inside, inside[place] + SAME_POSITION, "right"))) < len(inside):
            more.append(begin + place)
    return np.sort(np.append(begins, np.array(more, np.int64)))


def _dot(one: Floats, other: Floats) -> Floats:
    found: Floats = np.einsum("ij,ij->i", one, other)
    return found


def _to_offsets(count: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(count)])


def _count_frames(place: Integers, frames: int, offsets: Integers) -> Integers:
    """How many frames each position of a series has; 0 where it is not the same number."""
    has_any = np.diff(offsets) > 0
    found = np.zeros(len(offsets) - 1, np.int64)
    sizes, starts = np.diff(np.append(place, frames)), offsets[:-1][has_any]
    if len(starts):
        lowest, highest = np.minimum.reduceat(sizes, starts), np.maximum.reduceat(sizes, starts)
        found[has_any] = np.where(lowest == highest, lowest, 0)
    return found


def _measure_gaps(owner: Integers, distances: Floats, series: int) -> Gaps:
    """Gaps against the commonest one, which the lower median is as long as most gaps are one spacing."""
    found = Gaps.none(series)
    is_gap = owner[1:] == owner[:-1]
    gap, owner = np.diff(distances)[is_gap], owner[1:][is_gap]
    count = np.bincount(owner, minlength=series)
    has_any = np.flatnonzero(count)
    if not len(has_any):
        return found
    starts, sizes = _to_offsets(count)[has_any], count[has_any]
    ascending = gap[np.lexsort((gap, owner))]
    found.lowest[has_any], found.highest[has_any] = ascending[starts], ascending[starts + sizes - 1]
    steps = np.rint(gap / np.repeat(ascending[starts + (sizes - 1) // 2], sizes))
    spacing = np.add.reduceat(gap, starts) / np.add.reduceat(steps, starts)
    expected = np.repeat(spacing, sizes)
    is_off = (steps < 1) | (np.abs(gap - steps * expected) > SPACING_TOLERANCE * expected)
    is_irregular = np.logical_or.reduceat(is_off, starts)
    found.is_irregular[has_any] = is_irregular
    found.spacing[has_any] = np.where(is_irregular, np.nan, spacing)
    found.missing[has_any] = np.where(is_irregular, 0, np.add.reduceat(steps, starts) - sizes)
    return found


def _look_for_shifts(offsets: Integers, distance: Floats, across: Floats, down: Floats) -> tuple[Mask, Mask]:
    """Whether slices lie beside each other in the plane, and whether they do so along one line."""
    count = np.diff(offsets)
    has_any = np.flatnonzero(count)
    shifted, sheared = np.zeros(len(count), bool), np.zeros(len(count), bool)
    if not len(has_any):
        return shifted, sheared
    first, last, sizes = offsets[:-1][has_any], offsets[1:][has_any] - 1, count[has_any]
    span = distance[last] - distance[first]
    is_moved, is_straight = np.zeros(len(has_any), bool), span > SAME_POSITION
    for shift in (across, down):
        extent = np.maximum.reduceat(shift, first) - np.minimum.reduceat(shift, first)
        is_moved |= extent >= IN_PLANE_TOLERANCE
        slope = (shift[last] - shift[first]) / np.where(span > SAME_POSITION, span, 1)
        line = np.repeat(shift[first], sizes) + (distance - np.repeat(distance[first], sizes)) * np.repeat(slope, sizes)
        is_straight &= np.maximum.reduceat(np.abs(shift - line), first) < IN_PLANE_TOLERANCE
    shifted[has_any], sheared[has_any] = is_moved, is_moved & is_straight
    return shifted, sheared
