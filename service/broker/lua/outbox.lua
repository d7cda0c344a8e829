-- Messages for callers' own servers. Stands before the prelude, so that what changes a job's state can
-- tell of it in the same step: a message is there exactly if the change is.
-- A message is a copy of the job's hash, that is of the job as it stood. Each host has a queue of its
-- own; messages move only through schedule, unschedule, post, forget_message and give_up_message.

local OUTBOX_MS = 90000000 -- 25 hours: attempts go on for a day
local MAX_MESSAGES = 10000 -- that wait, of one API key
local MAX_HOOK_LETTERS = 10000

-- The first message of a host is the host's own place among the hosts.
local function place_host(host)
  local first = redis.call('ZRANGE', key.hooks(host), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', key.hook_hosts(), first[2], host)
    redis.call('PEXPIRE', key.hook_hosts(), OUTBOX_MS)
  else
    redis.call('ZREM', key.hook_hosts(), host)
  end
end

-- The message may be sent from this time (ms) on.
local function schedule(host, id, at)
  redis.call('ZADD', key.hooks(host), at, id)
  redis.call('PEXPIRE', key.hooks(host), OUTBOX_MS)
  place_host(host)
end

local function unschedule(host, id)
  redis.call('ZREM', key.hooks(host), id)
  place_host(host)
end

local function host_of(id)
  return redis.call('HGET', key.hook(id), 'hook_host')
end

-- What was added before that time has outlived its message, whose hash dies by itself.
local function drop_older(name, before)
  redis.call('ZREMRANGEBYSCORE', name, '-inf', '(' .. string.format('%.0f', before))
end

-- Let a message wait, to be sent at once.
local function post(id, host, key_id, now)
  redis.call('HSET', key.hook(id), 'hook_attempts', 0)
  redis.call('PEXPIRE', key.hook(id), OUTBOX_MS)
  for _, name in ipairs({key.hook_since(), key.hook_shares(key_id)}) do
    drop_older(name, now - OUTBOX_MS)
    redis.call('ZADD', name, now, id)
    redis.call('PEXPIRE', name, OUTBOX_MS)
  end
  schedule(host, id, now)
end

-- The job's caller hears of an event of it, if he asked for that: `emit` calls this for every one, behind
-- the change of the job's state. A job that starts again is told of once.
local function tell(job, name, now)
  local told = redis.call('HGET', key.job(job.id), 'webhook')
  if not told then return end
  local wish = cjson.decode(told)
  for _, event in ipairs(wish.events) do
    if event == name and redis.call('HSETNX', key.job(job.id), 'told_' .. name, now) == 1 then
      local id = 'msg_' .. string.gsub(job.id, '^job_', '') .. '_' .. name
      redis.call('COPY', key.job(job.id), key.hook(id), 'REPLACE')
      redis.call('HSET', key.hook(id), 'hook_event', name, 'hook_ms', now, 'hook_host', wish.host)
      post(id, wish.host, job.key_id, now)
    end
  end
end

-- Whether so many messages of this API key wait that it may not ask for more.
local function is_outbox_full(key_id, now)
  return redis.call('ZCOUNT', key.hook_shares(key_id), now - OUTBOX_MS, '+inf') >= MAX_MESSAGES
end

-- It waits no more.
local function forget_message(id, host)
  unschedule(host, id)
  redis.call('ZREM', key.hook_since(), id)
  local key_id = redis.call('HGET', key.hook(id), 'key_id')
  if key_id then redis.call('ZREM', key.hook_shares(key_id), id) end
end

-- It waits no more, and is kept for the operator.
local function give_up_message(id, host, now, ttl_ms)
  forget_message(id, host)
  drop_older(key.hook_letters(), now - ttl_ms)
  if redis.call('ZCARD', key.hook_letters()) >= MAX_HOOK_LETTERS then
    redis.call('DEL', key.hook(redis.call('ZPOPMIN', key.hook_letters())[1]))
  end
  redis.call('ZADD', key.hook_letters(), now, id)
  redis.call('PEXPIRE', key.hook_letters(), ttl_ms)
  redis.call('PEXPIRE', key.hook(id), ttl_ms)
end
