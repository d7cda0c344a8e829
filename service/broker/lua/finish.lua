-- Commit the end of a job: images, state, acknowledgement, counters and the last event at once.
-- ARGV[3]: data of the event; then the files, whose names are arg.files. Returns 0 when the claim is
-- stale, 1 again for the claim that has already committed (its first answer was lost on the way), 2
-- for one of a part of a job that has ended without it, and 3 or 4 where the job has ended at its
-- deadline or was cancelled, and was counted there. Parts that succeed are in finish_part.lua.

local ENDED_BEFORE = {expired = 3, cancelled = 4}

local function came_too_late()
  local job = load_job(arg.id)
  return job and job.fence == arg.fence and ENDED_BEFORE[job.state]
end

if redis.call('HGET', key.job(arg.id), 'committed') == tostring(arg.fence) then return 1 end
local job, part = held(arg.id, arg.fence)
if not job then return is_settled(arg.id, arg.fence) and 2 or came_too_late() or 0 end

local fields = {'committed', tostring(arg.fence)}
for _, value in ipairs(arg.fields) do fields[#fields + 1] = value end
for i = 4, #ARGV do
  redis.call('HSET', key.images(arg.id), arg.files[i - 3], ARGV[i])
  redis.call('PEXPIRE', key.images(arg.id), job.ttl_ms)
end
if arg.state ~= 'expired' then record_drain(job, part and part.count or job.cost) end
settle(job, arg.state, fields, ARGV[3])
return 1
