-- Attributes in which files with one SOP Instance UID differ from the row that stands for them
with counted as (
    select unnest([
        {differences}
    ]) as one
    from conflicts as lost
    join instances as kept using (SOPInstanceUID)
)
select one.attribute as attribute, one.n as files
from counted
where one.n > 0
order by files desc, attribute
limit {top}
