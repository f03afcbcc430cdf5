"""Turn rows of ``instances`` into records that can be folded.

In: rows with the columns of ``COLUMNS``, as far as the profile has them.  Out: one record per row: keys, attributes as they are,
numbers to add, limits, positions.  Pure; a column that is missing, or is of another type than the dictionary says, is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dicomflow.rollup import fold
from dicomflow.rollup.frames import find_frames, to_vectors
from dicomflow.schema.column import SOURCE_FIELDS, make_column
from dicomflow.schema.rollup import ATTRIBUTES, KEYS

Mask = npt.NDArray[np.bool_]

KEY_COLUMNS = ("SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality")
"""Records are folded only where all of these are equal."""

ALL_ATTRIBUTES = list(dict.fromkeys(name for names in ATTRIBUTES.values() for name in names))

GEOMETRY_COLUMNS = ("ImagePositionPatient", "ImageOrientationPatient")

_OTHER_COLUMNS = (
    *GEOMETRY_COLUMNS,
    "FrameImagePositionPatient",
    "FrameImageOrientationPatient",
    "NumberOfFrames",
    "ImageType",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
)

COLUMNS = list(dict.fromkeys([*KEY_COLUMNS, *ALL_ATTRIBUTES, *_OTHER_COLUMNS]))
"""What is read, with ``source_uri``, ``source_size`` and ``status``."""

SOURCE_COLUMNS = ("source_uri", "source_size", "status")

_SPACING = ("spacing0", "spacing1")
_COSINES = tuple(f"cosine{index}" for index in range(6))
_MOST_FRAMES = 2**31 - 1  # IS, PS3.5 6.2

SUMS = [
    "instanceCount",
    "frame_count",
    "partial_count",
    "source_size",
    "located",
    "unlocated",
    "unframed",
    "spaced",
    "unspaced",
    "localizers",
    "mosaics",
]
TIMES = ("acquisition", "content", "series")

RULES: Mapping[str, fold.Fold] = MappingProxyType(
    {
        **{f"key:{name}": fold.keep_first for name in KEY_COLUMNS},
        **dict.fromkeys(SUMS, fold.add_up),
        **{f"first_{name}": fold.keep_lowest for name in (*TIMES, "study")},
        **{f"last_{name}": fold.keep_highest for name in (*TIMES, "study")},
        **{f"min_{name}": fold.keep_lowest for name in (*_SPACING, *_COSINES)},
        **{f"max_{name}": fold.keep_highest for name in (*_SPACING, *_COSINES)},
        "positions": fold.join_lists,
        "source_prefix": fold.keep_prefix,
    }
)
"""How each column of a record but the attributes is folded."""


@cache
def expected_type(name: str) -> pa.DataType:
    """The type that a column of this name has in the built-in profiles."""
    if name.startswith("Frame") and name.endswith("Patient"):  # one list for each frame
        return pa.list_(pa.list_(pa.float64()))
    source = {field.name: field.type for field in SOURCE_FIELDS}
    return source.get(name) or make_column(name).arrow_type


def usable_columns(schema: pa.Schema) -> list[str]:
    """Which of the columns are there, and are what they are called: a profile may name anything anything."""
    wanted = [*COLUMNS, *SOURCE_COLUMNS]
    return [name for name in wanted if name in schema.names and schema.field(name).type == expected_type(name)]


def measure(rows: pa.Table) -> pa.Table:
    """One record per row, folded where neighbours have the same key.

    Args:
        rows: some of ``COLUMNS``, and ``SOURCE_COLUMNS``; text may be dictionary-encoded.
    """
    rows = _complete(rows)
    columns: dict[str, pa.Array] = {f"key:{name}": rows[name] for name in KEY_COLUMNS}
    columns |= {name: rows[name] for name in ALL_ATTRIBUTES}
    columns |= _count(rows) | _find_times(rows) | _locate(rows)
    records = pa.table(columns)
    starts = fold.find_starts(records, [f"key:{name}" for name in KEY_COLUMNS])
    return fold.fold(records, starts, RULES, ALL_ATTRIBUTES)


def _complete(rows: pa.Table) -> pa.Table:
    """All columns, null where the profile has none."""
    columns = {
        name: fold.column(rows, name) if name in rows.column_names else pa.nulls(rows.num_rows, expected_type(name))
        for name in [*COLUMNS, *SOURCE_COLUMNS]
    }
    return pa.table(columns)


def _count(rows: pa.Table) -> dict[str, pa.Array]:
    kinds = fold.column(rows, "ImageType")
    ones = np.ones(rows.num_rows, np.int64)
    return {
        "instanceCount": pa.array(ones),
        "source_size": fold.column(rows, "source_size").fill_null(0),
        "partial_count": pa.array(_is(rows, "status", "partial").astype(np.int64)),
        "frame_count": pa.array(count_frames(rows)),
        "localizers": pa.array(has_item(kinds, "LOCALIZER").astype(np.int64)),
        "mosaics": pa.array(has_item(kinds, "MOSAIC").astype(np.int64)),
        "source_prefix": fold.column(rows, "source_uri"),
    }


def count_frames(rows: pa.Table) -> npt.NDArray[np.int64]:
    """NumberOfFrames; an image without it has one, what is no image has none."""
    told: npt.NDArray[np.int64] = fold.column(rows, "NumberOfFrames").fill_null(0).to_numpy(zero_copy_only=False)
    is_image = fold.column(rows, "Rows").is_valid().to_numpy(zero_copy_only=False)
    return np.asarray(np.where(told > 0, np.minimum(told, _MOST_FRAMES), is_image.astype(np.int64)))


def has_item(lists: pa.ListArray, item: str) -> Mask:
    """For each list of texts, whether this one is among them."""
    found = np.zeros(len(lists), bool)
    is_it = _as_mask(pc.equal(lists.flatten(), item))
    found[pc.list_parent_indices(lists).to_numpy()[is_it]] = True
    return found


def _is(rows: pa.Table, name: str, text: str) -> Mask:
    return _as_mask(pc.equal(fold.column(rows, name), text))


def _as_mask(values: pa.Array) -> Mask:
    mask: Mask = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return mask


# ---- times -----------------------------------------------------------------------------------------------------------


def _find_times(rows: pa.Table) -> dict[str, pa.Array]:
    """Dates with times; a time without a date is no moment, and neither is a date alone."""
    acquired = fold.column(rows, "AcquisitionDateTime")
    moments = {name: _join_time(rows, f"{name.title()}Date", f"{name.title()}Time") for name in TIMES}
    moments["acquisition"] = pc.coalesce(acquired, moments["acquisition"])
    days = fold.column(rows, "StudyDate")
    limits = {f"{end}_{name}": moment for name, moment in moments.items() for end in ("first", "last")}
    return {**limits, "first_study": days, "last_study": days}


def _join_time(rows: pa.Table, date: str, time: str) -> pa.Array:
    day = fold.column(rows, date).cast(pa.timestamp("us")).view(pa.int64())
    moment: pa.Array = pc.add(day, fold.column(rows, time).view(pa.int64())).view(pa.timestamp("us"))
    return moment


# ---- geometry --------------------------------------------------------------------------------------------------------


def _locate(rows: pa.Table) -> dict[str, pa.Array]:
    frames = find_frames(
        count_frames(rows),
        {name: fold.column(rows, name) for name in _OTHER_COLUMNS if name.endswith("Patient")},
    )
    limits = {}
    for index, name in enumerate(_COSINES):
        lowest = limits[f"min_{name}"] = pa.array(frames.lowest[:, index], from_pandas=True)
        is_one = frames.highest is frames.lowest
        limits[f"max_{name}"] = lowest if is_one else pa.array(frames.highest[:, index], from_pandas=True)
    spacing = to_vectors(fold.column(rows, "PixelSpacing"), 2)
    for index, name in enumerate(_SPACING):
        limits[f"min_{name}"] = limits[f"max_{name}"] = pa.array(spacing[:, index], from_pandas=True)
    return {
        **limits,
        "located": pa.array(frames.is_located.astype(np.int64)),
        "unlocated": pa.array((~frames.is_located).astype(np.int64)),
        "unframed": pa.array(frames.is_unframed.astype(np.int64)),
        "spaced": pa.array((~np.isnan(spacing[:, 0])).astype(np.int64)),
        "unspaced": pa.array(np.isnan(spacing[:, 0]).astype(np.int64)),
        "positions": frames.positions,
    }


assert {*KEYS.values()} <= {*KEY_COLUMNS}
