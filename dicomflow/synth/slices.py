"""Scanners that make stacks of slices: CT, MR (short and long headers), PET.

In: a ``Series``.  Out: its ``Draft``.  Knows the attributes of these IODs (PS3.3 A.3, A.4, A.21); no bytes, no files.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicomflow.synth.attributes import (
    describe_acquisition,
    describe_plane,
    describe_series,
    vary_instances,
    vary_slices,
)
from dicomflow.synth.draw import Draw, make_uid
from dicomflow.synth.geometry import AXIAL, ORIENTATIONS, Geometry, draw_geometry, format_decimal
from dicomflow.synth.pixels import Matrix, describe_pixels, vary_pixels
from dicomflow.synth.private import add_private_elements, find_private_tag
from dicomflow.synth.protocol import draw_protocol, drift
from dicomflow.synth.study import Attributes, Draft, Series, Varying, make_dataset, vary

_TRACER = {"CodeValue": "C-111A1", "CodingSchemeDesignator": "SRT", "CodeMeaning": "^18^Fluorine"}
_SMALL = 16
_BENCHMARK_SIZE = 64


def draft_ct(series: Series) -> Draft:
    """CT image: Hounsfield units, tube, dose."""
    matrix = Matrix(rows=_SMALL, columns=_SMALL, bits=12)
    protocol = draw_protocol(series)
    geometry = draw_geometry(series.draw, protocol, AXIAL, 350.0, _SMALL)
    exposure = (
        vary("XRayTubeCurrent", lambda index: 120 + index * 13 % 180),
        vary("Exposure", lambda index: 60 + index % 90),
    )
    own = _describe_ct(series.draw, series) | drift(series, _set_ct(protocol))
    return _draft(series, geometry, matrix, own, exposure)


def _set_ct(protocol: Draw) -> Attributes:
    """What a CT protocol decides."""
    return {
        "KVP": protocol.pick(("80", "100", "120", "140")),
        "ExposureTime": protocol.integer(400, 900),
        "FocalSpots": protocol.pick(("0.7", "1.2")),
        "ConvolutionKernel": protocol.pick(("B31f", "STANDARD", "LUNG", ["Br40d", "3"])),
        "RevolutionTime": 0.5,
        "SpiralPitchFactor": 0.984375,
    }


def _describe_ct(draw: Draw, series: Series) -> Attributes:
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "BodyPartExamined": draw.pick(("CHEST", "ABDOMEN", "HEAD", "PELVIS")),
        "ScanOptions": "HELICAL MODE",
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": "350",
        "DistanceSourceToDetector": "949.075",
        "DistanceSourceToPatient": "541",
        "GantryDetectorTilt": "0",
        "TableHeight": format_decimal(draw.real(120, 190, 1)),
        "RotationDirection": "CW",
        "FilterType": "BODY FILTER",
        "GeneratorPower": draw.integer(12, 80),
        "CTDIvol": draw.real(2, 18, 4),
        "IrradiationEventUID": make_uid(series.uid, "irradiation event"),
        "ContrastBolusAgent": draw.pick(("", "Iohexol 350")),
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "WindowCenter": ["40", "-600"],
        "WindowWidth": ["400", "1500"],
        "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    }


def draft_mr(series: Series) -> Draft:
    """MR image with the private elements of its vendor."""
    draw, protocol = series.draw, draw_protocol(series)
    geometry = draw_geometry(draw, protocol, draw.pick(ORIENTATIONS), 240.0, _SMALL)
    matrix = Matrix(rows=_SMALL, columns=_SMALL, bits=12)
    return _draft(series, geometry, matrix, describe_mr(series, protocol), (), seconds=2.5)


def draft_mr_long(series: Series) -> Draft:
    """MR image of the size that archives are full of: some 335 elements, a 17 KB header, 64 x 64 pixels."""
    draw, protocol = series.draw, draw_protocol(series)
    geometry = draw_geometry(draw, protocol, draw.pick(ORIENTATIONS), 240.0, _BENCHMARK_SIZE)
    matrix = Matrix(rows=_BENCHMARK_SIZE, columns=_BENCHMARK_SIZE, bits=12, signed=True)
    own = describe_mr(series, protocol) | _describe_long_mr(draw)
    return _draft(series, geometry, matrix, own, (), seconds=2.5)


def describe_mr(series: Series, protocol: Draw) -> Attributes:
    """The MR image module: what the protocol decides, what the magnet is, and what is the patient's."""
    draw = series.draw
    tesla = Draw("magnet", series.device.serial).pick((1.5, 3.0))
    return {
        **drift(series, _set_mr(protocol)),
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "BodyPartExamined": draw.pick(("BRAIN", "KNEE", "SPINE", "PROSTATE")),
        "AngioFlag": "N",
        "NumberOfAverages": "1",
        "ImagingFrequency": format_decimal(tesla * 42.577478 + draw.real(0, 0.01, 6)),
        "ImagedNucleus": "1H",
        "EchoNumbers": 1,
        "MagneticFieldStrength": format_decimal(tesla),
        "PercentSampling": "100",
        "PercentPhaseFieldOfView": "100",
        "ReceiveCoilName": draw.pick(("HeadNeck_64", "48HA", "Body")),
        "TransmitCoilName": "Body",
        "AcquisitionMatrix": [64, 0, 0, 64],
        "InPlanePhaseEncodingDirection": draw.pick(("ROW", "COL")),
        "VariableFlipAngleFlag": "N",
        "SAR": format_decimal(draw.real(0.01, 3, 6)),
        "dBdt": "0",
        "WindowCenter": str(draw.integer(200, 900)),
        "WindowWidth": str(draw.integer(400, 1800)),
    }


