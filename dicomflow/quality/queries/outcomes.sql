-- How the files ended
select status, coalesce(code, '') as code, count(*) as files, coalesce(sum(size), 0)::bigint as bytes
from files
group by all
order by files desc, status, code
limit 200
