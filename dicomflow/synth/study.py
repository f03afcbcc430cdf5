"""The nouns of synth: who is examined, with what, and what becomes of it.

In: nothing.  Out: frozen dataclasses.  Knows no values, no bytes, no files.

    StudyPlan -> Study -> Series -> Draft (one header, what varies) -> Template -> bytes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from dicomflow.dictionary import entry_for_keyword
from dicomflow.synth.draw import Draw, make_uid
from dicomflow.synth.syntax import Syntax

Value = str | int | float | bytes
Attributes = dict[str, Any]  # DICOM keyword -> value as pydicom takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPlan:
    """One series to be made: its kind, transfer syntax, number in the study and number of instances.

    ``lost`` is the place of a slice that was acquired and did not arrive, counted from 0; it is none of the instances.
    """

    kind: str
    syntax: str
    number: int
    instances: int
    lost: int | None = None

    @property
    def acquired(self) -> int:
        """How many instances there would be if none were lost."""
        return self.instances + (self.lost is not None)

    def places(self) -> Iterator[int]:
        """Places of the instances among those acquired, from 0.

        >>> list(SeriesPlan(kind="ct", syntax="explicit", number=1, instances=3, lost=1).places())
        [0, 2, 3]
        """
        return (place for place in range(self.acquired) if place != self.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """One study to be made; everything in it follows from this.

    ``corruptions`` maps the position of a file in the study to what goes wrong with it.
    """

    seed: int
    index: int
    patient: int
    visit: int
    description: str
    series: tuple[SeriesPlan, ...]
    corruptions: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What all series of a study share."""

    plan: StudyPlan
    uid: str
    date: str  # YYYYMMDD
    start: int  # microseconds of the day
    charset: tuple[str, ...]
    patient_id: str
    attributes: Attributes  # patient and study modules
    frame_of_reference_uid: str


class Device(NamedTuple):
    """One scanner: ``vendor`` (ge, siemens, philips, other) decides on its private elements."""

    vendor: str
    manufacturer: str
    model: str
    software: str
    serial: str
    station: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What all instances of a series share."""

    study: Study
    plan: SeriesPlan
    uid: str
    modality: str
    sop_class_uid: str
    syntax: Syntax
    device: Device
    description: str  # SeriesDescription
    protocol: str  # ProtocolName
    start: int  # microseconds of the day
    draw: Draw

    def instance_uid(self, index: int) -> str:
        """SOP Instance UID of instance ``index``, counted from 0."""
        return instance_uid(self.study.plan, self.plan.number, index)


class Varying(NamedTuple):
    """An element that differs between instances: ``value(index)`` is ASCII text, a number or the value field."""

    tag: int
    vr: str
    value: Callable[[int], Value]


class Draft(NamedTuple):
    """A series in the making: the elements that all instances share, and those that vary."""

    header: Dataset
    varying: tuple[Varying, ...]


def instance_uid(plan: StudyPlan, number: int, index: int) -> str:
    """SOP Instance UID of an instance by its place, so that other series can refer to it before it is made."""
    return make_uid(plan.seed, "study", plan.index, "series", number, "instance", index)


def vary(keyword: str, value: Callable[[int], Value]) -> Varying:
    """A varying element by keyword, with the VR of the dictionary.

    >>> vary("InstanceNumber", lambda index: index + 1).vr
    'IS'
    """
    entry = entry_for_keyword(keyword)
    if entry is None:
        raise KeyError(keyword)
    return Varying(entry.tag, entry.vrs[0], value)


def make_dataset(attributes: Attributes) -> Dataset:
    """A pydicom data set (or sequence item) from keywords and values; nested lists of dicts become sequences."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, _items(value))
    return dataset


def _items(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [make_dataset(item) for item in value]
    return value


def format_time(microseconds: int) -> str:
    """A time of the day as TM with a fraction (PS3.5 6.2).

    >>> format_time(3_723_500_000)
    '010203.500000'
    """
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{seconds // 3600 % 24:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.{fraction:06d}"