def _set_mr(draw: Draw) -> Attributes:
    """What an MR protocol decides."""
    return {
        "ScanningSequence": draw.pick(("SE", ["EP", "GR"], "GR", ["SE", "IR"])),
        "SequenceVariant": draw.pick(("SK", ["SK", "SP"], "SS")),
        "ScanOptions": draw.pick(("FS", ["PFP", "FS"], "SAT_GEMS")),
        "MRAcquisitionType": draw.pick(("2D", "3D")),
        "SequenceName": draw.pick(("*tse2d1_15", "epfid2d1_64", "*fl3d1")),
        "RepetitionTime": format_decimal(draw.real(4, 6000, 1)),
        "EchoTime": format_decimal(draw.real(2, 110, 2)),
        "NumberOfPhaseEncodingSteps": draw.integer(64, 320),
        "EchoTrainLength": draw.integer(1, 16),
        "PixelBandwidth": format_decimal(draw.real(120, 2000, 1)),
        "FlipAngle": str(draw.integer(8, 180)),
    }


def _describe_long_mr(draw: Draw) -> Attributes:
    """What scanners add beyond the essentials."""
    code = {"CodeValue": "T-A0100", "CodingSchemeDesignator": "SRT", "CodeMeaning": "Brain"}
    reference = {
        "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
        "ReferencedSOPInstanceUID": make_uid("localizer", draw.integer(0, 10**9)),
    }
    return {
        "ReferencedPerformedProcedureStepSequence": [dict(reference)],
        "ReferencedImageSequence": [dict(reference), dict(reference)],
        "AnatomicRegionSequence": [code],
        "PerformingPhysicianName": "",
        "OperatorsName": "",
        "OtherPatientIDs": "",
        "AdditionalPatientHistory": "",
        "PregnancyStatus": 4,
        "BeatRejectionFlag": "N",
        "LowRRValue": "0",
        "HighRRValue": "0",
        "HeartRate": "0",
        "CardiacNumberOfImages": "0",
        "TriggerWindow": "0",
        "ReconstructionDiameter": "240",
        "Laterality": "",
        "NumberOfTemporalPositions": "1",
        "TemporalResolution": "2500",
        "StackID": "1",
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "US",
        "PerformedStationName": "MR01",
        "PerformedLocation": "ROOM 2",
        "RequestedProcedureDescription": "MRI",
        "RequestedProcedureID": str(draw.integer(1000, 9999)),
        "CommentsOnThePerformedProcedureStep": "",
    }


