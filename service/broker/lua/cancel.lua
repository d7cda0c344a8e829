-- Cancel a job that waits or runs; one that has ended stays as it is.
-- Returns 0 when there is none, or arg.key_id is given and did not make it; 2 when no worker will
-- count it: it waited, or runs in parts; else 1.

local job = load_job(arg.id)
if not job or (arg.key_id and arg.key_id ~= job.key_id) then return 0 end
if job.state == 'running' then
  settle(job, 'cancelled')
  redis.call('PUBLISH', key.control(), job.id)
  if job.parts then return 2 end
elseif job.state == 'queued' then
  settle(job, 'cancelled')
  return 2
end
return 1
