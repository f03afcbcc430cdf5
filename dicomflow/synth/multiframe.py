"""Enhanced multi-frame objects: enhanced MR and segmentation, with shared and per-frame functional groups.

In: a ``Series``.  Out: its ``Draft``.  Knows PS3.3 A.36, A.51 and C.7.6.16; no bytes, no files.
"""

from __future__ import annotations

from dicomflow.synth.attributes import describe_acquisition, describe_series, vary_instances
from dicomflow.synth.draw import make_uid
from dicomflow.synth.geometry import AXIAL, ORIENTATIONS, Geometry, draw_geometry, format_decimal
from dicomflow.synth.pixels import Matrix, describe_pixels, vary_pixels
from dicomflow.synth.protocol import draw_protocol
from dicomflow.synth.references import Reference, refer_to_series
from dicomflow.synth.slices import describe_mr
from dicomflow.synth.study import Attributes, Draft, Series, Study, make_dataset, vary

_SIZE = 16
_MOVED_TO_GROUPS = ("RepetitionTime", "EchoTime", "FlipAngle", "EchoTrainLength", "WindowCenter", "WindowWidth")
_SEGMENTS = (("T-62000", "Liver"), ("T-28000", "Lung"), ("M-03010", "Nodule"))


def draft_enhanced_mr(series: Series) -> Draft:
    """Enhanced MR: a stack in one instance; spacing, orientation and positions live in the functional groups."""
    draw = series.draw
    frames = draw.integer(4, 12)
    protocol = draw_protocol(series)
    geometry = draw_geometry(draw, protocol, draw.pick(ORIENTATIONS), 240.0, _SIZE)
    mr = describe_mr(series, protocol)
    own = {
        **{keyword: value for keyword, value in mr.items() if keyword not in _MOVED_TO_GROUPS},
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NONE"],
        "NumberOfFrames": frames,
        "ContentQualification": "PRODUCT",
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "AcquisitionContrast": "T2",
        "ResonantNucleus": "1H",
        "BurnedInAnnotation": "NO",
        "AcquisitionDateTime": f"{series.study.date}{series.start // 3_600_000_000:02d}1500.25",
        "DimensionOrganizationSequence": [{"DimensionOrganizationUID": make_uid(series.uid, "dimensions")}],
        "SharedFunctionalGroupsSequence": [_share_mr_groups(geometry, mr)],
        "PerFrameFunctionalGroupsSequence": [
            _frame_groups(geometry, frame, series.study) | _frame_window(mr) for frame in range(frames)
        ],
    }
    matrix = Matrix(rows=_SIZE, columns=_SIZE, bits=12, frames=frames)
    header = make_dataset(describe_series(series) | describe_acquisition(series) | own | describe_pixels(matrix))
    phase = vary("AcquisitionNumber", lambda index: index + 1)
    return Draft(header, (*vary_instances(series, 20.0), phase, vary_pixels(matrix, series.syntax, draw)))


def _share_mr_groups(geometry: Geometry, mr: Attributes) -> Attributes:
    timing = {
        "RepetitionTime": mr["RepetitionTime"],
        "FlipAngle": mr["FlipAngle"],
        "EchoTrainLength": mr["EchoTrainLength"],
    }
    return {
        **_share_groups(geometry),
        "MRTimingAndRelatedParametersSequence": [timing],
        "MREchoSequence": [{"EffectiveEchoTime": float(mr["EchoTime"])}],
        "PixelValueTransformationSequence": [{"RescaleIntercept": "0", "RescaleSlope": "1", "RescaleType": "US"}],
    }


def _share_groups(geometry: Geometry) -> Attributes:
    measures = {
        "PixelSpacing": [format_decimal(spacing) for spacing in geometry.pixel_spacing],
        "SliceThickness": format_decimal(geometry.thickness),
        "SpacingBetweenSlices": format_decimal(geometry.step),
    }
    return {
        "PixelMeasuresSequence": [measures],
        "PlaneOrientationSequence": [{"ImageOrientationPatient": geometry.orientation}],
    }


def _frame_groups(geometry: Geometry, frame: int, study: Study) -> Attributes:
    content = {
        "FrameAcquisitionDateTime": f"{study.date}120000.{frame:06d}",
        "DimensionIndexValues": [1, frame + 1],
        "StackID": "1",
        "InStackPositionNumber": frame + 1,
    }
    return {
        "FrameContentSequence": [content],
        "PlanePositionSequence": [{"ImagePositionPatient": geometry.position(frame)}],
    }


def _frame_window(mr: Attributes) -> Attributes:
    window = {"WindowCenter": mr["WindowCenter"], "WindowWidth": mr["WindowWidth"]}
    return {"FrameVOILUTSequence": [window]}


def draft_seg(series: Series) -> Draft:
    """Segmentation of an image series of the study: one bit per pixel, one segment per structure."""
    draw = series.draw
    reference = refer_to_series(series)
    geometry = draw_geometry(draw, draw, AXIAL, 350.0, _SIZE)
    segments = _SEGMENTS[: draw.integer(1, len(_SEGMENTS))]
    frames = len(segments) * draw.integer(2, 5)
    own = {
        "ImageType": ["DERIVED", "PRIMARY"],
        "NumberOfFrames": frames,
        "SegmentationType": "BINARY",
        "ContentLabel": "LESIONS",
        "ContentDescription": "automatic",
        "ContentCreatorName": "",
        "LossyImageCompression": "00",
        "FrameOfReferenceUID": series.study.frame_of_reference_uid,
        "SegmentSequence": [_segment(number, *segment) for number, segment in enumerate(segments, 1)],
        "ReferencedSeriesSequence": [_reference_item(reference)],
        "SharedFunctionalGroupsSequence": [_share_groups(geometry)],
        "PerFrameFunctionalGroupsSequence": [
            _frame_groups(geometry, frame, series.study)
            | {"SegmentIdentificationSequence": [{"ReferencedSegmentNumber": frame % len(segments) + 1}]}
            for frame in range(frames)
        ],
    }
    # 16 x 16 one-bit pixels are packed into 32 bytes: as many as 1 x 32 pixels of a byte each.
    bits = Matrix(rows=1, columns=_SIZE * _SIZE // 8, bits=8, frames=frames)
    shape = {"Rows": _SIZE, "Columns": _SIZE, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    header = make_dataset(describe_series(series) | own | describe_pixels(bits) | shape)
    return Draft(header, (*vary_instances(series, 5.0), vary_pixels(bits, series.syntax, draw)))


def _segment(number: int, code: str, meaning: str) -> Attributes:
    structure = {"CodeValue": code, "CodingSchemeDesignator": "SRT", "CodeMeaning": meaning}
    category = {"CodeValue": "T-D0050", "CodingSchemeDesignator": "SRT", "CodeMeaning": "Tissue"}
    return {
        "SegmentNumber": number,
        "SegmentLabel": meaning,
        "SegmentAlgorithmType": "AUTOMATIC",
        "SegmentAlgorithmName": "LesionNet",
        "RecommendedDisplayCIELabValue": [34885 + number, 53485, 50171],
        "SegmentedPropertyCategoryCodeSequence": [category],
        "SegmentedPropertyTypeCodeSequence": [structure],
    }


def _reference_item(reference: Reference) -> Attributes:
    return {
        "SeriesInstanceUID": reference.series_uid,
        "ReferencedInstanceSequence": [
            {"ReferencedSOPClassUID": reference.sop_class_uid, "ReferencedSOPInstanceUID": uid}
            for uid in reference.instance_uids
        ],
    }
