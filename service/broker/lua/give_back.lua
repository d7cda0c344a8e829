-- A worker parts with a job that it has not finished. arg.failure: the batch crashed, or with
-- arg.code the job's pictures could not be stored, which is no fault of its own; without it, the
-- worker drains and the attempt does not count. Returns 0 when the claim is stale, 1 when the job
-- waits again, 2 when it became a dead letter.

local job = held(arg.id, arg.fence)
if not job then return 0 end

local is_last = arg.code and job.attempts >= arg.max_attempts
if arg.failure and (is_last or is_given_up(job)) then
  bury(job, arg.code or 'worker_crashed', arg.failure, arg.message, arg.letter_ttl_ms)
  return 2
end
unbind(job)
if arg.failure and not arg.code then
  isolate(job)
elseif not arg.failure then
  job.attempts = redis.call('HINCRBY', key.job(job.id), 'attempts', -1)
end
put(job)
return 1
