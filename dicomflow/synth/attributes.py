"""What every instance carries: patient, study, series, equipment, SOP and image plane modules.

In: a ``StudyPlan``; a ``Series``.  Out: ``Study``; keyword -> value; the elements that vary in every kind.
Knows the invented sites; nothing of single modalities, no bytes.
"""

from __future__ import annotations

from datetime import date, timedelta
from types import MappingProxyType

from dicomflow.synth.draw import Draw, make_uid
from dicomflow.synth.geometry import Geometry, format_decimal
from dicomflow.synth.sites import SITES, Site
from dicomflow.synth.study import Attributes, Series, Study, StudyPlan, Varying, format_time, vary

_FIRST_DAY = date(2012, 1, 9)
_DAYS_BETWEEN_VISITS = 97
_SECOND = 1_000_000

SERIES_NAMES = MappingProxyType(
    {
        "CT": ("Thorax 1.0 B31f", "Lung 3.0 iMAR", "Scout", "Abdomen portal venous 5.0", "COR MPR"),
        "MR": ("t2_tse_tra", "t1_mprage_sag_p2_iso", "ep2d_diff_b1000", "Ax FLAIR", "Sag T1 FSE", "localizer"),
        "PT": ("PET WB corrected", "PET WB uncorrected"),
        "CR": ("PA", "LAT", ""),
        "DX": ("AP", "Axial", "Chest PA"),
        "MG": ("Screening bilateral",),
        "US": ("Adult Echo", "Abdomen"),
        "RTSTRUCT": ("ARIA structures", "Contours v2"),
        "SR": ("Measurements", "Report"),
        "SEG": ("Lesions", "Organs automatic"),
    }
)


def make_study(plan: StudyPlan) -> Study:
    """Draw the patient (the same in all visits) and the examination."""
    patient = Draw(plan.seed, "patient", plan.patient)
    visit = Draw(plan.seed, "visit", plan.index)
    site = SITES[plan.patient % len(SITES)]
    first = patient.integer(0, 3000)
    day = _FIRST_DAY + timedelta(days=first + plan.visit * _DAYS_BETWEEN_VISITS + visit.integer(0, 60))
    birth = date(1930, 1, 1) + timedelta(days=patient.integer(0, 27_000))
    start = visit.integer(7 * 3600, 16 * 3600) * _SECOND
    patient_id = f"{site.prefix}{plan.seed % 100:02d}{plan.patient:07d}"
    uid = make_uid(plan.seed, "study", plan.index)
    return Study(
        plan=plan,
        uid=uid,
        date=f"{day:%Y%m%d}",
        start=start,
        charset=site.charset,
        patient_id=patient_id,
        frame_of_reference_uid=make_uid(plan.seed, "frame of reference", plan.index),
        attributes={
            **({"SpecificCharacterSet": list(site.charset)} if site.charset else {}),
            **_patient(site, patient, patient_id, birth, day),
            **_examination(site, visit, plan),
            "StudyInstanceUID": uid,
            "StudyDate": f"{day:%Y%m%d}",
            "StudyTime": format_time(start)[:6],
        },
    )


def _patient(site: Site, draw: Draw, patient_id: str, birth: date, day: date) -> Attributes:
    return {
        "PatientName": draw.pick(site.names),
        "PatientID": patient_id,
        "IssuerOfPatientID": f"{site.prefix}_PID",
        "PatientBirthDate": f"{birth:%Y%m%d}",
        "PatientSex": draw.pick(("F", "M", "F", "M", "O", "")),
        "PatientAge": f"{(day - birth).days // 365:03d}Y",
        "PatientSize": format_decimal(draw.real(1.48, 1.98)),
        "PatientWeight": format_decimal(draw.real(45, 120, 1)),
        "PatientComments": site.comment,
    }


def _examination(site: Site, draw: Draw, plan: StudyPlan) -> Attributes:
    return {
        "AccessionNumber": f"{site.prefix}{plan.index:08d}",
        "InstitutionName": site.institution,
        "InstitutionAddress": site.address,
        "ReferringPhysicianName": draw.pick(site.physicians),
        "StudyID": str(plan.index + 1),
        "StudyDescription": plan.description,
    }


def describe_series(series: Series) -> Attributes:
    """Study, series, equipment and SOP common attributes that all instances of the series share."""
    study, device = series.study, series.device
    number = series.plan.number
    return {
        **study.attributes,
        "SOPClassUID": series.sop_class_uid,
        "Modality": series.modality,
        "SeriesInstanceUID": series.uid,
        "SeriesNumber": number,
        "SeriesDate": study.date,
        "SeriesTime": format_time(series.start),
        "ContentDate": study.date,
        "InstanceCreationDate": study.date,
        "SeriesDescription": series.description,
        "Manufacturer": device.manufacturer,
        "ManufacturerModelName": device.model,
        "SoftwareVersions": device.software,
        "DeviceSerialNumber": device.serial,
        "StationName": device.station,
        "InstitutionalDepartmentName": "Radiology",
        "PerformedProcedureStepStartDate": study.date,
        "PerformedProcedureStepStartTime": format_time(study.start)[:6],
        "PerformedProcedureStepID": f"PPS{study.plan.index}",
        "PerformedProcedureStepDescription": study.plan.description,
    }


def vary_instances(series: Series, seconds: float = 0.5) -> tuple[Varying, ...]:
    """What every instance has of its own: UID, number, times that move on by ``seconds``."""
    step = int(seconds * _SECOND)
    return (
        vary("SOPInstanceUID", series.instance_uid),
        vary("InstanceNumber", lambda index: index + 1),
        vary("InstanceCreationTime", lambda index: format_time(series.start + index * step + 2 * _SECOND)),
        vary("ContentTime", lambda index: format_time(series.start + index * step + _SECOND)),
    )


def describe_acquisition(series: Series) -> Attributes:
    """General image and acquisition attributes of scanners that make slices."""
    return {
        "AcquisitionDate": series.study.date,
        "AcquisitionNumber": 1,
        "FrameOfReferenceUID": series.study.frame_of_reference_uid,
        "PositionReferenceIndicator": "",
        "PatientPosition": series.draw.pick(("HFS", "HFS", "FFS")),
        "ImagesInAcquisition": series.plan.acquired,
        "ProtocolName": series.protocol,
    }


def describe_plane(geometry: Geometry) -> Attributes:
    """Image plane attributes that all slices share (PS3.3 C.7.6.2)."""
    return {
        "ImageOrientationPatient": geometry.orientation,
        "PixelSpacing": [format_decimal(spacing) for spacing in geometry.pixel_spacing],
        "SliceThickness": format_decimal(geometry.thickness),
    }


def vary_slices(series: Series, geometry: Geometry, seconds: float = 0.5) -> tuple[Varying, ...]:
    """Position, location and acquisition time of each slice."""
    step = int(seconds * _SECOND)
    return (
        vary("ImagePositionPatient", lambda index: "\\".join(geometry.position(index))),
        vary("SliceLocation", geometry.location),
        vary("AcquisitionTime", lambda index: format_time(series.start + index * step)),
    )
