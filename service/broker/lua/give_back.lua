-- A worker parts with a job, or a part of one, that it has not finished. arg.failure: the batch crashed; without it,
-- the worker drains and the attempt does not count. Returns 0 when the claim is stale, 1 when the
-- job waits again, 2 when it became a dead letter.

local job, part = held(arg.id, arg.fence)
if not job then return 0 end

if arg.failure and is_given_up((part or job).attempts, runs_alone(job, part)) then
  bury(job, 'worker_crashed', arg.failure, arg.message, arg.letter_ttl_ms)
  return 2
end
if part then
  part.alone = part.alone or arg.failure ~= nil
  if not arg.failure then part.attempts = part.attempts - 1 end
  put_part(job, part)
  return 1
end
unbind(job)
if arg.failure then
  isolate(job)
else
  job.attempts = redis.call('HINCRBY', key.job(job.id), 'attempts', -1)
end
put(job)
return 1
