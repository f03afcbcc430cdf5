"""Files with a mark in every attribute of PS3.15 Table E.1-1 that can be a column: at the top, nested, in whole sequences."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pydicom
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from dicomflow.dictionary import entry_for_tag
from dicomflow.schema.column import ARROW_TYPES, STOP_TAG

MARK = "Q9X8"
"""In every planted text.  Pseudonyms have no 8 and no 9."""

UID = "1.9.8765.4321"
DATE, TIME, MOMENT = "19310417", "133742.424242", "19310417133742.424242"
NUMBER, INTEGER, SHORT = "9876.54321", 98765432, 54321
TRACES = {
    "text": [MARK],
    "uid": [UID],
    "date": ["19310417", "1931-04-17", "1931.04.17"],
    "time": ["133742", "13:37:42"],
    "number": ["9876.54", "98765432", "54321"],
}
"""What must not be found, as bytes of any file."""

NESTS = ("SharedFunctionalGroupsSequence[0]", "PerFrameFunctionalGroupsSequence[*]")
"""Sequences that the table does not name."""


def planted_tags() -> Iterator[tuple[int, str]]:
    """Tags of the table and their VRs; those that no dictionary knows are texts."""
    text = (resources.files("dicomflow.deidentify") / "profile.csv").read_text()
    for row in csv.DictReader(text.splitlines()):
        tag = int(row["tag"].replace("X", "0"), 16)
        entry = entry_for_tag(tag)
        vr = entry.vrs[0] if entry else "LO"
        if 0x00080000 <= tag < STOP_TAG and vr in ARROW_TYPES and row["tag"] != "50XXXXXX":
            yield tag, vr


def write_profile(path: Path) -> Path:
    """Columns of all of them; names that say nothing, and lies."""
    columns: list[Any] = []
    for number, (tag, vr) in enumerate(planted_tags()):
        step = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        columns.append({"name": f"Rows{number}", "path": step, "vr": vr})
        columns.append({"name": f"n{number}", "path": f"{NESTS[number % 2]}.{step}", "vr": vr})
        if vr in ("DA", "DS", "LO", "PN", "UI") and number % 4 == 0:
            columns.append({"name": f"asText{number}", "path": step, "vr": "UT"})
    columns += [{"name": f"whole{at}", "path": nest.partition("[")[0]} for at, nest in enumerate(NESTS)]
    columns += [{"name": "private", "path": '(0009,"ACME",01)', "vr": "LO"}]
    columns += [{"name": "Modality", "paths": ["Modality", "PatientComments"]}]
    columns += ["PatientID", "StudyInstanceUID", "PatientBirthDate", "Rows", "Manufacturer", "PatientIdentityRemoved"]
    columns += [{"name": "alias", "path": "PatientName"}, "PatientBirthDateInAlternativeCalendar", "SegmentLabel"]
    path.write_text(yaml.safe_dump({"profile": f"{MARK}-profile", "columns": columns}))
    return path


def write_files(folder: Path, count: int = 3) -> Path:
    """Files, each with every attribute; one with values that are bad and end in ``issues``."""
    folder.mkdir(parents=True)
    for number in range(count):
        made = make_data_set(number)
        if number == 0:
            made["PatientBirthDate"] = pydicom.DataElement(0x00100030, "DA", f"{MARK}BAD", validation_mode=0)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID, meta.MediaStorageSOPClassUID = made.SOPInstanceUID, made.SOPClassUID
        made.file_meta = meta
        made.save_as(folder / f"{MARK}^Smith{number}.dcm", enforce_file_format=True)
    return folder


def make_data_set(number: int) -> Dataset:
    """Everything planted, at the top and in the items of both sequences."""
    made = _plant(number)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.Modality, made.Rows = "1.2.840.10008.5.1.4.1.1.2", "CT", 512
    made.Manufacturer, made.PatientBirthDateInAlternativeCalendar = "ACME", f"{MARK} 22/4"
    made.SegmentLabel = f"{MARK} label"
    made.SharedFunctionalGroupsSequence = Sequence([_plant(number)])
    made.PerFrameFunctionalGroupsSequence = Sequence([_plant(number), _plant(number)])
    for each in (made, made.SharedFunctionalGroupsSequence[0]):
        each.private_block(0x0009, "ACME", create=True).add_new(1, "LO", f"{MARK} private")
    return made


def _plant(number: int) -> Dataset:
    made = Dataset()
    for tag, vr in planted_tags():
        value = _value(tag, vr, number)
        made[tag] = pydicom.DataElement(tag, vr, value, validation_mode=0)
    return made


def _value(tag: int, vr: str, number: int) -> Any:
    if vr == "SQ":
        inner = Dataset()
        inner.PatientName, inner.PatientID, inner.TextValue = f"{MARK}deep^{MARK}er", f"{MARK}in", f"{MARK} text"
        inner.StudyDate, inner.StudyTime, inner.ReferencedSOPInstanceUID = DATE, TIME, f"{UID}.{tag}.{number}"
        inner.private_block(0x0009, "ACME", create=True).add_new(1, "LO", f"{MARK} private")
        return Sequence([inner])
    if vr == "UI":
        return f"{UID}.{tag}.{number}"
    if vr == "PN":
        return f"{MARK}fam^{MARK}giv^^Dr={MARK}山^太郎={MARK}ph"
    fixed = {"DA": DATE, "TM": TIME, "DT": MOMENT, "DS": NUMBER, "FD": float(NUMBER), "FL": 9876.54, "AS": "098Y"}
    fixed |= {"IS": INTEGER, "UL": INTEGER, "SL": INTEGER, "US": SHORT, "SS": 9876, "AT": 0x54321}
    return fixed.get(vr, f"{MARK}{tag:08X}")
