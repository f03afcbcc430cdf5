"""What a derived object (report, structure set, segmentation) refers to in its study.

In: a ``Series``.  Out: ``Reference``.  Knows the plan of the study, so the other series need not have been made yet.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from dicomflow.synth.draw import make_uid
from dicomflow.synth.iods import IODS, REFERABLE
from dicomflow.synth.study import Series, SeriesPlan, StudyPlan, instance_uid

_MAX_INSTANCES = 30
_ARCHIVED = SeriesPlan(kind="ct", syntax="explicit", number=999, instances=3)


class Reference(NamedTuple):
    """An image series: its UID, its SOP class, the UIDs of its first instances."""

    series_uid: str
    sop_class_uid: str
    instance_uids: tuple[str, ...]


def refer_to_series(series: Series) -> Reference:
    """The first image series of the study; a CT series that stayed in the archive where there is none."""
    plan = series.study.plan
    source = next((other for other in plan.series if other.kind in REFERABLE), _ARCHIVED)
    return Reference(
        series_uid=series_uid(plan, source),
        sop_class_uid=IODS[source.kind].sop_class_uid,
        instance_uids=tuple(
            instance_uid(plan, source.number, place) for place in islice(source.places(), _MAX_INSTANCES)
        ),
    )


def series_uid(plan: StudyPlan, series: SeriesPlan) -> str:
    """Series Instance UID by the place of the series in its study."""
    return make_uid(plan.seed, "study", plan.index, "series", series.number)
