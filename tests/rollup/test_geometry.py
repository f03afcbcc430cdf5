"""Stacks of slices, all at once, against one after the other in plain Python."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from dicomflow.rollup import geometry

from .independent import group

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.96, -0.28)

Point = tuple[float, float, float]


def measure(*stacks: tuple[tuple[float, ...], list[Point]]) -> geometry.Stacks:
    offsets = np.concatenate([[0], np.cumsum([len(points) for _, points in stacks])]).astype(np.int64)
    positions = np.array([point for _, points in stacks for point in points], float).reshape(-1, 3)
    return geometry.measure_stacks(offsets, positions, np.array([orientation for orientation, _ in stacks], float))


def normal(orientation: tuple[float, ...]) -> Point:
    a, b, c, d, e, f = orientation
    return b * f - c * e, c * d - a * f, a * e - b * d


def along(orientation: tuple[float, ...], distances: list[float], origin: Point = (-100.0, -90.0, 30.0)) -> list[Point]:
    axis = normal(orientation)
    return [tuple(o + d * n for o, n in zip(origin, axis, strict=True)) for d in distances]  # type: ignore[misc]


def one(stack: tuple[tuple[float, ...], list[Point]]) -> dict[str, Any]:
    """What is measured of one series."""
    found = measure(stack)
    gaps = found.gaps
    return {
        "count": int(found.count[0]),
        "spacing": None if math.isnan(gaps.spacing[0]) else round(float(gaps.spacing[0]), 6),
        "missing": int(gaps.missing[0]),
        "irregular": bool(gaps.is_irregular[0]),
        "duplicates": int(found.frames[0] - found.count[0]),
        "each": int(found.frames_per_position[0]),
        "shifted": bool(found.is_shifted[0]),
        "sheared": bool(found.is_sheared[0]),
    }


REGULAR = {
    "count": 5,
    "spacing": 2.5,
    "missing": 0,
    "irregular": False,
    "duplicates": 0,
    "each": 1,
    "shifted": False,
    "sheared": False,
}
STACK = [0.0, 2.5, 5.0, 7.5, 10.0]

CASES: dict[str, tuple[list[float], dict[str, Any]]] = {
    "regular": (STACK, {}),
    "any order": ([5.0, 0.0, 10.0, 7.5, 2.5], {}),
    "noise": ([0.0, 2.51, 5.0, 7.49, 10.0], {}),
    "missing": ([0.0, 2.5, 7.5, 10.0], {"count": 4, "missing": 1}),
    "many missing": ([0.0, 2.5, 5.0, 25.0], {"count": 4, "missing": 7}),
    "doubled": ([*STACK, 5.0], {"duplicates": 1, "each": 0}),
    "doubled with noise": ([*STACK, 5.0004], {"duplicates": 1, "each": 0}),
    "all doubled": ([*STACK, *STACK], {"duplicates": 5, "each": 2}),
    "missing and doubled": ([0.0, 0.0, 2.5, 7.5, 10.0], {"count": 4, "missing": 1, "duplicates": 1, "each": 0}),
    "irregular": ([0.0, 2.5, 5.0, 7.2, 10.0], {"spacing": None, "irregular": True}),
    "ever wider": ([0.0, 1.0, 3.0, 6.0, 10.0], {"spacing": None, "irregular": True}),
    "tiny gap": ([0.0, 0.5, 5.5, 10.5, 15.5], {"spacing": None, "irregular": True}),
    "two": ([1.0, -2.0], {"count": 2, "spacing": 3.0}),
    "one": ([7.0], {"count": 1, "spacing": None}),
    "one twice": ([7.0, 7.0], {"count": 1, "spacing": None, "duplicates": 1, "each": 2}),
    "near each other": ([0.0, 0.0006, 0.0012, 0.0018], {"count": 2, "spacing": 0.0012, "duplicates": 2, "each": 2}),
    "a chain": (
        [0.0006 * number for number in range(1000)],
        {"count": 500, "spacing": 0.0012, "duplicates": 500, "each": 2},
    ),
    "micrometres": ([0.0, 0.01, 0.02], {"count": 3, "spacing": 0.01}),
}


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, TILTED])
@pytest.mark.parametrize("name", CASES)
def test_known_stacks(name: str, orientation: tuple[float, ...]) -> None:
    """Spacing, gaps and duplicates do not depend on how the stack lies in space."""
    distances, changed = CASES[name]
    assert one((orientation, along(orientation, distances))) == REGULAR | changed


def test_a_chain_has_the_same_positions_whatever_lies_before_it() -> None:
    """Each position is what is near its lowest frame; the order of frames, and other series, have no say."""
    chance = random.Random(5)
    stacks = [[chance.randrange(60) * 0.0004 for _ in range(chance.randrange(1, 40))] for _ in range(200)]
    found = measure(*((AXIAL, along(AXIAL, distances, (0.0, 0.0, 0.0))) for distances in stacks))
    for number, distances in enumerate(stacks):
        expected = group(distances)
        np.testing.assert_array_equal(found.distances[found.offsets[number] : found.offsets[number + 1]], expected)
        sizes = {sum(place <= one <= place + 1e-3 for one in distances) for place in expected}
        assert found.frames_per_position[number] == (sizes.pop() if len(sizes) == 1 else 0)


def test_tilted_gantry() -> None:
    """Tilted slices whose positions go straight up: shifted by as much each time, spacing along the normal."""
    upward = [(-100.0, -90.0, 2.5 * number) for number in range(5)]
    assert one((TILTED, upward)) == REGULAR | {"spacing": 2.4, "shifted": True, "sheared": True}
    jumping = [(-100.0 + (number == 2), -90.0, 2.5 * number) for number in range(5)]
    assert one((AXIAL, jumping)) == REGULAR | {"shifted": True}


def test_beside_each_other_at_one_height() -> None:
    """Tiles of one plane are shifted, and along no line."""
    assert one((AXIAL, [(0.0, 0.0, 0.0), (50.0, 0.0, 0.0)])) == REGULAR | {
        "count": 1,
        "spacing": None,
        "duplicates": 1,
        "each": 2,
        "shifted": True,
    }


def test_orientation() -> None:
    """Unit vectors at right angles, with the noise of six digits; the angle to the nearest axis."""
    orientations = np.array(
        [
            AXIAL,
            OBLIQUE,
            TILTED,
            (0.999, 0, 0, 0, 1, 0),
            (1, 0, 0, 1, 0, 0),
            (2, 0, 0, 0, 0.5, 0),
            (0,) * 6,
            (math.nan,) * 6,
        ]
    )
    assert geometry.is_orthonormal(orientations).tolist() == [True, True, True, True, False, False, False, False]
    assert geometry.measure_obliquity(orientations[:3]).tolist() == [0.0, 0.0, 16.26]


def test_all_at_once_is_one_after_the_other() -> None:
    """Hundreds of random series, some of them empty, do not mix."""
    chance = random.Random(3)
    stacks = []
    for _ in range(300):
        orientation = chance.choice([AXIAL, OBLIQUE, TILTED])
        distances = [2.0 * chance.randrange(12) + chance.choice([0, 0, 0.3]) for _ in range(chance.randrange(7))]
        stacks.append((orientation, along(orientation, distances)))
    found = measure(*stacks)
    for number, stack in enumerate(stacks):
        alone = measure(stack)
        own = found.distances[found.offsets[number] : found.offsets[number + 1]]
        np.testing.assert_array_equal(own, alone.distances)
        for name in ("frames", "frames_per_position", "is_shifted", "is_sheared"):
            assert getattr(found, name)[number] == getattr(alone, name)[0]
        for name in ("spacing", "lowest", "highest", "missing", "is_irregular"):
            np.testing.assert_array_equal(getattr(found.gaps, name)[number], getattr(alone.gaps, name)[0])
        axis = normal(stack[0])
        heights = sorted({round(sum(p * n for p, n in zip(point, axis, strict=True)), 3) for point in stack[1]})
        np.testing.assert_allclose(own, heights, atol=1e-3)
