-- Cancel a job that waits or runs; one that has ended stays as it is.
-- Returns 0 when there is none, or arg.key_id is given and did not make it; 2 when this ended it; else 1.

local job = load_job(arg.id)
if not job or (arg.key_id and arg.key_id ~= job.key_id) then return 0 end
if job.state ~= 'queued' and job.state ~= 'running' then return 1 end
local was_running = job.state == 'running'
settle(job, 'cancelled')
if was_running then redis.call('PUBLISH', key.control(), job.id) end
return 2
