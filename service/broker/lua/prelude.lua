-- Runs before every script. Gives: now (ms), arg (the arguments), and the steps that scripts share.
-- A job moves between states only through put, bind, unbind and settle; counters change only there.
-- What a job in parts is, and how its parts change hands, is in parts.lua, which comes next.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local arg = cjson.decode(ARGV[2])

local DAY_MS = 86400000
local WEEK_MS = 7 * DAY_MS
local MAX_EVENTS = 256
local MAX_LETTERS = 10000
local BAND = 1e13 -- scores of one priority stay below it
local DRAIN_MS = 60000 -- time constant of the measured drain rate

-- The parts of a job as stored, or nil. They are valid with the fence of the job's latest claim:
-- else a worker of a release without parts has claimed all of it since. Nobody holds a part of a job
-- that waits: the sweep of such a release may have put it there.
local function stored_parts(job)
  local parts = job.parts and cjson.decode(job.parts)
  if not parts or parts.fence ~= job.fence then return nil end
  for _, part in ipairs(job.state == 'queued' and parts.list or {}) do
    if part.state == 'held' then part.state = 'free' end
    part.alone = part.alone or job.isolated == '1'
  end
  return parts
end

local function load_job(id)
  local names = {'state', 'model', 'key_id', 'priority', 'cost', 'attempts', 'fence', 'ticket',
    'score', 'isolated', 'created_ms', 'deadline_ms', 'ttl_ms', 'keep_ms', 'started_ms', 'whole',
    'parts'}
  local values = redis.call('HMGET', key.job(id), unpack(names))
  if not values[1] then return nil end
  local job = {id = id}
  for i, name in ipairs(names) do job[name] = values[i] end
  for _, name in ipairs({'cost', 'attempts', 'fence', 'created_ms', 'deadline_ms', 'ttl_ms',
    'keep_ms', 'started_ms'}) do
    job[name] = tonumber(job[name])
  end
  job.parts = stored_parts(job)
  return job
end

-- When its memory is full, Redis refuses a script of which the first write needs some, and lets pass
-- all that follow one that needs none. For scripts without which accepted work would be lost.
local function write_though_full()
  redis.call('DEL', key.probe())
end

local function bump(hash, field, delta)
  if redis.call('HINCRBY', hash, field, delta) == 0 then redis.call('HDEL', hash, field) end
end

local function emit(job, name, data, image)
  local stream = key.events(job.id)
  local entry = {'name', name, 'data', data or '{}'}
  if image then
    entry[5], entry[6] = 'image', image
  end
  redis.call('XADD', stream, 'MAXLEN', '=', MAX_EVENTS, '*', unpack(entry))
  redis.call('PEXPIRE', stream, math.max(job.deadline_ms - now, 0) + job.ttl_ms)
  redis.call('PUBLISH', key.notify(), job.id .. ' ' .. name)
  tell(job, name, now)
end

-- Tickets. One undelivered entry per waiting job and one pending entry per running job; entries say
-- nothing but "one more". Nothing is ever deleted from the middle of the stream: that would make
-- the group's lag unknown. It is only cut before its oldest unread or unacknowledged entry.

local function group_info(model)
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key.tickets(model))) do
    local info = {}
    for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
    if info['name'] == GROUP then return info end
  end
end

local function open_tickets(model)
  local stream = key.tickets(model)
  if redis.call('EXISTS', stream) == 0 or not group_info(model) then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
  redis.call('PEXPIRE', stream, WEEK_MS)
  return stream
end

local function add_ticket(model)
  redis.call('XADD', open_tickets(model), '*', 'job', '1')
end

local function trim_tickets(model)
  local stream = key.tickets(model)
  local pending = redis.call('XPENDING', stream, GROUP)
  local first = pending[2]
  if pending[1] == 0 then
    local ms, seq = string.match(group_info(model)['last-delivered-id'], '(%d+)-(%d+)')
    first = ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
  end
  redis.call('XTRIM', stream, 'MINID', '=', first)
end

local function take_ticket(model, consumer)
  local stream = open_tickets(model)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
  return read and read[1] and read[1][2][1][1] or ''
end

local function end_ticket(model, ticket)
  if ticket and ticket ~= '' and redis.call('EXISTS', key.tickets(model)) == 1 then
    redis.call('XACK', key.tickets(model), GROUP, ticket)
    trim_tickets(model)
  end
end

-- Measured rate at which candidates leave, in candidates per second of time with work to do: an
-- exponentially weighted sum over the last minute, divided by the weight of the time it covers.

local function drain_state(model)
  local values = redis.call('HMGET', key.drain(model), 'sum', 'busy_ms', 'at_ms')
  if not values[1] then return nil end
  local elapsed = 0
  if redis.call('EXISTS', key.live(model)) == 1 then elapsed = math.max(now - values[3], 0) end
  return {sum = values[1] * math.exp(-elapsed / DRAIN_MS), busy_ms = values[2] + elapsed}
end

local function save_drain(model, state)
  redis.call('HSET', key.drain(model), 'sum', string.format('%.17g', state.sum),
    'busy_ms', state.busy_ms, 'at_ms', now)
  redis.call('PEXPIRE', key.drain(model), DAY_MS)
end

local function drain_rate(model)
  local state = drain_state(model)
  if not state or state.busy_ms <= 0 then return nil end
  local rate = 1000 * state.sum / (DRAIN_MS * (1 - math.exp(-state.busy_ms / DRAIN_MS)))
  if rate < 1e-6 then return nil end
  return rate
