"""Where the frames of instances lie: one position of a single frame, one for each frame of several.

In: columns of positions and orientations.  Out: ``Frames``.  Pure; what is no place in space is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.rollup.geometry import FARTHEST

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Frames:
    """One value per instance.

    Attributes:
        positions: x, y, z of each frame, one behind the other, in mm; none where they are not known.
        lowest, highest: of each of the six cosines of the orientation, over the frames (n x 6); NaN where it is not located.
        is_located: it has an orientation, and a position, be it that of one of its frames.
        is_unframed: it is located and has several frames, but where each of them lies is not known.
    """

    positions: pa.ListArray
    lowest: Floats
    highest: Floats
    is_located: Mask
    is_unframed: Mask


def find_frames(count: Integers, columns: Mapping[str, pa.Array]) -> Frames:
    """Bring single frames and several ones (PS3.3 C.7.6.16.2.3, C.7.6.16.2.4) together.

    Args:
        count: frames of each instance.
        columns: ``ImagePositionPatient``, ``ImageOrientationPatient``, and the same of each frame, ``Frame...``.
    """
    position = to_vectors(columns["ImagePositionPatient"], 3)
    lowest = highest = to_vectors(columns["ImageOrientationPatient"], 6)
    many, bounds = _to_frame_vectors(columns["FrameImagePositionPatient"], 3)
    turned, turned_bounds = _to_frame_vectors(columns["FrameImageOrientationPatient"], 6)
    if len(turned):
        lowest = _fold_frames(lowest, turned, turned_bounds, np.minimum)
        highest = _fold_frames(highest, turned, turned_bounds, np.maximum)
    is_oriented, has_position = _is_there(lowest), _is_there(position)
    has_all = (np.diff(bounds) == count) & (count > 1)
    has_some = np.zeros(len(count), bool)
    if len(many):
        has_all &= _is_there(_fold_frames(position, many, bounds, np.minimum))
        owner = np.repeat(np.arange(len(count)), np.diff(bounds))
        has_some[owner[_is_there(many)]] = True
    is_located = is_oriented & (has_position | (has_some & (count > 1)))
    single = is_located & (count <= 1)
    if not is_located.all():
        is_one = highest is lowest
        lowest = np.where(is_located[:, None], lowest, np.nan)
        highest = lowest if is_one else np.where(is_located[:, None], highest, np.nan)
    return Frames(
        positions=_join(position, single, many, bounds, has_all & is_located),
        lowest=lowest,
        highest=highest,
        is_located=is_located,
        is_unframed=is_located & ~single & ~has_all,
    )


def to_vectors(lists: pa.ListArray, size: int) -> Floats:
    """Lists of ``size`` numbers as rows; NaN for any other list, and where a number is missing or beyond all reason."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    if not lists.null_count and (np.diff(offsets) == size).all():
        items: Floats = lists.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
        if _is_near(items.reshape(-1, size)).all():
            return items.reshape(-1, size)  # as nearly always
    found = np.full((len(lists), size), np.nan)
    is_whole = lists.is_valid().to_numpy(zero_copy_only=False) & (np.diff(offsets) == size)
    if is_whole.any():
        items = lists.values.to_numpy(zero_copy_only=False)
        vectors = items[offsets[:-1][is_whole][:, None] + np.arange(size)]
        is_far = ~_is_near(vectors)
        vectors[is_far] = np.nan
        found[is_whole] = vectors
    return found


def _is_near(vectors: Floats) -> Mask:
    """Numbers that can be places; NaN is none."""
    found: Mask = np.logical_and.reduce([np.abs(one) <= FARTHEST for one in vectors.T])
    return found


def _is_there(vectors: Floats) -> Mask:
    """Vectors have all of their numbers or none; of frames, NaN may have come in one number alone."""
    found: Mask = ~np.logical_or.reduce([np.isnan(vectors[:, index]) for index in range(vectors.shape[1])])
    return found


def _to_frame_vectors(lists: pa.ListArray, size: int) -> tuple[Floats, Integers]:
    """A vector for each frame, and where the frames of each instance begin and end."""
    if lists.null_count == len(lists):
        return np.zeros((0, size)), np.zeros(len(lists) + 1, np.int64)
    inner = lists.flatten()  # leaves out what a null stands before
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    return to_vectors(inner, size), np.concatenate([[0], np.cumsum(lengths)])


def _fold_frames(own: Floats, frames: Floats, bounds: Integers, choose: np.ufunc) -> Floats:
    """Over the frames of each instance; its own value where it has no frames.  NaN in one frame is NaN in all."""
    found, has_any = own, np.diff(bounds) > 0
    if has_any.any():
        found = own.copy()
        found[has_any] = choose.reduceat(frames, bounds[:-1][has_any], axis=0)
    return found


def _join(single: Floats, is_single: Mask, many: Floats, bounds: Integers, is_many: Mask) -> pa.ListArray:
    if not is_many.any():
        offsets = np.concatenate([[0], np.cumsum(is_single)]) * 3
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(single[is_single].ravel()))
    sizes = np.where(is_many, np.diff(bounds), is_single)
    offsets = np.concatenate([[0], np.cumsum(sizes)]) * 3
    vectors = np.empty((int(sizes.sum()), 3))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    from_single = is_single[owner]
    vectors[from_single] = single[is_single]
    vectors[~from_single] = many[np.repeat(is_many, np.diff(bounds))]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(vectors.ravel()))
