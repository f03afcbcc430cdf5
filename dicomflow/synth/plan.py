"""Decide which studies there are: who, which series, how many instances, what goes wrong where.

In: number of files, seed, share of faults, kinds.  Out: ``StudyPlan`` one by one.  Pure: no bytes, no files, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from dicomflow.errors import ConfigError
from dicomflow.synth.draw import Draw
from dicomflow.synth.iods import IODS, check_kinds
from dicomflow.synth.study import SeriesPlan, StudyPlan

COPIES = ("duplicate", "conflict")
"""Faults that need another file: an intact one that stands earlier in the same study."""

STACKS = frozenset({"ct", "mr", "mr-long", "pet"})
"""Kinds that are a slice an instance."""

LOST = 0.04
"""Share of stacks that miss a slice."""

_LONG = 8  # instances: a gap shows beside its neighbours


class _Rule(NamedTuple):
    """So many series of a kind, each of so many instances."""

    kind: str
    series: tuple[int, int]
    instances: tuple[int, int]


class _Recipe(NamedTuple):
    description: str
    rules: tuple[_Rule, ...]


_RECIPES = (
    _Recipe("CT Thorax", (_Rule("ct", (2, 4), (2, 420)), _Rule("sr", (0, 1), (1, 1)))),
    _Recipe("MR Brain", (_Rule("mr", (4, 8), (3, 190)),)),
    _Recipe("Chest X-Ray", (_Rule("cr", (1, 1), (1, 2)),)),
    _Recipe(
        "PET CT Wholebody",
        (_Rule("ct", (1, 2), (80, 350)), _Rule("pet", (1, 2), (60, 320)), _Rule("seg", (1, 1), (1, 1))),
    ),
    _Recipe("Mammography Screening", (_Rule("mg", (1, 1), (4, 4)), _Rule("sr", (1, 1), (1, 1)))),
    _Recipe("fMRI Research", (_Rule("mr-long", (3, 8), (20, 400)),)),
    _Recipe("Echo Adult", (_Rule("us", (1, 2), (3, 14)),)),
    _Recipe("RT Planning", (_Rule("ct", (1, 1), (60, 240)), _Rule("rtstruct", (1, 2), (1, 1)))),
    _Recipe(
        "MR Prostate",
        (_Rule("enhanced-mr", (1, 3), (1, 3)), _Rule("mr", (2, 5), (15, 60)), _Rule("seg", (0, 1), (1, 1))),
    ),
    _Recipe("DX Shoulder", (_Rule("dx", (1, 2), (1, 3)),)),
    _Recipe("CT Abdomen", (_Rule("ct", (2, 5), (1, 600)), _Rule("seg", (0, 1), (1, 1)))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for; the same request gives the same bytes everywhere and always.

    Raises:
        ConfigError: a number is out of range or a kind is unknown.
    """

    files: int
    seed: int = 0
    corrupt: float = 0.0
    kinds: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        if self.files < 0:
            raise ConfigError(f"files must be 0 or more, not {self.files}")
        if not 0.0 <= self.corrupt <= 1.0:
            raise ConfigError(f"corrupt must lie between 0 and 1, not {self.corrupt}")
        check_kinds(self.kinds)


def plan_studies(request: Request, faults: Sequence[str]) -> Iterator[StudyPlan]:
    """Studies that together have exactly ``request.files`` files, ``corrupt`` of them with one of ``faults``.

    The studies of a small request are small too, so that it still holds every kind.
    """
    kinds = check_kinds(request.kinds)
    recipes = [recipe for recipe in (_restrict(recipe, kinds) for recipe in _RECIPES) if recipe.rules]
    draw = Draw(request.seed, "plan")
    faulty = _FaultPlan(request, faults)
    syntaxes = {IODS[kind].syntaxes: 0 for kind in kinds}
    patient, visit, left = 0, 0, request.files
    limit = max(3, request.files // 40)
    for index in count():
        if left <= 0:
            return
        recipe = recipes[index % len(recipes)]
        series = tuple(_lose(request, index, one) for one in _plan_series(recipe, draw, left, limit, syntaxes))
        if not series:
            continue
        size = sum(one.instances for one in series)
        yield StudyPlan(
            seed=request.seed, index=index, patient=patient, visit=visit, description=recipe.description,
            series=series, corruptions=faulty.take(size),
        )  # fmt: skip
        left -= size
        patient, visit = (patient, visit + 1) if draw.chance(0.25) else (patient + 1, 0)


def _restrict(recipe: _Recipe, kinds: Sequence[str]) -> _Recipe:
    return _Recipe(recipe.description, tuple(rule for rule in recipe.rules if rule.kind in kinds))


def _plan_series(
    recipe: _Recipe, draw: Draw, left: int, limit: int, syntaxes: dict[tuple[str, ...], int]
) -> Iterator[SeriesPlan]:
    """Series of one study, together never more than ``left`` instances; none where all its series are optional."""
    number = 0
    for rule in recipe.rules:
        for _ in range(draw.integer(*rule.series)):
            size = min(_draw_size(rule, draw), limit, left)
            if size <= 0:
                return
            number, left = number + 1, left - size
            yield SeriesPlan(kind=rule.kind, syntax=_next_syntax(rule.kind, syntaxes), number=number, instances=size)


def _lose(request: Request, study: int, series: SeriesPlan) -> SeriesPlan:
    """Of a few stacks, one slice on the way."""
    draw = Draw(request.seed, "lost", study, series.number)
    if series.kind not in STACKS or series.instances < _LONG or not draw.chance(LOST):
        return series
    return replace(series, lost=draw.integer(1, series.instances - 1))


def _draw_size(rule: _Rule, draw: Draw) -> int:
    """Many short series, few long ones."""
    low, high = rule.instances
    return low + int((high - low + 1) * draw.unit() ** 2)


def _next_syntax(kind: str, syntaxes: dict[tuple[str, ...], int]) -> str:
    cycle = IODS[kind].syntaxes
    turn = syntaxes[cycle]
    syntaxes[cycle] = turn + 1
    return cycle[turn % len(cycle)]


class _FaultPlan:
    """Walks over all files in order and says which ones get which fault.

    Exactly ``round(files * corrupt)`` files are chosen, each set equally likely (Knuth, selection sampling); the faults
    take turns.
    """

    def __init__(self, request: Request, faults: Sequence[str]) -> None:
        self._draw = Draw(request.seed, "faults")
        self._files_left = request.files
        self._faults_left = round(request.files * request.corrupt)
        self._queue = list(faults)

    def take(self, size: int) -> dict[int, str]:
        """Position -> fault for the next ``size`` files, which are one study."""
        chosen: dict[int, str] = {}
        for position in range(size):
            if self._draw.unit() * self._files_left < self._faults_left:
                has_source = position > len(chosen)
                chosen[position] = self._next_fault(has_source=has_source)
                self._faults_left -= 1
            self._files_left -= 1
        return chosen

    def _next_fault(self, *, has_source: bool) -> str:
        fault = next(name for name in self._queue if has_source or name not in COPIES)
        self._queue.remove(fault)
        self._queue.append(fault)
        return fault
