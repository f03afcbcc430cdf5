-- Which scanners sent images: maker, model, serial number, software, how much, and when first and last
-- needs: Manufacturer, ManufacturerModelName, DeviceSerialNumber, StationName, InstitutionName, Modality, SoftwareVersions, StudyInstanceUID, SeriesInstanceUID, StudyDate
select
    Manufacturer,
    ManufacturerModelName,
    DeviceSerialNumber,
    StationName,
    InstitutionName,
    list_sort(list(distinct Modality) filter (Modality is not null)) as modalities,
    list_sort(list(distinct array_to_string(SoftwareVersions, ' / ')) filter (SoftwareVersions is not null)) as software_versions,
    count(distinct StudyInstanceUID) as studies,
    count(distinct SeriesInstanceUID) as series,
    count(*) as instances,
    min(StudyDate) as first_study,
    max(StudyDate) as last_study
from instances
group by Manufacturer, ManufacturerModelName, DeviceSerialNumber, StationName, InstitutionName
order by instances desc, Manufacturer, ManufacturerModelName, DeviceSerialNumber, StationName, InstitutionName
