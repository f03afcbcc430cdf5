-- Values with a fault, by attribute
with {labelled},
paths as (
    select by_modality, by_manufacturer, SOPInstanceUID, unnest(issues).path as path
    from labelled
),
found as (
    -- the place among the items of a sequence is left out
    select * exclude (path), left(regexp_replace(path, '\[\d+\]', '[*]', 'g'), 128) as attribute
    from paths
),
top as (
    select attribute from found group by attribute order by count(*) desc, attribute limit {top}
)
select
    by_modality, by_manufacturer,
    case when attribute in (from top) then attribute else '(other)' end as attribute,
    count(*) as faulty_values,
    count(distinct SOPInstanceUID) as instances
from found
group by 1, 2, 3
order by faulty_values desc, attribute, by_modality, by_manufacturer
