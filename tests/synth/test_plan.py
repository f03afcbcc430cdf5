"""Plans: exact, complete, the same for the same request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dicomflow.synth import CORRUPTIONS, KINDS
from dicomflow.synth.plan import COPIES, Request, plan_studies


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
