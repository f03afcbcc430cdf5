"""Where slices lie: orientation, positions that step along the normal, pixel spacing (PS3.3 C.7.6.2).

In: streams of draws.  Out: ``Geometry``.  Knows no bytes and no files.
Cosines are exact decimals, so texts are exact too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dicomflow.synth.draw import Draw


class Vector(NamedTuple):
    """A point or direction in the patient's coordinate system, in mm."""

    x: float
    y: float
    z: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """A stack of parallel slices: first position, direction of rows and columns, distances in mm."""

    origin: Vector
    row: Vector
    column: Vector
    step: float
    thickness: float
    pixel_spacing: tuple[float, float]

    @property
    def normal(self) -> Vector:
        """Cross product of the row and column directions."""
        (a, b, c), (d, e, f) = self.row, self.column
        return Vector(b * f - c * e, c * d - a * f, a * e - b * d)

    @property
    def orientation(self) -> list[str]:
        """ImageOrientationPatient."""
        return [format_decimal(cosine) for cosine in (*self.row, *self.column)]

    def position(self, index: int) -> list[str]:
        """ImagePositionPatient of slice ``index``."""
        return [
            format_decimal(start + index * self.step * along)
            for start, along in zip(self.origin, self.normal, strict=True)
        ]

    def location(self, index: int) -> str:
        """SliceLocation: the position along the normal."""
        start = sum(start * along for start, along in zip(self.origin, self.normal, strict=True))
        return format_decimal(start + index * self.step)


AXIAL = (Vector(1, 0, 0), Vector(0, 1, 0))
ORIENTATIONS = (
    AXIAL,
    (Vector(0, 1, 0), Vector(0, 0, -1)),  # sagittal
    (Vector(1, 0, 0), Vector(0, 0, -1)),  # coronal
    (Vector(1, 0, 0), Vector(0, 0.96, -0.28)),  # axial, tilted towards coronal
    (Vector(0.96, 0.28, 0), Vector(-0.28, 0.96, 0)),  # axial, head turned
)


def draw_geometry(
    draw: Draw, protocol: Draw, orientation: tuple[Vector, Vector], field_of_view: float, pixels: int
) -> Geometry:
    """A stack of slices.

    Args:
        draw: where the patient lies.
        protocol: how thick slices are, and how far apart.
        orientation: directions of rows and columns.
        field_of_view: in mm, of ``pixels`` rows and columns.
        pixels: in each direction.
    """
    thickness = protocol.pick((1.0, 1.25, 2.0, 3.0, 5.0))
    spacing = round(field_of_view / pixels, 4)
    row, column = orientation
    return Geometry(
        origin=Vector(draw.real(-180, -100), draw.real(-180, -100), draw.real(-600, 200)),
        row=row,
        column=column,
        step=thickness * protocol.pick((1.0, 1.0, 1.2)),
        thickness=thickness,
        pixel_spacing=(spacing, spacing),
    )


def format_decimal(number: float) -> str:
    """A DS of at most 16 characters (PS3.5 6.2), without trailing zeros and without a negative zero.

    >>> format_decimal(-0.0), format_decimal(2.50)
    ('0', '2.5')
    """
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
