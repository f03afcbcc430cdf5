-- Files whose SOP Instance UID another file has: with the same header (duplicate), with another (conflict)
with {labelled},
copies as (
    select SOPInstanceUID, status, size from files where status in ('duplicate', 'conflict')
)
select
    by_modality, by_manufacturer,
    copies.status,
    count(*) as files,
    count(distinct SOPInstanceUID) as instances,
    sum(copies.size)::bigint as bytes
from copies
join labelled using (SOPInstanceUID)
group by all
order by files desc, copies.status, by_modality, by_manufacturer
