-- A worker parts with a job that it has not finished. arg.failure: the batch crashed; without it,
-- the worker drains and the attempt does not count. Returns 0 when the claim is stale, 1 when the
-- job waits again, 2 when it became a dead letter.

local job = held(arg.id, arg.fence)
if not job then return 0 end

if arg.failure and is_given_up(job) then
  bury(job, 'worker_crashed', arg.failure, arg.message, arg.letter_ttl_ms)
  return 2
end
unbind(job)
if arg.failure then
  isolate(job)
else
  job.attempts = redis.call('HINCRBY', key.job(job.id), 'attempts', -1)
end
put(job)
return 1
