-- Commit the end of a job: images, state, acknowledgement, counters and the last event at once.
-- ARGV[3]: data of the event; then the files, whose names are arg.files. Returns 0 when the claim is
-- stale, and 1 again for the claim that has already committed (its first answer was lost on the way).

if redis.call('HGET', key.job(arg.id), 'committed') == tostring(arg.fence) then return 1 end
local job = held(arg.id, arg.fence)
if not job then return 0 end

local fields = {'committed', tostring(arg.fence)}
for _, value in ipairs(arg.fields) do fields[#fields + 1] = value end
for i = 4, #ARGV do
  redis.call('HSET', key.images(arg.id), arg.files[i - 3], ARGV[i])
  redis.call('PEXPIRE', key.images(arg.id), job.ttl_ms)
end
if arg.state ~= 'expired' then record_drain(job) end
settle(job, arg.state, fields, ARGV[3])
return 1
