"""Numbers with the SQL that they came from.

In: rows of answers.  Out: ``Figure``, ``QualityReport``.  Pure; knows no rendering.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]

MODALITY, MANUFACTURER = "by_modality", "by_manufacturer"
"""Columns by which rows can be picked and added up."""

TOP_MODALITIES, TOP_MANUFACTURERS, TOP = 30, 20, 25
"""Modalities; manufacturers; devices, attributes ... that are named.  The others are counted together, as ``OTHER``."""

NONE, OTHER = "(none)", "(other)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An answer.

    Attributes:
        name: of the query, such as ``issue-codes``.
        description: what it answers, in one line.
        sql: as it was asked; ``dicomflow query`` gives the same rows.
        columns: names.
        rows: bounded, whatever the dataset: of each kind of value so many are named, see ``TOP``.
        note: why there are no rows, where the dataset lacks what the question needs.
    """

    name: str
    description: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str | None = None

    def column(self, name: str) -> list[Any]:
        """Values of a column, by row.

        >>> Figure(name="n", description="", sql="", columns=("a", "b"), rows=((1, 2), (3, 4))).column("b")
        [2, 4]
        """
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def iter_dicts(self) -> Iterator[dict[str, Any]]:
        """Rows by name of column."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """How good a dataset is.

    Attributes:
        title: name of its folder.
        version: of the dataset.
        profile: of its columns.
        made: the day for which dates are judged, as ISO 8601.
        absent: columns that questions need and the dataset has not (or not of that type): they count as empty.
        figures: by name.
    """

    title: str
    version: int
    profile: str
    made: str
    absent: tuple[str, ...]
    figures: dict[str, Figure]
