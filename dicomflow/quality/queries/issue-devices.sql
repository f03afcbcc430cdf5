-- Instances with a faulty value, by device: manufacturer and model
with {labelled},
found as (
    select
        by_modality, by_manufacturer,
        coalesce(left(Manufacturer, 64), '(none)') || ' / ' || coalesce(left(ManufacturerModelName, 64), '(none)') as device,
        coalesce(len(issues), 0) as faulty_values
    from labelled
),
devices as (
    select
        by_modality, by_manufacturer, device,
        sum(faulty_values)::bigint as faulty_values,
        count(*) filter (faulty_values > 0) as instances,
        count(*) as of_instances
    from found
    group by all
),
top as (
    select device from devices
    group by device having sum(faulty_values) > 0
    order by sum(faulty_values) desc, device limit {top}
)
select
    by_modality, by_manufacturer,
    case when device in (from top) then device else '(other)' end as device,
    sum(faulty_values)::bigint as faulty_values,
    sum(instances)::bigint as instances,
    sum(of_instances)::bigint as of_instances
from devices
group by 1, 2, 3
order by faulty_values desc, device, by_modality, by_manufacturer
