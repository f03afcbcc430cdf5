"""The Basic Application Level Confidentiality Profile and its options (PS3.15 Table E.1-1), as data.

In: a tag.  Out: what the table says of it, and what holds for attributes that are not in it.  Pure.

``profile.csv`` holds the table as of edition 2026c: tag (x stands for any digit), keyword, the code of the basic profile, and
``K`` (keep) or ``C`` (clean) under each option.  The options of the attributes that came after edition 2024d are not filled in:
those are treated as the basic profile says, whatever is retained.

A combined code leaves the choice to whoever knows the IOD; a table of columns knows none, and takes the first, which removes
most: ``X/Z``, ``X/D`` and ``X/Z/D`` are ``X``, ``Z/D`` is ``Z``.  A sequence with ``X/Z/U*`` is entered, and each attribute in
it is judged by itself.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import NamedTuple

from dicomflow.dictionary import entry_for_tag


class Action(StrEnum):
    """What is done to an attribute, the mildest first.

    Of a sequence, ``KEEP`` means that it is entered: what is in it is judged by itself.
    """

    KEEP = "keep"
    SHIFT = "shift"  # a date is moved by the patient's number of days
    REGISTERED = "registered"  # a UID of the standard (1.2.840.10008) stays, another is replaced
    UID = "uid"  # replaced by a UID that the key makes of it (code U)
    HASH = "hash"  # replaced by a pseudonym that the key makes of it
    DUMMY = "dummy"  # replaced by a value that says nothing (code D)
    EMPTY = "empty"  # there, without a value (code Z)
    DROP = "drop"  # not there (code X)


ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        Action.KEEP: "kept",
        Action.SHIFT: "date shifted",
        Action.REGISTERED: "UIDs of the standard kept, others pseudonymised",
        Action.UID: "pseudonymised",
        Action.HASH: "pseudonymised",
        Action.DUMMY: "replaced by a value that says nothing",
        Action.EMPTY: "emptied",
        Action.DROP: "dropped",
        "items": "each attribute of its items judged by itself",
        "note": "says what was done",
    }
)
"""What can be done to a column, in words."""

STRICTNESS = {action: place for place, action in enumerate(Action)}

OPTIONS = ("uids", "device", "institution", "patient", "full_dates", "modified_dates")
"""Retain options of PS3.15 E.3 that a program can carry out.  Cleaning a free text is not among them: nobody could promise it."""

METHOD_CODES: Mapping[str, tuple[str, str]] = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}
"""Codes of scheme DCM for DeidentificationMethodCodeSequence (PS3.16 CID 7050)."""

HASHED = frozenset({0x00080050, 0x00100020, 0x00200010})
"""AccessionNumber, PatientID, StudyID: Z and Z/D, for which a value that says nothing may stand in.  A pseudonym keeps rows
of one patient together."""

DATES = frozenset({"DA", "DT"})
TIMES = frozenset({"DA", "DT", "TM"})
NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})

_CODED = NUMBERS | {"AT", "CS"}
"""VRs that hold no free text: kept where the table does not name the attribute."""

_CODES = {"X": Action.DROP, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID}


class Entry(NamedTuple):
    """A row of the table: the code of the basic profile, and K or C by option."""

    code: str
    options: Mapping[str, str]

    @property
    def action(self) -> Action:
        """What the basic profile does; the first of a combined code."""
        return Action.KEEP if self.code.endswith("U*") else _CODES[self.code.partition("/")[0]]


def find_entry(tag: int) -> Entry | None:
    """The row of the table for a tag, repeating groups included; None where there is none.

    >>> find_entry(0x00100010).code, find_entry(0x60024000).code, find_entry(0x00280010)
    ('Z', 'X', None)
    """
    entries = _entries()
    return next((entries[key] for key in _spellings(tag) if key in entries), None)


def default_action(tag: int, *, dates: Action) -> Action:
    """What is done to an attribute that is not in the table, where the standard leaves all to the one who exports.

    What the dictionary does not know is dropped; numbers and codes are kept; of texts only those that name equipment,
    methods and codes; UIDs stay if the standard has registered them; free texts, names and addresses never stay.

    Args:
        tag: no private one.
        dates: what is done to dates.
    """
    entry = entry_for_tag(tag)
    if entry is None:
        return Action.DROP
    return max((_default_for_vr(vr, entry.keyword, dates) for vr in entry.vrs), key=STRICTNESS.__getitem__)


def _default_for_vr(vr: str, keyword: str, dates: Action) -> Action:
    if vr in TIMES:
        return dates
    if vr in ("LO", "SH"):
        return Action.KEEP if keyword in TECHNICAL_TEXTS else Action.DROP
    return _BY_VR.get(vr, Action.DROP)


_BY_VR = {**dict.fromkeys(_CODED | {"SQ"}, Action.KEEP), "UI": Action.REGISTERED}


def _spellings(tag: int) -> tuple[str, ...]:
    digits = f"{tag:08X}"
    return digits, f"{digits[:2]}XX{digits[4:]}", f"{digits[:2]}XXXXXX"


@lru_cache(maxsize=1)
def _entries() -> dict[str, Entry]:
    text = (resources.files("dicomflow.deidentify") / "profile.csv").read_text("utf-8")
    return {
        row["tag"]: Entry(row["basic"], {name: row[name] for name in OPTIONS if row[name]})
        for row in csv.DictReader(text.splitlines())
    }


TECHNICAL_TEXTS = frozenset(
    {
        "ASLBolusCutoffTechnique", "AcquisitionDeviceProcessingCode", "AcquisitionMode", "AlgorithmName", "AlgorithmVersion",
        "ApplicationManufacturer", "ApplicationName", "ApplicationSetupManufacturer", "ApplicationVersion",
        "AttenuationCorrectionMethod", "CardiacFramingType", "CodeMeaning", "CodeValue", "CodingSchemeDesignator",
        "CodingSchemeVersion", "CollimatorGridName", "ContrastBolusRoute", "ConvolutionKernel",
        "DetectorLinesOfResponseUsed", "DetectorManufacturerModelName", "DetectorManufacturerName",
        "DigitalImageFormatAcquired", "DoseModeName", "EnergyWindowName", "FilterType", "IOLManufacturer", "ImageFilter",
        "ImagedNucleus", "ImplementationVersionName", "InterventionDrugName", "MIMETypeOfEncapsulatedDocument",
        "Manufacturer", "ManufacturerModelName", "ManufacturerModelVersion", "ManufacturerRelatedModelGroup",
        "ModalityLUTType", "MultiCoilConfiguration", "MultiCoilElementName", "OutputPower", "PVCRejection", "PhosphorType",
        "PlateType", "PositionReferenceIndicator", "ProcessingFunction", "PulseSequenceName", "Radiopharmaceutical",
        "RadiopharmaceuticalRoute", "ReceiveCoilManufacturerName", "ReceiveCoilName", "ReconstructionMethod", "RescaleType",
        "ScatterCorrectionMethod", "SecondaryCaptureDeviceManufacturer", "SecondaryCaptureDeviceManufacturerModelName",
        "SecondaryCaptureDeviceSoftwareVersions", "SegmentAlgorithmName", "SequenceName", "SoftwareVersions",
        "SourceApplicatorManufacturer", "SourceIsotopeName", "StageName", "TargetPositionReferenceIndicator", "TimeSource",
        "TransducerData", "TransmitCoilManufacturerName", "TransmitCoilName", "TriggerSourceOrType", "TypeOfFilters",
        "VideoImageFormatAcquired", "ViewName", "WedgeManufacturerName", "WedgeMaterial",
    }
)  # fmt: skip
"""Texts (LO, SH) outside of the table that name equipment, methods and codes."""
