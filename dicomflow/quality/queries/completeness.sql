-- How many instances have a value of each attribute
with {labelled}
select
    by_modality, by_manufacturer,
    count(*) as instances,
    {counts}
from labelled
group by all
order by instances desc, by_modality, by_manufacturer
