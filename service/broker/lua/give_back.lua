-- A worker parts with a job, or a part of one, that it has not finished. arg.failure: the batch
-- crashed, or with arg.code the pictures could not be stored, which is no fault of the job's; without
-- it, the worker drains and the attempt does not count. Returns 0 when the claim is stale, 1 when the
-- job waits again, 2 when it became a dead letter.

local job, part = held(arg.id, arg.fence)
if not job then return 0 end

local attempts = (part or job).attempts
local is_last = arg.code and attempts >= arg.max_attempts
if arg.failure and (is_last or is_given_up(attempts, runs_alone(job, part))) then
  bury(job, arg.code or 'worker_crashed', arg.failure, arg.message, arg.letter_ttl_ms)
  return 2
end
if part then
  part.alone = part.alone or (arg.failure ~= nil and not arg.code)
  if not arg.failure then part.attempts = part.attempts - 1 end
  put_part(job, part)
  return 1
end
unbind(job)
if arg.failure and not arg.code then
  isolate(job)
elseif not arg.failure then
  job.attempts = redis.call('HINCRBY', key.job(job.id), 'attempts', -1)
end
put(job)
return 1
