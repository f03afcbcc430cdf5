"""Files with one thing wrong each, and with names that would do harm on a page."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid

from dicomflow.synth import make_series

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=//x onerror=f()>",
    "\"' onload=alert(1) x='",
    "{{ 7*7 }} $$x$$ @{year}",
    "&lt;b&gt;&#0; \\(x\\)",
)
"""Each is at most 64 characters: an LO."""

SECRET = "ZORROSECRET"
"""Stands in everything of a patient or study that has room for text."""

PERSONAL = [
    "PatientName",
    "PatientID",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AccessionNumber",
    "StudyID",
    "InstitutionName",
    "OperatorsName",
    "ReferringPhysicianName",
    "DeviceSerialNumber",
    "StationName",
    "PerformedProcedureStepDescription",
]

FAULTS: Mapping[str, Mapping[str, Any]] = {
    "no StudyInstanceUID": {"StudyInstanceUID": None},
    "no SeriesInstanceUID": {"SeriesInstanceUID": None},
    "one UID for two of study, series and instance": {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3"},
    "an invalid UID (PS3.5 9.1)": {"FrameOfReferenceUID": "1.02.3"},
    "no StudyDate": {"StudyDate": ""},
    "StudyDate in the future": {
        "StudyDate": "20990101",
        "SeriesDate": "20990101",
        "AcquisitionDate": "20990101",
        "PatientBirthDate": "20590101",
    },
    "StudyDate before 1971": {"StudyDate": "19700101", "PatientBirthDate": "19300101", "AcquisitionDate": "19700101"},
    "SeriesDate before StudyDate": {"SeriesDate": "20200103"},
    "AcquisitionDate more than a day from StudyDate": {"AcquisitionDate": "20200110"},
    "StudyDate before PatientBirthDate": {"PatientBirthDate": "20200301"},
    "a patient older than 120 years": {"PatientBirthDate": "18900101", "PatientAge": "130Y"},
    "PatientAge and PatientBirthDate disagree by more than a year": {"PatientAge": "043Y"},
}
"""Fault, as the report names it -> attributes of one file that has it."""

ALSO = {"StudyDate before PatientBirthDate": "PatientAge and PatientBirthDate disagree by more than a year"}
"""What comes with it."""

SOUND = {
    "StudyDate": "20200105",
    "SeriesDate": "20200105",
    "AcquisitionDate": "20200106",
    "ContentDate": "20200105",
    "PatientBirthDate": "19800101",
    "PatientAge": "041Y",
}


def write_faults(folder: Path) -> None:
    """One file without a fault, and one with each."""
    folder.mkdir()
    for number, changed in enumerate([{}, *FAULTS.values()]):
        write_file(folder / f"{number}.dcm", {**SOUND, **changed})


def write_hostile(folder: Path) -> None:
    """Names that would do harm on a page, in attributes, in names of files and of the folder; secrets of a patient."""
    folder.mkdir()
    for number, text in enumerate(HOSTILE):
        changed = {**dict.fromkeys(PERSONAL, SECRET), **SOUND, "Manufacturer": text, "ManufacturerModelName": text}
        changed |= {"SeriesDescription": text, "PatientName": f"{SECRET}^{text}"[:60], "PatientBirthDate": "19310417"}
        # faults, so that they are named in all tables
        changed |= {"SeriesTime": "heavy", "FrameOfReferenceUID": "1.02.3", "PatientAge": "003Y"}
        write_file(folder / f"{SECRET}{number}<script>.dcm", changed)
        write_file(folder / f"again{number}.dcm", {**changed, "SeriesNumber": "77"}, uid=f"1.2.3.{number}")
        write_file(folder / f"yet-again{number}.dcm", {**changed, "SeriesNumber": "78"}, uid=f"1.2.3.{number}")
    os.mkfifo(folder / f"{SECRET}<script>alert(2)<")
    write_file(folder / "modality.dcm", {**SOUND, "Modality": "<B>", "Manufacturer": "<B>\u202eX"})


def write_many(folder: Path, count: int, name: Callable[[int], str]) -> None:
    """A file of each of so many manufacturers, and a second one of the first 25."""
    folder.mkdir()
    for number in range(count):
        for copy in range(2 if number < 25 else 1):
            write_file(folder / f"{number}-{copy}.dcm", {"Manufacturer": name(number)})


def write_file(path: Path, changed: Mapping[str, Any], uid: str | None = None) -> None:
    """A CT image with other attributes; None takes one away."""
    dataset = pydicom.dcmread(io.BytesIO(next(make_series("ct")).data))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid or generate_uid()
    for name, value in changed.items():
        if value is None:
            del dataset[name]
        else:
            with pydicom.config.disable_value_validation():
                setattr(dataset, name, value)
    dataset.save_as(path)
