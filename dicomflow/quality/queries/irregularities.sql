-- Series by what keeps them from being one regular volume; a series may have several
with {labelled},
found as (
    select
        by_modality, by_manufacturer, instanceCount,
        unnest(case when regularly_spaced_3d_volume then ['(regular volume)'] else irregularities end) as irregularity
    from labelled
)
select by_modality, by_manufacturer, irregularity, count(*) as series, sum(instanceCount)::bigint as instances
from found
group by by_modality, by_manufacturer, irregularity
order by series desc, irregularity, by_modality, by_manufacturer
