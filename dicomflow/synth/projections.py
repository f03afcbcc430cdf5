"""Radiographs, mammograms and ultrasound loops: CR, DX, MG, US multi-frame.

In: a ``Series``.  Out: its ``Draft``.  Knows the attributes of these IODs (PS3.3 A.2, A.7, A.26, A.27); no bytes.
"""

from __future__ import annotations

from dicomflow.synth.attributes import describe_series, vary_instances
from dicomflow.synth.draw import Draw
from dicomflow.synth.geometry import format_decimal
from dicomflow.synth.pixels import Matrix, describe_pixels, vary_pixels
from dicomflow.synth.study import Attributes, Draft, Series, Varying, make_dataset, vary

_VIEWS = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))


def draft_cr(series: Series) -> Draft:
    """Computed radiography: plate, exposure index, no geometry of the patient."""
    draw = series.draw
    own = {
        "BodyPartExamined": draw.pick(("CHEST", "HAND", "KNEE", "FOOT")),
        "ViewPosition": draw.pick(("PA", "AP", "LL", "")),
        "KVP": str(draw.integer(50, 120)),
        "PlateType": "",
        "CassetteSize": "35CMX43CM",
        "Sensitivity": format_decimal(draw.real(80, 400, 0)),
        "ImagerPixelSpacing": ["0.2", "0.2"],
        "PatientOrientation": ["L", "F"],
        "ImageType": ["DERIVED", "PRIMARY"],
        "AcquisitionDeviceProcessingDescription": "CHEST,FRN",
    }
    return _draft(series, Matrix(rows=32, columns=24, bits=10), own, "MONOCHROME1", ())


def draft_dx(series: Series) -> Draft:
    """Digital X-ray for presentation: detector, dose, positioner."""
    draw = series.draw
    own = {
        **_describe_digital(draw),
        "BodyPartExamined": draw.pick(("CHEST", "PELVIS", "SHOULDER")),
        "ViewPosition": draw.pick(("PA", "LL")),
        "Grid": ["FOCUSED", "RECIPROCATING"],
        "EntranceDose": draw.integer(1, 40),
        "AnatomicRegionSequence": [_code("T-D3000", "Chest")],
        "ViewCodeSequence": [_code("R-10214", "postero-anterior")],
        "LossyImageCompression": "00",
    }
    exposure = (vary("ExposureIndex", lambda index: str(300 + index * 41 % 700)),)
    return _draft(series, Matrix(rows=40, columns=32, bits=14), own, "MONOCHROME2", exposure)


def draft_mg(series: Series) -> Draft:
    """Mammography: the four standard views, compression force, per breast."""
    draw = series.draw
    own = {
        **_describe_digital(draw),
        "BodyPartExamined": "BREAST",
        "OrganExposed": "BREAST",
        "BodyPartThickness": str(draw.integer(30, 80)),
        "FilterMaterial": "RHODIUM",
        "AnodeTargetMaterial": "TUNGSTEN",
        "PositionerType": "MAMMOGRAPHIC",
        "EstimatedRadiographicMagnificationFactor": "1.072",
        "BreastImplantPresent": "NO",
        "AnatomicRegionSequence": [_code("T-04000", "Breast")],
    }
    views = (
        vary("ImageLaterality", lambda index: _VIEWS[index % 4][0]),
        vary("ViewPosition", lambda index: _VIEWS[index % 4][1]),
        vary("PatientOrientation", lambda index: "P\\L" if index % 2 == 0 else "A\\R"),
        vary("CompressionForce", lambda index: str(80 + index * 7 % 60)),
    )
    return _draft(series, Matrix(rows=48, columns=36, bits=12), own, "MONOCHROME2", views)


def draft_us(series: Series) -> Draft:
    """Ultrasound loop: colour frames, regions, frame time."""
    draw = series.draw
    frames = draw.integer(3, 8)
    photometric = "YBR_FULL_422" if series.syntax.codec == "jpeg" else "RGB"
    region = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionFlags": 2,
        "RegionLocationMinX0": 0,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": 23,
        "RegionLocationMaxY1": 17,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.0345,
        "PhysicalDeltaY": 0.0345,
    }
    own = {
        "ImageType": ["ORIGINAL", "PRIMARY", "CARDIAC", "0011"],
        "SequenceOfUltrasoundRegions": [region],
        "NumberOfFrames": frames,
        "FrameTime": format_decimal(draw.real(16, 50, 3)),
        "FrameIncrementPointer": 0x00181063,
        "HeartRate": draw.integer(50, 110),
        "TransducerData": ["X5-1", "", ""],
        "ProtocolName": "Adult Echo",
        "LossyImageCompression": "00" if photometric == "RGB" else "01",
    }
    matrix = Matrix(rows=18, columns=24, bits=8, samples=3, frames=frames)
    return _draft(series, matrix, own, photometric, ())


def _describe_digital(draw: Draw) -> Attributes:
    """Detector and generator of a digital X-ray system (PS3.3 C.8.11)."""
    return {
        "ImageType": ["DERIVED", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "KVP": format_decimal(draw.real(26, 125, 1)),
        "ExposureTime": draw.integer(4, 900),
        "XRayTubeCurrent": draw.integer(60, 400),
        "Exposure": draw.integer(2, 90),
        "DistanceSourceToDetector": "660",
        "DetectorType": "DIRECT",
        "DetectorID": f"DET{draw.integer(1, 9)}",
        "ImagerPixelSpacing": ["0.143", "0.143"],
        "FieldOfViewShape": "RECTANGLE",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "BurnedInAnnotation": "NO",
        "PresentationLUTShape": "IDENTITY",
        "PatientOrientation": ["L", "F"],
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "US",
    }


def _draft(series: Series, matrix: Matrix, own: Attributes, photometric: str, varying: tuple[Varying, ...]) -> Draft:
    """Common modules, the attributes of the kind, pixels; half a minute passes between two images."""
    times = {"AcquisitionDate": series.study.date, "AcquisitionNumber": 1}
    header = make_dataset(describe_series(series) | times | own | describe_pixels(matrix, photometric))
    if matrix.samples == 1:
        header.WindowCenter, header.WindowWidth = str(2 ** (matrix.bits - 1)), str(2**matrix.bits)
    return Draft(header, (*vary_instances(series, 30.0), *varying, vary_pixels(matrix, series.syntax, series.draw)))


def _code(value: str, meaning: str) -> Attributes:
    return {"CodeValue": value, "CodingSchemeDesignator": "SRT", "CodeMeaning": meaning}
