"""The page as a table: its sections, and how each figure is shown in them.

In: nothing.  Out: ``SECTIONS``.  Pure; knows no numbers and no HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicomflow.quality.figures import MANUFACTURER, MODALITY
from dicomflow.schema.rollup import IRREGULARITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How a figure is shown: rows with equal keys are added up, the most of the first measure first.

    Attributes:
        figure: its name.
        title: what stands above.
        keys: columns that are shown as text, and how they are called.
        measures: columns that are added up, and how they are called.
        is_total: the figure holds totals, which cannot be had by adding up: rows are picked.
        is_wide: it stands alone.
        explained: what a value of the first key means.
        empty: what is said where there are no rows.
    """

    figure: str
    title: str
    keys: Mapping[str, str]
    measures: Mapping[str, str]
    is_total: bool = False
    explained: Mapping[str, str] = field(default_factory=dict)
    is_wide: bool = False
    empty: str = "None found."

    @property
    def name(self) -> str:
        """Of the table on the page."""
        return f"{self.figure}-{next(iter(self.keys))}" if self.is_total else self.figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        name: for links.
        title: as the table of contents has it.
        intro: what the reader should know first.
        chart: name of a chart that stands first, if there is one.
        tables: what follows.
    """

    name: str
    title: str
    intro: str
    chart: str | None = None
    tables: tuple[Table, ...] = ()


_CONTENT = {
    "instances": "instances",
    "series": "series",
    "studies": "studies",
    "patients": "patients",
    "bytes": "bytes",
}
_FAULTS = {"faulty_values": "values", "instances": "instances"}
_SERIES = {"series": "series", "instances": "instances"}

SECTIONS = (
    Section(
        name="archive",
        title="What is in it",
        intro="A study with two modalities counts for each of them, and once in all.",
        chart="years",
        tables=(
            Table(figure="archive", title="By modality", keys={MODALITY: "Modality"}, measures=_CONTENT, is_total=True),
            Table(
                figure="archive",
                title="By manufacturer",
                keys={MANUFACTURER: "Manufacturer"},
                measures=_CONTENT,
                is_total=True,
            ),
        ),
    ),
    Section(
        name="completeness",
        title="Completeness",
        intro="The share of instances that have a value. Not every attribute is meant for every modality.",
        chart="completeness",
    ),
    Section(
        name="issues",
        title="Faulty values",
        intro="What does not fit its type is empty in the dataset, and listed in the column issues; some is kept, with a remark.",
        tables=(
            Table(figure="issue-codes", title="By kind of fault", keys={"code": "Code"}, measures=_FAULTS),
            Table(figure="issue-attributes", title="By attribute", keys={"attribute": "Attribute"}, measures=_FAULTS),
            Table(
                figure="issue-devices",
                title="By device",
                keys={"device": "Manufacturer / model"},
                measures={**_FAULTS, "of_instances": "of all instances"},
                is_wide=True,
            ),
        ),
    ),
    Section(
        name="plausibility",
        title="Character sets, UIDs, dates",
        intro="What can be read, and is hardly true.",
        tables=(
            Table(
                figure="plausibility",
                title="Instances with an implausible value",
                keys={"fault": "Fault", "area": "Of"},
                measures={"instances": "instances"},
            ),
        ),
    ),
    Section(
        name="copies",
        title="Duplicates and conflicts",
        intro="A duplicate has the header of another file; a conflict has its SOP Instance UID and another header.",
        tables=(
            Table(
                figure="copies",
                title="Files beyond the first with their SOP Instance UID",
                keys={"status": "Status"},
                measures={"files": "files", "instances": "instances", "bytes": "bytes"},
            ),
            Table(
                figure="conflicting-attributes",
                title="In what conflicts differ",
                keys={"attribute": "Attribute"},
                measures={"files": "files"},
            ),
        ),
    ),
    Section(
        name="series",
        title="Series",
        intro="Incomplete and irregular ones. Which they are: dicomflow query DEST @incomplete-series, or @missing-slices. "
        "Where instances of a series disagree on the modality or the manufacturer, it counts as (none).",
        tables=(
            Table(figure="incomplete", title="Incomplete", keys={"fault": "Fault"}, measures=_SERIES),
            Table(
                figure="irregularities",
                title="As a volume",
                keys={"irregularity": "Geometry"},
                measures=_SERIES,
                explained=IRREGULARITIES,
            ),
            Table(
                figure="inconstant",
                title="Attributes that should be the same in a series, and are not",
                keys={"attribute": "Attribute"},
                measures=_SERIES,
                is_wide=True,
            ),
        ),
    ),
    Section(
        name="files",
        title="Files",
        intro="Each input has one outcome. Which failed: dicomflow files DEST.",
        tables=(
            Table(
                figure="outcomes",
                title="How they ended",
                keys={"status": "Status", "code": "Code"},
                measures={"files": "files", "bytes": "bytes"},
            ),
        ),
    ),
    Section(
        name="runs",
        title="Throughput",
        intro="Of the last runs: files read, divided by the seconds of the whole run, listing and publishing included.",
        chart="runs",
        tables=(
            Table(
                figure="runs",
                title="Runs",
                keys={"started": "Started (UTC)", "mode": "Mode", "version": "Version"},
                measures={
                    "read": "read",
                    "listed": "listed",
                    "removed": "gone",
                    "seconds": "time",
                    "files_per_second": "files/s",
                },
                is_wide=True,
                empty="There are no run records.",
            ),
        ),
    ),
)
