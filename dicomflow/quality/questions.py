"""The questions of the report, as SQL that fits the columns of a dataset.

In: schemas of its tables, the day.  Out: ``Question``.  Pure.

Each is a file of ``queries``, whose first line is a comment that says what it answers.  What stands in braces is filled in
from here: names of columns and constants, never a value of the data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

import pyarrow as pa

from dicomflow.quality.figures import MANUFACTURER, MODALITY, NONE, OTHER, TOP, TOP_MANUFACTURERS, TOP_MODALITIES
from dicomflow.sql.sandbox import quote_name, quote_text

OLDEST = date(1971, 1, 1)
"""A study cannot be older: clinical CT began in October 1971; clocks that were never set say 1970 or 1900."""

_LABEL_LENGTH = 64
"""Characters; an LO has no more (PS3.5 6.2)."""

_TEXT, _DATE, _WHOLE = "varchar", "date", "bigint"

_IDS = {"StudyInstanceUID": _TEXT, "SeriesInstanceUID": _TEXT}

_DATES = dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "PatientBirthDate"), _DATE)

_ALWAYS = {"SOPInstanceUID", "status", "source_size", "issues"}
"""Columns of ``instances`` whatever the profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What a question needs: a table whose rows are labelled, columns of it by type; other tables."""

    labelled: str | None = "instances"
    columns: Mapping[str, str | None]
    tables: tuple[str, ...] = ()


def _entry(columns: str, typed: Mapping[str, str] | None = None, **about: str | tuple[str, ...]) -> _Entry:
    return _Entry(columns={**dict.fromkeys(columns.split()), **(typed or {})}, **about)  # type: ignore[arg-type]


_ENTRIES: Mapping[str, _Entry] = {
    "archive": _entry("status source_size issues", {"PatientID": _TEXT, **_IDS}),
    "years": _entry("", {"StudyDate": _DATE}),
    "completeness": _entry(""),
    "issue-codes": _entry("SOPInstanceUID issues"),
    "issue-attributes": _entry("SOPInstanceUID issues"),
    "issue-devices": _entry("issues", {"Manufacturer": _TEXT, "ManufacturerModelName": _TEXT}),
    "plausibility": _entry("SOPInstanceUID issues", {**_IDS, **_DATES, "PatientAge": _TEXT}),
    "copies": _entry("SOPInstanceUID", tables=("files",)),
    "conflicting-attributes": _Entry(labelled=None, columns={}, tables=("instances", "conflicts")),
    "irregularities": _entry("instanceCount regularly_spaced_3d_volume irregularities", labelled="series"),
    "incomplete": _entry("status", {"SeriesInstanceUID": _TEXT, "InstanceNumber": _WHOLE}),
    "inconstant": _entry("SeriesInstanceUID instanceCount conflicts", labelled="series"),
    "outcomes": _Entry(labelled=None, columns={}, tables=("files",)),
    "runs": _Entry(labelled=None, columns={}, tables=("runs",)),
}

_TYPES: Mapping[str, Sequence[pa.DataType]] = {
    _TEXT: (pa.string(),),
    _DATE: (pa.date32(),),
    _WHOLE: (pa.int64(), pa.int32()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query of the report.

    Attributes:
        name: of its file.
        description: what it answers, in one line.
        sql: to be asked.
        tables: that it needs.
    """

    name: str
    description: str
    sql: str
    tables: tuple[str, ...]


def make_questions(schemas: Mapping[str, pa.Schema], today: date) -> list[Question]:
    """All questions, in the order of the page.

    Args:
        schemas: of the tables that there are; ``instances`` is one of them.
        today: later dates are implausible.
    """
    return [_make_question(name, entry, schemas, today) for name, entry in _ENTRIES.items()]


def find_absent(schema: pa.Schema) -> tuple[str, ...]:
    """Columns of ``instances`` that some question needs, and that are not there or of another type: they count as empty."""
    needed = {"Modality": _TEXT, "Manufacturer": _TEXT}
    for entry in _ENTRIES.values():
        if entry.labelled == "instances":
            needed |= {name: kind for name, kind in entry.columns.items() if kind}
    return tuple(name for name, kind in needed.items() if not _has(schema, name, kind))


def list_attributes(schema: pa.Schema) -> list[str]:
    """Columns that hold an attribute, in the order of the profile.

    >>> list_attributes(pa.schema([pa.field("Rows", pa.int32(), metadata={"dicom.tag": "0028,0010"}), ("status", pa.string())]))
    ['Rows']
    """
    return [field.name for field in schema if (field.metadata or {}).get(b"dicom.tag") is not None]


