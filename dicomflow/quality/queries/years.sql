-- Instances by year of StudyDate
with {labelled}
select
    by_modality, by_manufacturer,
    case
        when StudyDate is null then '(no date)'
        when StudyDate < {oldest} then 'before ' || year({oldest})
        when StudyDate > {today} then 'in the future'
        else year(StudyDate)::varchar
    end as year,
    count(*) as instances
from labelled
group by all
order by year, by_modality, by_manufacturer
