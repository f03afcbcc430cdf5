-- Files read per second by each of the last runs
select
    run_id, replace(left(started, 19), 'T', ' ') as started, mode, listed, "read", removed, seconds,
    case when seconds > 0 then round("read" / seconds, 1) end as files_per_second,
    version
from runs
order by started desc nulls last, run_id desc
limit {top}
