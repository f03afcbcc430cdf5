-- What is in the archive: of all, by modality, by manufacturer, by both (null: of all)
with {labelled},
counted as (
    select
        by_modality, by_manufacturer, PatientID, StudyInstanceUID, SeriesInstanceUID,
        count(*) as instances,
        count(*) filter (status = 'partial') as partial,
        sum(source_size) as bytes,
        sum(len(issues)) as faulty_values
    from labelled
    group by all
)
select
    by_modality, by_manufacturer,
    coalesce(sum(instances), 0)::bigint as instances,
    count(distinct SeriesInstanceUID) as series,
    count(distinct StudyInstanceUID) as studies,
    count(distinct PatientID) as patients,
    coalesce(sum(bytes), 0)::bigint as bytes,
    coalesce(sum(partial), 0)::bigint as partial,
    coalesce(sum(faulty_values), 0)::bigint as faulty_values
from counted
group by grouping sets ((), (by_modality), (by_manufacturer), (by_modality, by_manufacturer))
order by instances desc, by_modality nulls first, by_manufacturer nulls first