end

local function num_waiting(model)
  return redis.call('ZCARD', key.waiting(model)) + redis.call('ZCARD', key.isolated(model))
end

-- Seconds until a job at this place in the queue has ended: half of what runs, its part of what
-- waits, its own.
local function queued_eta(model, position, cost, rate)
  local function load(field)
    return tonumber(redis.call('HGET', key.load(model), field) or 0)
  end
  local waiting = load('waiting')
  local before = waiting * position / math.max(num_waiting(model), 1)
  return ((load('candidates') - waiting) / 2 + before + cost) / rate
end

local function record_drain(job, num_candidates)
  local state = drain_state(job.model) or {sum = 0, busy_ms = math.max(now - job.started_ms, 1)}
  state.sum = state.sum + num_candidates
  save_drain(job.model, state)
end

-- States.

local function queue_of(job)
  if job.isolated == '1' then return key.isolated(job.model) end
  return key.waiting(job.model)
end

-- Into the queue: for a new job, or for one that comes back to its old place.
local function put(job)
  redis.call('HSET', key.job(job.id), 'state', 'queued')
  redis.call('HDEL', key.job(job.id), 'codes_done', 'codes_total', 'stage')
  redis.call('ZADD', queue_of(job), job.score, job.id)
  redis.call('ZADD', key.arrived(job.model), now, job.id)
  bump(key.load(job.model), 'waiting', job.cost)
  add_ticket(job.model)
  job.state = 'queued'
  emit(job, 'queued', cjson.encode({attempts = job.attempts}))
end

local function leave_queue(job)
  redis.call('ZREM', queue_of(job), job.id)
  redis.call('ZREM', key.arrived(job.model), job.id)
  bump(key.load(job.model), 'waiting', -job.cost)
end

-- Nobody is to find a part of the job any more.
local function hide_parts(job)
  redis.call('ZREM', key.rest(job.model), job.id)
  redis.call('ZREM', key.alone(job.model), job.id)
  for _, part in ipairs(job.parts.list) do
    if part.fence then redis.call('ZREM', key.parts(job.model), job.id .. ' ' .. part.fence) end
  end
end

-- From running: the lease and its ticket end. The caller puts or settles the job next.
local function unbind(job)
  redis.call('ZREM', key.leases(job.model), job.id)
  if job.parts then hide_parts(job) end
  end_ticket(job.model, job.ticket)
  redis.call('HDEL', key.job(job.id), 'ticket', 'worker')
end

-- The end: counters, times to live, the last event. `fields` go into the job's hash.
local function settle(job, state, fields, data)
  if job.state == 'queued' then
    leave_queue(job)
    local stream = open_tickets(job.model)
    redis.call('XREADGROUP', 'GROUP', GROUP, 'queue', 'COUNT', 1, 'NOACK', 'STREAMS', stream, '>')
    trim_tickets(job.model)
  else
    unbind(job)
  end
  redis.call('ZREM', key.live(job.model), job.id)
  bump(key.load(job.model), 'candidates', -job.cost)
  bump(key.shares(job.model), job.key_id, -job.cost)
  redis.call('HSET', key.job(job.id), 'state', state, 'finished_ms', now, unpack(fields or {}))
  emit(job, state, data)
  strip(job.id, state, job.ttl_ms, job.keep_ms)
  if state ~= 'failed' then redis.call('DEL', key.source(job.id)) end -- an operator may try again
  if job.parts and state ~= 'succeeded' then redis.call('DEL', key.images(job.id)) end
end

local function fail(job, code, message)
  settle(job, 'failed', {'error_code', code, 'error_message', message},
    cjson.encode({code = code, message = message}))
end

-- Give the job up: a dead letter for the operator, a failure for the caller.
local function bury(job, code, detail, message, letter_ttl_ms)
  redis.call('XADD', key.dead(), 'MAXLEN', '=', MAX_LETTERS, '*', 'job', job.id, 'body',
    redis.call('HGET', key.job(job.id), 'body'), 'error', detail, 'attempts', job.attempts,
    'died_ms', now)
  redis.call('PEXPIRE', key.dead(), letter_ttl_ms)
  fail(job, code, message)
end

-- No more attempts. What never ran alone gets one more, alone: perhaps it was a neighbour.
local function is_given_up(attempts, is_alone)
  return attempts >= arg.max_attempts and is_alone
end

local function isolate(job)
  job.isolated = '1'
  redis.call('HSET', key.job(job.id), 'isolated', '1')
end

-- The job, when this claim of it still holds, and the part that it is of; else nil.
local function held(id, fence)
  local job = load_job(id)
  if not job or job.state ~= 'running' then return nil end
  if not job.parts then return job.fence == fence and job or nil end
  for _, part in ipairs(job.parts.list) do
    if part.fence == fence and part.state == 'held' then return job, part end
  end
end

-- Drop the traces of a job whose hash someone deleted by hand.
local function forget(model, id)
  for _, name in ipairs({'waiting', 'isolated', 'arrived', 'leases', 'live', 'rest', 'alone'}) do
    redis.call('ZREM', key[name](model), id)
  end
end

local function position_of(job)
  local rank = redis.call('ZRANK', queue_of(job), job.id)
  if not rank then return nil end
  if job.isolated == '1' then return rank end
  return redis.call('ZCARD', key.isolated(job.model)) + rank
end