_CORE = """
SOPClassUID PatientID PatientBirthDate PatientSex PatientAge StudyInstanceUID StudyDate StudyTime StudyDescription
AccessionNumber Modality Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions StationName InstitutionName
SeriesInstanceUID SeriesNumber SeriesDescription ProtocolName BodyPartExamined PatientPosition FrameOfReferenceUID
AcquisitionDate AcquisitionTime ContentDate InstanceNumber ImageType ImagePositionPatient ImageOrientationPatient
PixelSpacing SliceThickness SpacingBetweenSlices Rows Columns NumberOfFrames KVP RepetitionTime EchoTime MagneticFieldStrength
"""
"""What cohorts are chosen and volumes are built by."""


def list_core(columns: Collection[str]) -> list[str]:
    """Those attributes, as far as they are there, that people ask for first."""
    return [name for name in _CORE.split() if name in columns]


def _make_question(name: str, entry: _Entry, schemas: Mapping[str, pa.Schema], today: date) -> Question:
    text = _read(name)
    description = text.partition("\n")[0].removeprefix("-- ")
    tables = tuple(dict.fromkeys(table for table in (entry.labelled, *entry.tables) if table))
    attributes = list_attributes(schemas["instances"])
    columns = dict.fromkeys(attributes) if name == "completeness" else entry.columns
    parts = {
        "today": f"date {quote_text(today.isoformat())}",
        "oldest": f"date {quote_text(OLDEST.isoformat())}",
        "top": str(TOP),
        "counts": ",\n    ".join(f"count({quote_name(one)}) as {quote_name(one)}" for one in attributes),
        "differences": ",\n        ".join(map(_count_differences, attributes)),
    }
    if entry.labelled and entry.labelled in schemas:
        parts["labelled"] = _label(entry.labelled, columns, schemas)
    for key, value in parts.items():
        text = text.replace("{" + key + "}", value)
    return Question(name=name, description=description, sql=text, tables=tables)


def _count_differences(name: str) -> str:
    column = quote_name(name)
    differ = f"count(*) filter (lost.{column} is distinct from kept.{column})"
    return f"{{'attribute': {quote_text(name)}, 'n': {differ}}}"


def _label(table: str, columns: Mapping[str, str | None], schemas: Mapping[str, pa.Schema]) -> str:
    """Common table expressions: rows of a table, with the modality and the manufacturer under which they are counted."""
    chosen = "".join(f",\n        {_column(name, kind, schemas[table])}" for name, kind in columns.items())
    modality, manufacturer = (_value(name, _TEXT, schemas["instances"]) for name in ("Modality", "Manufacturer"))
    return (
        f"{_top('top_modalities', modality, TOP_MODALITIES)},\n"
        f"{_top('top_manufacturers', manufacturer, TOP_MANUFACTURERS)},\n"
        f"labelled as not materialized (\n    select\n"
        f"        {_case('Modality', 'top_modalities', schemas[table])} as {MODALITY},\n"
        f"        {_case('Manufacturer', 'top_manufacturers', schemas[table])} as {MANUFACTURER}"
        f"{chosen}\n    from {table}\n)"
    )


def _top(name: str, value: str, count: int) -> str:
    return (
        f"{name} as (\n    select {value} as label from instances where {value} is not null\n"
        f"    group by label order by count(*) desc, label limit {count}\n)"
    )


def _case(name: str, top: str, schema: pa.Schema) -> str:
    value = _value(name, _TEXT, schema)
    return (
        f"case when {value} is null then {quote_text(NONE)} "
        f"when {value} in (from {top}) then left({value}, {_LABEL_LENGTH}) else {quote_text(OTHER)} end"
    )


def _column(name: str, kind: str | None, schema: pa.Schema) -> str:
    value, quoted = _value(name, kind, schema), quote_name(name)
    return value if value == quoted else f"{value} as {quoted}"


def _value(name: str, kind: str | None, schema: pa.Schema) -> str:
    """The column, or nothing of its type."""
    return quote_name(name) if kind is None or _has(schema, name, kind) else f"null::{kind}"


def _has(schema: pa.Schema, name: str, kind: str) -> bool:
    place = schema.get_field_index(name)
    return place >= 0 and schema.field(place).type in _TYPES[kind]


@cache
def _read(name: str) -> str:
    return (files("dicomflow") / "quality" / "queries" / f"{name}.sql").read_text("utf-8")
