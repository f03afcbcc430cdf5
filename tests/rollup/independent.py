"""The rollups once more, from the rows of instances, one group after the other with pandas and plain Python."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from dicomflow.schema.rollup import ATTRIBUTES, CONSTANT, KEYS

Row = Mapping[str, Any]


def compute(rows: list[dict[str, Any]], table: str) -> dict[Any, dict[str, Any]]:
    """Key -> what the rollup must say of it, geometry left out."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row.get(KEYS[table]), []).append(row)
    return {key: _describe(pd.DataFrame(group, dtype=object), group, table) for key, group in groups.items()}


def _describe(frame: pd.DataFrame, rows: list[dict[str, Any]], table: str) -> dict[str, Any]:
    differs = {name for name in ATTRIBUTES[table] if len(_distinct(row.get(name) for row in rows)) > 1}
    found: dict[str, Any] = {name: None if name in differs else rows[0].get(name) for name in ATTRIBUTES[table]}
    folders = [os.path.join(os.path.dirname(uri), "") for uri in frame.source_uri]
    found |= {
        "conflicts": [name for name in CONSTANT[table] if name in differs],
        "instanceCount": len(frame),
        "partial_count": int((frame.status == "partial").sum()),
        "source_size": int(frame.source_size.sum()),
        "frame_count": sum(_frames(row) for row in rows),
        "source_prefix": os.path.join(os.path.commonpath(folders), ""),
    }
    if table == "series":
        found |= {"series_size_MB": round(found["source_size"] / 1e6, 2)}
        for name in ("Content", "Series"):
            found |= _limits(name.lower(), [_moment(row, f"{name}Date", f"{name}Time") for row in rows])
    if table != "patients":
        acquired = [
            row.get("AcquisitionDateTime") or _moment(row, "AcquisitionDate", "AcquisitionTime") for row in rows
        ]
        found |= _limits("acquisition", acquired)
    if table != "series":
        modalities = sorted(_present(frame, "Modality"))
        found |= {"series_count": len(_present(frame, "SeriesInstanceUID"))}
        found |= {"ModalitiesInStudy" if table == "studies" else "modalities": modalities}
    if table == "patients":
        found |= {"study_count": len(_present(frame, "StudyInstanceUID"))}
        found |= _limits("study", [row.get("StudyDate") for row in rows])
    return found


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _present(frame: pd.DataFrame, name: str) -> set[str]:
    return set(frame[name].dropna()) if name in frame else set()


def _frames(row: Row) -> int:
    count = row.get("NumberOfFrames") or 0
    return min(count, 2**31 - 1) if count > 0 else int(row.get("Rows") is not None)


def _moment(row: Row, date: str, time: str) -> datetime | None:
    if row.get(date) is None or row.get(time) is None:
        return None
    return datetime.combine(row[date], row[time])


def _limits(name: str, values: list[Any]) -> dict[str, Any]:
    there = [value for value in values if value is not None]
    return {f"first_{name}": min(there, default=None), f"last_{name}": max(there, default=None)}


# ---- geometry --------------------------------------------------------------------------------------------------------


def measure(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Positions, spacing and gaps of a series of single frames that are all parallel; None of any other."""
    if not all(
        _is_vector(row["ImagePositionPatient"], 3) and _is_vector(row["ImageOrientationPatient"], 6) for row in rows
    ):
        return None
    turned = [row["ImageOrientationPatient"] for row in rows]
    if any(max(one) - min(one) > 1e-5 for one in zip(*turned, strict=True)) or any(_frames(row) > 1 for row in rows):
        return None
    if len({row["FrameOfReferenceUID"] for row in rows}) > 1:
        return None
    a, b, c, d, e, f = turned[0]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    if abs(math.hypot(*normal) - 1) > 1e-3:
        return None
    heights = sorted(sum(p * n for p, n in zip(row["ImagePositionPatient"], normal, strict=True)) for row in rows)
    positions = group(heights)
    gaps = [high - low for low, high in zip(positions, positions[1:], strict=False)]
    return {
        "slice_positions": positions,
        "min_slice_spacing": min(gaps, default=None),
        "max_slice_spacing": max(gaps, default=None),
        "duplicate_positions": len(rows) - len(positions),
        "even": bool(gaps) and max(gaps) - min(gaps) < 0.009 * min(gaps),
    }


def group(heights: list[float]) -> list[float]:
    """The lowest of each position; what is no more than 0.001 mm above it is at the same one."""
    found: list[float] = []
    for height in sorted(heights):
        if not found or height > found[-1] + 1e-3:
            found.append(height)
    return found


def flag(rows: list[dict[str, Any]]) -> set[str]:
    """What is said of positions that are missing, and of pixel spacing, instance by instance."""
    found = set()
    located = [row for row in rows if _has_orientation(row) and (_places(row) or _is_place(row.get(_POSITION)))]
    if not located:
        found.add("no_geometry")
    elif len(located) < len(rows):
        found.add("partial_geometry")
    if any(_frames(row) > 1 and len(_places(row)) != _frames(row) for row in located):
        found.add("no_frame_positions")
    spacings = [row.get("PixelSpacing") if _is_vector(row.get("PixelSpacing"), 2) else None for row in rows]
    if any(spacings) and any(not _is_near(one, spacings[0]) for one in spacings):
        found.add("mixed_spacing")
    return found


_POSITION = "ImagePositionPatient"


def _has_orientation(row: Row) -> bool:
    frames = row.get("FrameImageOrientationPatient")
    return all(_is_vector(one, 6) for one in frames) if frames else _is_vector(row.get("ImageOrientationPatient"), 6)


def _places(row: Row) -> list[Any]:
    """Of the frames of an object of several."""
    frames = row.get("FrameImagePositionPatient") or []
    return [one for one in frames if _is_place(one)] if _frames(row) > 1 else []


def _is_place(value: Any) -> bool:
    return _is_vector(value, 3)


def _is_near(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= 1e-4 * abs(min(a, b)) for a, b in zip(one, other, strict=True))


def _is_vector(value: Any, size: int) -> bool:
    return isinstance(value, list) and len(value) == size and all(one is not None for one in value)


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of Python values."""
    return table.to_pylist()
