"""What series, studies and patients are described by: attributes that should be constant, and the tables' schemas.

In: nothing.  Out: keywords with the module that asks for them, ``pyarrow.Schema``.  Pure: the same whatever columns ``instances``
has; what it lacks is null.

Names are DICOM keywords, those of idc-index where it has one (``instanceCount``, ``series_size_MB``,
``regularly_spaced_3d_volume``, ``obliquity_degrees``), else plain snake_case.  Where idc-index lists all values that occur,
joined into one text, a column here holds the value if there is one alone, and null otherwise; ``conflicts`` then names it.

Instances that have no key (no SeriesInstanceUID, no StudyInstanceUID, no PatientID) are one row of the table whose key is null:
they are no one series, study or patient, but ``instanceCount`` and what else is counted adds up to all instances.  So
``count(StudyInstanceUID)`` counts studies, and ``count(*)`` that row, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from dicomflow.dictionary import entry_for_keyword, format_tag
from dicomflow.schema.column import make_column
from dicomflow.schema.version import FORMAT_VERSION

ROLLUP_VERSION = "2"
"""Raised when columns or rules change: rollups of another version are made anew by the next run."""

KEYS = MappingProxyType({"series": "SeriesInstanceUID", "studies": "StudyInstanceUID", "patients": "PatientID"})
"""Table -> the attribute that it has one row of each value of."""


def _of_module(module: str, keywords: str) -> dict[str, str]:
    return dict.fromkeys(keywords.split(), module)


_PATIENT = _of_module("Patient, PS3.3 C.7.1.1", "PatientName PatientBirthDate PatientSex")
_STUDY = {
    **_of_module("Patient Study, PS3.3 C.7.2.2", "PatientAge PatientSize PatientWeight"),
    **_of_module(
        "General Study, PS3.3 C.7.2.1",
        "StudyDate StudyTime StudyID StudyDescription AccessionNumber ReferringPhysicianName",
    ),
}
_SERIES = {
    **_of_module(
        "General Series, PS3.3 C.7.3.1",
        "Modality SeriesNumber SeriesDate SeriesTime SeriesDescription ProtocolName BodyPartExamined Laterality "
        "PatientPosition OperatorsName PerformedProcedureStepDescription",
    ),
    **_of_module("Frame of Reference, PS3.3 C.7.4.1; one per series, A.1.2.3", "FrameOfReferenceUID"),
    **_of_module(
        "General Equipment, PS3.3 C.7.5.1; one per series, A.1.2.3",
        "Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions StationName InstitutionName",
    ),
}

CONSTANT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "series": {
            "StudyInstanceUID": "a series is of one study, PS3.3 A.1.2.3",
            "PatientID": "a study is of one patient, PS3.3 A.1.2.2",
            **_PATIENT,
            **_STUDY,
            **_SERIES,
        },
        "studies": {"PatientID": "a study is of one patient, PS3.3 A.1.2.2", **_PATIENT, **_STUDY},
        "patients": _PATIENT,
    }
)
"""Table -> attribute that should be constant in a row's instances -> why.  Where it is not, ``conflicts`` names it."""

