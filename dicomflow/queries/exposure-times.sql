-- Exposure by scanner and protocol (CT, X-ray): time in ms, tube current in mA, dose; median, extremes and 95th percentile
-- needs: Modality, Manufacturer, ManufacturerModelName, DeviceSerialNumber, ProtocolName, SeriesInstanceUID, ExposureTime, XRayTubeCurrent, KVP, Exposure, CTDIvol
select
    Modality,
    Manufacturer,
    ManufacturerModelName,
    DeviceSerialNumber,
    ProtocolName,
    count(distinct SeriesInstanceUID) as series,
    count(ExposureTime) as instances,
    min(ExposureTime) as min_exposure_time,
    median(ExposureTime) as median_exposure_time,
    quantile_cont(ExposureTime, 0.95) as p95_exposure_time,
    max(ExposureTime) as max_exposure_time,
    median(XRayTubeCurrent) as median_tube_current,
    median(KVP) as median_kvp,
    median(Exposure) as median_exposure,
    median(CTDIvol) as median_ctdivol
from instances
where ExposureTime is not null
group by Modality, Manufacturer, ManufacturerModelName, DeviceSerialNumber, ProtocolName
order by instances desc, Modality, Manufacturer, ManufacturerModelName, DeviceSerialNumber, ProtocolName
