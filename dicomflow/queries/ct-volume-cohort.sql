-- CT series that are one regular volume of thin slices, fit for training or measuring: one per row, to be used as a manifest
-- needs: SeriesInstanceUID, Modality, ImagePositionPatient, ImageOrientationPatient
select
    PatientID, StudyInstanceUID, SeriesInstanceUID,
    StudyDate, BodyPartExamined, SeriesDescription,
    Manufacturer, ManufacturerModelName, ConvolutionKernel, ContrastBolusAgent, KVP,
    Rows, Columns, PixelSpacing,
    slice_count, slice_spacing, SliceThickness,
    series_size_MB,
    source_prefix
from series
where Modality = 'CT'
    and regularly_spaced_3d_volume
    and slice_count >= 20
    and slice_spacing <= 3  -- mm
    and partial_count = 0
    and len(conflicts) = 0
order by PatientID, StudyInstanceUID, SeriesInstanceUID