def draft_pet(series: Series) -> Draft:
    """PET image: tracer, corrections, a rescale slope of its own in each slice."""
    matrix = Matrix(rows=_SMALL, columns=_SMALL, bits=16, signed=True)
    geometry = draw_geometry(series.draw, draw_protocol(series), AXIAL, 700.0, _SMALL)
    frame_ms = 120_000
    own = (
        vary("RescaleSlope", lambda index: format_decimal(0.35 + index * 17 % 100 / 1000)),
        vary("FrameReferenceTime", lambda index: str(frame_ms // 2 + index // 40 * frame_ms)),
        vary("DecayFactor", lambda index: format_decimal(1.01 + index // 40 * 0.012)),
        vary("ImageIndex", lambda index: index + 1),
    )
    return _draft(series, geometry, matrix, _describe_pet(series, frame_ms), own, seconds=0.0)


def _describe_pet(series: Series, frame_ms: int) -> Attributes:
    draw = series.draw
    tracer = {
        "Radiopharmaceutical": "FDG -- fluorodeoxyglucose",
        "RadiopharmaceuticalVolume": "0",
        "RadiopharmaceuticalStartTime": f"06{draw.integer(10, 59)}00.00",
        "RadionuclideTotalDose": str(draw.integer(180, 420) * 1_000_000),
        "RadionuclideHalfLife": "6586.2",
        "RadionuclidePositronFraction": "0.97",
        "RadionuclideCodeSequence": [dict(_TRACER)],
    }
    return {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BodyPartExamined": "WHOLEBODY",
        "RadiopharmaceuticalInformationSequence": [tracer],
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "CorrectedImage": ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
        "DecayCorrection": "START",
        "RandomsCorrectionMethod": "DLYD",
        "AttenuationCorrectionMethod": "measured,, 0.096000 cm-1",
        "ScatterCorrectionMethod": "Model-based",
        "ReconstructionMethod": "OSEM3D 2i24s",
        "CollimatorType": "NONE",
        "NumberOfSlices": series.plan.acquired,
        "NumberOfTimeSlices": 1,
        "ActualFrameDuration": frame_ms,
        "DoseCalibrationFactor": "1",
        "RescaleIntercept": "0",
        "WindowCenter": "5000",
        "WindowWidth": "10000",
    }


def _draft(
    series: Series,
    geometry: Geometry,
    matrix: Matrix,
    own: Attributes,
    varying: tuple[Varying, ...],
    seconds: float = 0.5,
) -> Draft:
    """Common modules, the attributes of the kind, private elements, pixels."""
    header = make_dataset(
        describe_series(series)
        | describe_acquisition(series)
        | describe_plane(geometry)
        | own
        | describe_pixels(matrix)
    )
    header.SpacingBetweenSlices = format_decimal(geometry.step)
    vendor = series.device.vendor
    add_private_elements(header, series.plan.kind, vendor, series.draw)
    return Draft(
        header,
        (
            *vary_instances(series, seconds),
            *vary_slices(series, geometry, seconds),
            *varying,
            *_vary_private(header, geometry),
            vary_pixels(matrix, series.syntax, series.draw),
        ),
    )


def _vary_private(header: Dataset, geometry: Geometry) -> tuple[Varying, ...]:
    """The private elements that are known to differ between the slices of a series."""
    known = (
        ((0x0027, "GEMS_IMAG_01", 0x41), "FL", lambda index: float(geometry.location(index))),
        ((0x0043, "GEMS_PARM_01", 0x28), "OB", lambda index: f"MR Recon 1/4/2/{index + 1}".encode().ljust(80, b"\0")),
        ((0x0051, "SIEMENS MR HEADER", 0x0D), "SH", lambda index: f"SP {float(geometry.location(index)):.1f}"),
        ((0x0019, "SIEMENS MR HEADER", 0x16), "DS", lambda index: format_decimal(index * 0.0525)),
    )
    located = ((find_private_tag(header, *place), vr, value) for place, vr, value in known)
    return tuple(Varying(tag, vr, value) for tag, vr, value in located if tag is not None)
