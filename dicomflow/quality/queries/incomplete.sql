-- Series that may not have arrived whole
with {labelled},
numbered as (
    select
        case when min(by_modality) = max(by_modality) then min(by_modality) else '(other)' end as by_modality,
        case when min(by_manufacturer) = max(by_manufacturer) then min(by_manufacturer) else '(other)' end as by_manufacturer,
        count(*) as instances,
        max(InstanceNumber)::hugeint - min(InstanceNumber) + 1 > count(distinct InstanceNumber) as lacks_numbers,
        count(*) > count(distinct InstanceNumber) and count(InstanceNumber) = count(*) as repeats_numbers,
        count(*) > count(InstanceNumber) as lacks_number,
        count(*) filter (status = 'partial') > 0 as is_partial
    from labelled
    where SeriesInstanceUID is not null
    group by SeriesInstanceUID
),
counted as (
    select
        by_modality, by_manufacturer,
        unnest([
            {'fault': 'numbers missing between first and last InstanceNumber',
                'series': count(*) filter (lacks_numbers), 'instances': sum(instances) filter (lacks_numbers)},
            {'fault': 'an InstanceNumber twice',
                'series': count(*) filter (repeats_numbers), 'instances': sum(instances) filter (repeats_numbers)},
            {'fault': 'instances without InstanceNumber',
                'series': count(*) filter (lacks_number), 'instances': sum(instances) filter (lacks_number)},
            {'fault': 'headers that break off',
                'series': count(*) filter (is_partial), 'instances': sum(instances) filter (is_partial)}
        ]) as rule
    from numbered
    group by by_modality, by_manufacturer
)
select by_modality, by_manufacturer, rule.fault as fault, rule.series as series, rule.instances::bigint as instances
from counted
where rule.series > 0
order by series desc, fault, by_modality, by_manufacturer
