-- How the files ended
select status, coalesce(code, '') as code, count(*) as files, least(coalesce(sum(size), 0), 9223372036854775807)::bigint as bytes
from files
group by all
order by files desc, status, code
limit 200
