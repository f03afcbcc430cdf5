-- Series with gaps between their slices: how many slices are missing, and where the gaps are
-- needs: SeriesInstanceUID, ImagePositionPatient, ImageOrientationPatient
with gaps as (
    select
        SeriesInstanceUID,
        [
            {'after': slice_positions[i], 'before': slice_positions[i + 1]}
            for i in range(1, len(slice_positions))
            -- as the rollup sees it: a gap of twice the spacing, or of a whole multiple
            if round((slice_positions[i + 1] - slice_positions[i]) / slice_spacing) > 1
        ] as gaps
    from series
    where missing_slices > 0
)
select
    PatientID, StudyInstanceUID, SeriesInstanceUID,
    Modality, SeriesDescription, Manufacturer, ManufacturerModelName,
    slice_count,
    missing_slices,
    slice_spacing,  -- mm
    gaps,  -- mm along the normal of the slices
    source_prefix
from series
join gaps using (SeriesInstanceUID)
order by missing_slices desc, SeriesInstanceUID
