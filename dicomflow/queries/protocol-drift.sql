-- Protocols whose settings differ from series to series on one scanner: each variant, in the order of its first use
-- needs: Manufacturer, ManufacturerModelName, DeviceSerialNumber, Modality, ProtocolName, SeriesInstanceUID, StudyDate, KVP, ConvolutionKernel, SliceThickness, PixelSpacing, SpiralPitchFactor, MagneticFieldStrength, RepetitionTime, EchoTime, InversionTime, FlipAngle, SoftwareVersions, BitsStored
with settings as (
    select
        Manufacturer, ManufacturerModelName, DeviceSerialNumber, Modality, ProtocolName,
        SeriesInstanceUID,
        StudyDate,
        -- what a protocol decides; positions, times and doses differ from patient to patient
        {
            'KVP': KVP,
            'ConvolutionKernel': ConvolutionKernel,
            'SliceThickness': SliceThickness,
            'PixelSpacing': PixelSpacing,
            'SpiralPitchFactor': SpiralPitchFactor,
            'MagneticFieldStrength': MagneticFieldStrength,
            'RepetitionTime': RepetitionTime,
            'EchoTime': EchoTime,
            'InversionTime': InversionTime,
            'FlipAngle': FlipAngle,
            'SoftwareVersions': SoftwareVersions
        } as setting
    from instances
    where ProtocolName is not null
        -- what a header that breaks off does not say is no other setting; one without pixels that comes as far as BitsStored was
        -- stripped, and says all of them
        and (source_uri, coalesce(source_member, '')) not in (
            select (uri, coalesce(member, '')) from files where status = 'partial' and code <> 'ends_early'
        )
        and (status <> 'partial' or BitsStored is not null)
),
variants as (
    select
        Manufacturer, ManufacturerModelName, DeviceSerialNumber, Modality, ProtocolName,
        setting,
        min(StudyDate) as first_study,
        max(StudyDate) as last_study,
        count(distinct SeriesInstanceUID) as series,
        count(*) as instances
    from settings
    group by all
),
numbered as (
    select
        *,
        count(*) over protocol as variants,
        row_number() over (protocol order by first_study, last_study, setting::varchar) as variant
    from variants
    window protocol as (
        partition by Manufacturer, ManufacturerModelName, DeviceSerialNumber, Modality, ProtocolName
    )
)
select
    Manufacturer, ManufacturerModelName, DeviceSerialNumber, Modality, ProtocolName,
    variant, variants, first_study, last_study, series, instances,
    unnest(setting)
from numbered
where variants > 1
order by Manufacturer, ManufacturerModelName, DeviceSerialNumber, Modality, ProtocolName, variant
