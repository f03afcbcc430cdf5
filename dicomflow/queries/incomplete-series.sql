-- Series that may not have arrived whole: numbers missing between the first and the last InstanceNumber, headers that break off
-- needs: PatientID, StudyInstanceUID, SeriesInstanceUID, Modality, SeriesDescription, InstanceNumber
select
    string_agg(distinct PatientID, ' / ' order by PatientID) as PatientID,
    string_agg(distinct StudyInstanceUID, ' / ' order by StudyInstanceUID) as StudyInstanceUID,
    SeriesInstanceUID,
    string_agg(distinct Modality, ' / ' order by Modality) as Modality,
    string_agg(distinct SeriesDescription, ' / ' order by SeriesDescription) as SeriesDescription,
    count(*) as instances,
    min(InstanceNumber) as first_number,
    max(InstanceNumber) as last_number,
    coalesce(max(InstanceNumber) - min(InstanceNumber) + 1 - count(distinct InstanceNumber), 0) as missing_numbers,
    count(*) filter (status = 'partial') as partial
from instances
where SeriesInstanceUID is not null
group by SeriesInstanceUID
having missing_numbers > 0 or partial > 0
order by missing_numbers desc, partial desc, SeriesInstanceUID
