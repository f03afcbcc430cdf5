-- Series by attribute that should be the same in all of their instances, and is not
with {labelled},
found as (
    select by_modality, by_manufacturer, instanceCount, unnest(conflicts) as attribute
    from labelled
    where SeriesInstanceUID is not null  -- what has no series should have nothing in common
)
select by_modality, by_manufacturer, attribute, count(*) as series, sum(instanceCount)::bigint as instances
from found
group by by_modality, by_manufacturer, attribute
order by series desc, attribute, by_modality, by_manufacturer
