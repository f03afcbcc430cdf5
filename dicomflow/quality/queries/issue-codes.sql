-- Values with a fault, by kind of fault
with {labelled},
found as (
    select by_modality, by_manufacturer, SOPInstanceUID, left(unnest(issues).code, 64) as code
    from labelled
),
top as (
    select code from found group by code order by count(*) desc, code limit {top}
)
select
    by_modality, by_manufacturer,
    case when code in (from top) then code else '(other)' end as code,
    count(*) as faulty_values,
    count(distinct SOPInstanceUID) as instances
from found
group by 1, 2, 3
order by faulty_values desc, code, by_modality, by_manufacturer