DESCRIPTIVE = [
    "SOPClassUID",
    "TransferSyntaxUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "SliceThickness",
    "KVP",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "GantryDetectorTilt",
    "ReconstructionDiameter",
    "MagneticFieldStrength",
    "MRAcquisitionType",
    "ScanningSequence",
    "SequenceName",
    "RepetitionTime",
    "EchoTime",
    "FlipAngle",
]
"""Of a series: the value if it is constant; that it is not is no conflict."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {table: (*constant, *(DESCRIPTIVE if table == "series" else ())) for table, constant in CONSTANT.items()}
)
"""Table -> attributes that it has a column for, besides its key."""

IRREGULARITIES = MappingProxyType(
    {
        "localizer": "ImageType says LOCALIZER (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1)",
        "mosaic": "ImageType says MOSAIC: an instance holds many slices, side by side",
        "no_series": "the instances have no SeriesInstanceUID: nothing says that they belong together",
        "no_geometry": "no instance has an orientation and a position, its own or one of a frame",
        "partial_geometry": "some instances have none",
        "no_frame_positions": "an object of several frames has an orientation and a position, but not one for each frame",
        "invalid_orientation": "the directions of rows and columns are no unit vectors at right angles",
        "mixed_frame_of_reference": "positions have no common origin (PS3.3 C.7.4.1)",
        "mixed_orientation": "slices are not parallel",
        "mixed_size": "Rows or Columns differ",
        "mixed_spacing": "PixelSpacing differs, or some instances have none",
        "single_slice": "there is one position",
        "duplicate_position": "several frames lie at one position: in time, by echo, by b-value, or sent twice",
        "missing_slice": "gaps of twice the spacing, or a whole multiple of it",
        "irregular_spacing": "gaps of other sizes",
        "misaligned": "slices are shifted against each other within their planes",
        "tilted_gantry": "slices are shifted by as much from each one to the next, as with a tilted gantry",
    }
)
"""Why a series is not one regular volume; a series may have several of them, in this order."""

_TIMES = ("acquisition", "content", "series")

_COUNTS = {"instanceCount": pa.int64(), "frame_count": pa.int64(), "partial_count": pa.int64()}
_SOURCES = {"source_size": pa.int64(), "source_prefix": pa.string()}
_CONFLICTS = {"conflicts": pa.list_(pa.string())}

_COLUMNS: Mapping[str, Mapping[str, pa.DataType]] = {
    "series": {
        **_COUNTS,
        "series_size_MB": pa.float64(),
        **_SOURCES,
        **{f"{end}_{time}": pa.timestamp("us") for time in _TIMES for end in ("first", "last")},
        "obliquity_degrees": pa.float64(),
        "slice_count": pa.int64(),
        "slice_positions": pa.list_(pa.float64()),
        "slice_spacing": pa.float64(),
        "min_slice_spacing": pa.float64(),
        "max_slice_spacing": pa.float64(),
        "missing_slices": pa.int64(),
        "duplicate_positions": pa.int64(),
        "frames_per_position": pa.int64(),
        "regularly_spaced_3d_volume": pa.bool_(),
        "irregularities": pa.list_(pa.string()),
        **_CONFLICTS,
    },
    "studies": {
        "ModalitiesInStudy": pa.list_(pa.string()),
        "series_count": pa.int64(),
        **_COUNTS,
        **_SOURCES,
        "first_acquisition": pa.timestamp("us"),
        "last_acquisition": pa.timestamp("us"),
        **_CONFLICTS,
    },
    "patients": {
        "modalities": pa.list_(pa.string()),
        "study_count": pa.int64(),
        "series_count": pa.int64(),
        **_COUNTS,
        **_SOURCES,
        "first_study": pa.date32(),
        "last_study": pa.date32(),
        **_CONFLICTS,
    },
}


def rollup_schema(table: str) -> pa.Schema:
    """Schema of ``series``, ``studies`` or ``patients``: the key, attributes, then what was counted and measured.

    >>> rollup_schema("patients").names[:3]
    ['PatientID', 'PatientName', 'PatientBirthDate']
    """
    attributes = [_attribute(name) for name in (KEYS[table], *ATTRIBUTES[table])]
    counted = [pa.field(name, kind) for name, kind in _COLUMNS[table].items()]
    metadata = {"dicomflow.format": FORMAT_VERSION, "dicomflow.rollup": ROLLUP_VERSION}
    return pa.schema(attributes + counted, metadata=metadata)


def _attribute(name: str) -> pa.Field:
    entry = entry_for_keyword(name)
    assert entry is not None
    metadata = {"dicom.tag": format_tag(entry.tag), "dicom.vr": entry.vrs[0]}
    return pa.field(name, make_column(name).arrow_type, metadata=metadata)
