-- Studies, series, instances and bytes of each month and modality, by StudyDate
-- needs: StudyDate, Modality, StudyInstanceUID, SeriesInstanceUID
select
    date_trunc('month', StudyDate)::date as month,
    Modality,
    count(distinct StudyInstanceUID) as studies,
    count(distinct SeriesInstanceUID) as series,
    count(*) as instances,
    sum(source_size)::bigint as bytes
from instances
group by all
order by month, Modality
