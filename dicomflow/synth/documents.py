"""Objects without pixels: RT structure sets and structured reports.

In: a ``Series``.  Out: its ``Draft``.  Knows PS3.3 A.19 and A.35; no bytes, no files.
"""

from __future__ import annotations

from dicomflow.synth.attributes import describe_series, vary_instances
from dicomflow.synth.draw import Draw
from dicomflow.synth.geometry import format_decimal
from dicomflow.synth.references import Reference, refer_to_series
from dicomflow.synth.study import Attributes, Draft, Series, make_dataset

_STRUCTURES = (("GTV", "GTV"), ("PTV 60Gy", "PTV"), ("SpinalCord", "ORGAN"), ("BODY", "EXTERNAL"))
_POINTS = 24
_MAX_CONTOURS = 10
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"


def draft_rtstruct(series: Series) -> Draft:
    """RT structure set: contours drawn on slices of an image series of the study."""
    draw = series.draw
    reference = refer_to_series(series)
    structures = _STRUCTURES[: draw.integer(2, len(_STRUCTURES))]
    own = {
        "StructureSetLabel": "PLAN_1",
        "StructureSetName": "planning structures",
        "StructureSetDate": series.study.date,
        "StructureSetTime": series.study.attributes["StudyTime"],
        "OperatorsName": "",
        "ApprovalStatus": "UNAPPROVED",
        "FrameOfReferenceUID": series.study.frame_of_reference_uid,
        "ReferencedFrameOfReferenceSequence": [_reference_frame(series, reference)],
        "StructureSetROISequence": [_roi(series, number, name) for number, (name, _) in enumerate(structures, 1)],
        "ROIContourSequence": [_contours(draw, number, reference) for number in range(1, len(structures) + 1)],
        "RTROIObservationsSequence": [
            {
                "ObservationNumber": number,
                "ReferencedROINumber": number,
                "RTROIInterpretedType": kind,
                "ROIInterpreter": "",
            }
            for number, (_, kind) in enumerate(structures, 1)
        ],
    }
    return Draft(make_dataset(describe_series(series) | own), vary_instances(series, 1.0))


def _reference_frame(series: Series, reference: Reference) -> Attributes:
    images = [_image(reference, uid) for uid in reference.instance_uids]
    study = {
        "ReferencedSOPClassUID": _DETACHED_STUDY,
        "ReferencedSOPInstanceUID": series.study.uid,
        "RTReferencedSeriesSequence": [{"SeriesInstanceUID": reference.series_uid, "ContourImageSequence": images}],
    }
    return {"FrameOfReferenceUID": series.study.frame_of_reference_uid, "RTReferencedStudySequence": [study]}


def _roi(series: Series, number: int, name: str) -> Attributes:
    return {
        "ROINumber": number,
        "ReferencedFrameOfReferenceUID": series.study.frame_of_reference_uid,
        "ROIName": name,
        "ROIGenerationAlgorithm": "SEMIAUTOMATIC",
    }


def _contours(draw: Draw, number: int, reference: Reference) -> Attributes:
    contours = [
        {
            "ContourImageSequence": [_image(reference, uid)],
            "ContourGeometricType": "CLOSED_PLANAR",
            "NumberOfContourPoints": _POINTS,
            "ContourData": _draw_contour(draw, plane),
        }
        for plane, uid in enumerate(reference.instance_uids[:_MAX_CONTOURS])
    ]
    return {"ROIDisplayColor": [255, 40 * number, 0], "ReferencedROINumber": number, "ContourSequence": contours}


def _draw_contour(draw: Draw, plane: int) -> list[str]:
    points = []
    for _ in range(_POINTS):
        points += [format_decimal(draw.real(-120, 120)), format_decimal(draw.real(-120, 120)), str(plane * 3)]
    return points


def _image(reference: Reference, uid: str) -> Attributes:
    return {"ReferencedSOPClassUID": reference.sop_class_uid, "ReferencedSOPInstanceUID": uid}


def draft_sr(series: Series) -> Draft:
    """Comprehensive SR: a tree of text, code, number, person and image content items."""
    reference = refer_to_series(series)
    content = [
        _item("HAS OBS CONTEXT", "PNAME", "121008", "Person Observer Name")
        | {"PersonName": series.study.attributes["ReferringPhysicianName"]},
        _item("CONTAINS", "TEXT", "121071", "Finding") | {"TextValue": series.study.attributes["PatientComments"]},
        _item("CONTAINS", "CODE", "121072", "Impression") | {"ConceptCodeSequence": [_code("R-00339", "SRT", "No")]},
        _item("CONTAINS", "CONTAINER", "125007", "Measurement Group")
        | {"ContinuityOfContent": "SEPARATE", "ContentSequence": _measurements(series.draw, reference)},
    ]
    own = {
        "ConceptNameCodeSequence": [_code("126000", "DCM", "Imaging Measurement Report")],
        "ValueType": "CONTAINER",
        "ContinuityOfContent": "SEPARATE",
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "UNVERIFIED",
        "CurrentRequestedProcedureEvidenceSequence": [_evidence(series, reference)],
        "ContentTemplateSequence": [{"MappingResource": "DCMR", "TemplateIdentifier": "1500"}],
        "ContentSequence": content,
    }
    return Draft(make_dataset(describe_series(series) | own), vary_instances(series, 1.0))


def _measurements(draw: Draw, reference: Reference) -> list[Attributes]:
    image = _item("CONTAINS", "IMAGE", "121112", "Source of Measurement")
    source = image | {"ReferencedSOPSequence": [_image(reference, reference.instance_uids[0])]}
    return [source, *(_number(draw, name) for name in ("Length", "Width", "Volume"))]


def _number(draw: Draw, name: str) -> Attributes:
    measured = {
        "NumericValue": format_decimal(draw.real(1, 90)),
        "MeasurementUnitsCodeSequence": [_code("mm", "UCUM", "millimeter")],
    }
    return _item("CONTAINS", "NUM", "G-D7FE", name) | {"MeasuredValueSequence": [measured]}


def _item(relationship: str, value_type: str, code: str, meaning: str) -> Attributes:
    scheme = "DCM" if code.isdigit() else "SRT"
    return {
        "RelationshipType": relationship,
        "ValueType": value_type,
        "ConceptNameCodeSequence": [_code(code, scheme, meaning)],
    }


def _code(value: str, scheme: str, meaning: str) -> Attributes:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def _evidence(series: Series, reference: Reference) -> Attributes:
    images = [_image(reference, uid) for uid in reference.instance_uids]
    item = {"SeriesInstanceUID": reference.series_uid, "ReferencedSOPSequence": images}
    return {"StudyInstanceUID": series.study.uid, "ReferencedSeriesSequence": [item]}
