"""Make the files of studies, in memory and one after the other.

In: a request, a ``StudyPlan``, or a kind.  Out: ``SynthFile``: path and bytes.  Knows how a PACS export names files;
touches no disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import NamedTuple

from dicomflow.synth.attributes import SERIES_NAMES, make_study
from dicomflow.synth.corrupt import CORRUPTIONS, FILE_NAMES, corrupt_instance
from dicomflow.synth.documents import draft_rtstruct, draft_sr
from dicomflow.synth.draw import Draw
from dicomflow.synth.iods import IODS, KINDS, check_kinds
from dicomflow.synth.multiframe import draft_enhanced_mr, draft_seg
from dicomflow.synth.plan import COPIES, Request, plan_studies
from dicomflow.synth.projections import draft_cr, draft_dx, draft_mg, draft_us
from dicomflow.synth.protocol import name_protocol
from dicomflow.synth.references import series_uid
from dicomflow.synth.sites import find_scanners
from dicomflow.synth.slices import draft_ct, draft_mr, draft_mr_long, draft_pet
from dicomflow.synth.study import Device, Draft, Series, SeriesPlan, Study, StudyPlan
from dicomflow.synth.syntax import find_syntax
from dicomflow.synth.template import Instance, Template, make_template

_SERIES_APART = 5 * 60 * 1_000_000  # microseconds
_ALONE = 1_000_000  # studies made by make_series count from here, so that their UIDs are not those of iter_files

_DRAFTERS: MappingProxyType[str, Callable[[Series], Draft]] = MappingProxyType(
    {
        "ct": draft_ct,
        "mr": draft_mr,
        "mr-long": draft_mr_long,
        "pet": draft_pet,
        "cr": draft_cr,
        "dx": draft_dx,
        "mg": draft_mg,
        "us": draft_us,
        "enhanced-mr": draft_enhanced_mr,
        "rtstruct": draft_rtstruct,
        "sr": draft_sr,
        "seg": draft_seg,
    }
)

# How exports name files: numbered with and without suffix, or by UID.
_NAMINGS: tuple[Callable[[Series, int], str], ...] = (
    lambda series, index: f"IM{index + 1:06d}.dcm",
    lambda series, index: f"{series.modality}.{series.instance_uid(index)}.dcm",
    lambda series, index: f"IM{index + 1:06d}",
    lambda series, index: f"{index + 1:05d}.dcm",
    lambda series, index: series.instance_uid(index),
)


class SynthFile(NamedTuple):
    """One file.

    Attributes:
        path: where it belongs: POSIX, relative.
        data: its bytes.
        kind: a name from ``KINDS``, of the instance whose place it takes.
        corruption: a name from ``CORRUPTIONS``; None for a file as it should be.
        sop_instance_uid: of the instance that the bytes were made from.
    """

    path: str
    data: bytes
    kind: str
    corruption: str | None
    sop_instance_uid: str


class _Place(NamedTuple):
    """An instance that has been planned: its series and template, and its number there, from 0."""

    series: Series
    template: Template
    number: int

    @property
    def uid(self) -> str:
        return self.series.instance_uid(self.number)

    def encode(self) -> bytes:
        return self.template.encode(self.number, self.uid)

    def take_apart(self) -> Instance:
        return self.template.take_apart(self.number, self.uid)


def iter_files(
    *, files: int, seed: int = 0, corrupt: float = 0.0, kinds: Sequence[str] | None = None
) -> Iterator[SynthFile]:
    """Exactly ``files`` files, study by study; what ``write_studies`` puts on disk.

    Args:
        files: number of files.
        seed: the same seed gives the same bytes.
        corrupt: share of files with a fault, 0 to 1.
        kinds: names from ``KINDS``; None for all.

    Raises:
        ConfigError: a number is out of range or a kind is unknown.

    >>> [file.kind for file in iter_files(files=2, kinds=["us"])]
    ['us', 'us']
    """
    request = Request(files=files, seed=seed, corrupt=corrupt, kinds=kinds)
    return (file for plan in plan_studies(request, CORRUPTIONS) for file in iter_study(plan))


def make_series(kind: str, *, instances: int = 1, seed: int = 0, syntax: str | None = None) -> Iterator[SynthFile]:
    """One series of a kind; every ``seed`` stands for another patient, and seven in a row for all character sets.

    Args:
        kind: a name from ``KINDS``.
        instances: how many.
        seed: the same seed gives the same series, whatever the syntax.
        syntax: a name from ``SYNTAXES``; None for one that the kind often has.

    Raises:
        ConfigError: the kind or the transfer syntax is unknown.

    >>> [file.data[128:132] for file in make_series("ct", instances=2)]
    [b'DICM', b'DICM']
    """
    (known,) = check_kinds([kind])
    chosen = find_syntax(syntax or IODS[known].syntaxes[0])
    series = SeriesPlan(kind=known, syntax=chosen.name, number=1, instances=instances)
    index = _ALONE + KINDS.index(known)
    return iter_study(
        StudyPlan(seed=seed, index=index, patient=seed, visit=0, description="Single Series", series=(series,))
    )


def iter_study(plan: StudyPlan) -> Iterator[SynthFile]:
    """The files of one study, in the order of its series; copies refer to the intact file before them."""
    source: _Place | None = None
    for position, place in enumerate(_iter_places(plan)):
        corruption = plan.corruptions.get(position)
        if corruption is None:
            source = place
            yield _make_file(place, place, place.encode(), None)
            continue
        victim = source if corruption in COPIES and source is not None else place
        draw = Draw(plan.seed, "corruption", plan.index, position)
        yield _make_file(place, victim, corrupt_instance(corruption, victim.take_apart(), draw), corruption)


def _iter_places(plan: StudyPlan) -> Iterator[_Place]:
    study = make_study(plan)
    for series_plan in plan.series:
        series = _make_series(study, series_plan)
        delimited = Draw(plan.seed, "lengths", plan.index, series_plan.number).chance(0.5)
        template = make_template(_DRAFTERS[series_plan.kind](series), series.syntax, undefined_lengths=delimited)
        for place in series_plan.places():
            yield _Place(series, template, place)


def _make_series(study: Study, plan: SeriesPlan) -> Series:
    iod = IODS[plan.kind]
    draw = Draw(study.plan.seed, "series", study.plan.index, plan.number)
    description = draw.pick(SERIES_NAMES[iod.modality])
    return Series(
        study=study,
        plan=plan,
        uid=series_uid(study.plan, plan),
        modality=iod.modality,
        sop_class_uid=iod.sop_class_uid,
        syntax=find_syntax(plan.syntax),
        device=_find_device(study.plan, plan.kind),
        start=study.start + plan.number * _SERIES_APART,
        description=description,
        protocol=name_protocol(plan.kind, study.plan.description, description),
        draw=draw,
    )


def _find_device(plan: StudyPlan, kind: str) -> Device:
    """The scanner of this study: one for all its series of a kind, of those that its site has."""
    iod = IODS[kind]
    scanners = find_scanners(plan.patient, iod.modality)
    fitting = [device for device in scanners if not iod.vendors or device.vendor in iod.vendors]
    return Draw(plan.seed, "device", plan.index, iod.modality).pick(fitting)


def _make_file(place: _Place, origin: _Place, data: bytes, corruption: str | None) -> SynthFile:
    """The file in its folder: PatientID/StudyDate_description/SeriesNumber_modality/name."""
    series, study = place.series, place.series.study
    naming = _NAMINGS[(study.plan.index + series.plan.number) % len(_NAMINGS)]
    slug = re.sub(r"[^A-Za-z0-9]+", "-", study.plan.description).strip("-")
    folder = f"{study.patient_id}/{study.date}_{slug}/{series.plan.number:03d}_{series.modality}"
    rename = FILE_NAMES.get(corruption or "", "{}")
    name = rename.format(naming(series, place.number))
    return SynthFile(f"{folder}/{name}", data, series.plan.kind, corruption, origin.uid)
