"""Plans: exact, complete, the same for the same request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.synth import CORRUPTIONS, KINDS
from dicomflow.synth.plan import COPIES, LOST, STACKS, Request, plan_studies


@settings(max_examples=60, deadline=None)
@given(
    files=st.integers(0, 900),
    seed=st.integers(0, 10**6),
    corrupt=st.floats(0, 1),
    kinds=st.none() | st.sets(st.sampled_from(KINDS), min_size=1).map(sorted),
)
def test_plan_is_exact(files: int, seed: int, corrupt: float, kinds: list[str] | None) -> None:
    """Studies add up to the files asked for, faults to their share; a copy stands behind an intact file of a study."""
    request = Request(files=files, seed=seed, corrupt=corrupt, kinds=kinds)
    plans = list(plan_studies(request, CORRUPTIONS))
    assert sum(series.instances for plan in plans for series in plan.series) == files
    assert sum(len(plan.corruptions) for plan in plans) == round(files * corrupt)
    assert all(plan.series and all(series.instances > 0 for series in plan.series) for plan in plans)
    assert {series.kind for plan in plans for series in plan.series} <= set(kinds or KINDS)
    for plan in plans:
        for position, name in plan.corruptions.items():
            assert name not in COPIES or any(before not in plan.corruptions for before in range(position))
    assert plans == list(plan_studies(request, CORRUPTIONS))


def test_large_requests_have_long_series() -> None:
    """With 100,000 files, series reach hundreds of instances and studies hundreds in number."""
    plans = list(plan_studies(Request(files=100_000), CORRUPTIONS))
    assert len(plans) > 200
    assert max(series.instances for plan in plans for series in plan.series) > 300


def test_a_small_share_of_stacks_loses_a_slice() -> None:
    """Never the first or the last one, never of what is short or no stack; and the files asked for are all there."""
    plans = list(plan_studies(Request(files=100_000, seed=1), CORRUPTIONS))
    series = [one for plan in plans for one in plan.series]
    stacks = [one for one in series if one.kind in STACKS and one.instances >= 8]
    lost = [one for one in series if one.lost is not None]
    assert sum(one.instances for one in series) == 100_000
    assert set(lost) <= set(stacks) and LOST / 3 < len(lost) / len(stacks) < LOST * 3
    for one in lost:
        places = list(one.places())
        assert len(places) == one.instances == one.acquired - 1
        assert places[0] == 0 and places[-1] == one.instances and one.lost not in places
