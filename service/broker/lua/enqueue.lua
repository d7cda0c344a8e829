-- Accept a job or say why not; every limit is checked here, in the same step as the storing.
-- ARGV[3]: the job's body; ARGV[4]: the picture that it begins with, if any. With arg.letter, a dead
-- letter becomes a job again, without limits, with the picture of the job that it was: arg.was. With
-- arg.only_asks nothing is stored and nothing taken.
-- Returns JSON: status, and id, position, existed, remaining, created_ms or retry_after_s.

local CONGESTED_MS = 15000 -- of waiting, before the measured rate decides who is let in

local bucket
local source = ARGV[4]

-- `remaining`: jobs that this key may send at once from here on.
local function accepted(id, existed)
  local job = load_job(id)
  return cjson.encode({
    status = 'ok', id = id, existed = existed, position = position_of(job) or 0,
    created_ms = job.created_ms,
    remaining = arg.limits and math.floor(bucket()),
  })
end

local function refused(status, retry_after_s)
  return cjson.encode({status = status, retry_after_s = retry_after_s})
end

-- Seconds until `excess` candidates have left; nil when no rate was measured.
local function wait_s(excess, part)
  local rate = drain_rate(arg.model)
  return rate and excess / (rate * part)
end

function bucket()
  local rate, burst = arg.limits.key_rate_per_s, arg.limits.key_burst
  local values = redis.call('HMGET', key.rate(arg.key_id), 'tokens', 'at_ms')
  local tokens = values[1] or burst
  local elapsed = math.max(now - (values[2] or now), 0)
  return math.min(burst, tokens + elapsed * rate / 1000)
end

local function check_rate(tokens)
  if tokens < 1 then
    return refused('rate_limit_exceeded', (1 - tokens) / arg.limits.key_rate_per_s)
  end
end

local function check_room()
  local waiting = num_waiting(arg.model)
  local candidates = tonumber(redis.call('HGET', key.load(arg.model), 'candidates') or 0)
  if waiting >= arg.limits.max_depth then
    local queued = tonumber(redis.call('HGET', key.load(arg.model), 'waiting') or 0)
    return refused('queue_full', wait_s((waiting - arg.limits.max_depth + 1) * queued / waiting, 1))
  end
  local excess = candidates + arg.cost - arg.limits.max_candidates
  if excess > 0 then return refused('queue_full', wait_s(excess, 1)) end
  local own = tonumber(redis.call('HGET', key.shares(arg.model), arg.key_id) or 0)
  excess = own + arg.cost - arg.limits.key_candidates
  if excess > 0 then
    return refused('key_share_exceeded', wait_s(excess, math.max(own / math.max(candidates, 1), 0.01)))
  end
end

-- Start-time fair queueing (Goyal, Vin and Cheng 1996): a job starts at the later of its key's last
-- virtual finish and the virtual time.
local function fair_start()
  local priority = tostring(arg.priority)
  local virtual = tonumber(redis.call('HGET', key.fair(arg.model), priority) or 0)
  local finish = redis.call('ZSCORE', key.finish(arg.model, priority), arg.key_id)
  return math.max(virtual, tonumber(finish or 0))
end

local function score_of(start)
  return string.format('%.17g', arg.priority * BAND + start)
end

-- What could only end after its deadline is refused at once. The rate was measured at whatever load
-- there was, so it counts only where jobs have been waiting for some time already.
local function check_time()
  local rate = drain_rate(arg.model)
  local oldest = redis.call('ZRANGE', key.arrived(arg.model), 0, 0, 'WITHSCORES')[2]
  if not rate or not oldest then return nil end
  if now - oldest < math.max(CONGESTED_MS, arg.deadline_ms / 4) then return nil end
  local before = redis.call('ZCOUNT', key.waiting(arg.model), '-inf', score_of(fair_start()))
  local position = redis.call('ZCARD', key.isolated(arg.model)) + before
  local late_s = queued_eta(arg.model, position, arg.cost, rate) - arg.deadline_ms / 1000
  if late_s > 0 then return refused('queue_full', late_s) end
end

local function check_outbox()
  if arg.webhook and is_outbox_full(arg.key_id, now) then return refused('webhooks_full') end
end

local function spend(tokens)
  local name = key.rate(arg.key_id)
  redis.call('HSET', name, 'tokens', string.format('%.17g', tokens - 1), 'at_ms', now)
  redis.call('PEXPIRE', name, math.ceil(1000 * arg.limits.key_burst / arg.limits.key_rate_per_s) + 1000)
end

-- Its place in the queue; the key's virtual finish moves on by cost / weight.
local function fair_score()
  local start = fair_start()
  local tags = key.finish(arg.model, tostring(arg.priority))
  redis.call('ZADD', tags, start + arg.cost / arg.weight, arg.key_id)
  redis.call('PEXPIRE', tags, WEEK_MS)
  return score_of(start)
end

local function store()
  redis.call('SADD', key.models(), arg.model)
  redis.call('PEXPIRE', key.models(), WEEK_MS)
  if redis.call('EXISTS', key.live(arg.model)) == 0 then
    local drain = drain_state(arg.model) -- nothing lived: the idle time does not count
    if drain then save_drain(arg.model, drain) end
  end
  redis.call('HSET', key.job(arg.id), 'state', 'queued', 'body', ARGV[3], 'model', arg.model,
    'key_id', arg.key_id, 'priority', arg.priority, 'cost', arg.cost, 'score', fair_score(),
    'attempts', 0, 'fence', 0, 'isolated', '0', 'created_ms', now,
    'deadline_ms', now + arg.deadline_ms, 'ttl_ms', arg.ttl_ms, 'keep_ms', arg.keep_ms)
  if arg.webhook then redis.call('HSET', key.job(arg.id), 'webhook', arg.webhook) end
  if arg.whole then redis.call('HSET', key.job(arg.id), 'whole', '1') end
  if source then
    redis.call('SET', key.source(arg.id), source, 'PX', arg.deadline_ms + arg.ttl_ms)
  end
  redis.call('ZADD', key.live(arg.model), now + arg.deadline_ms, arg.id)
  bump(key.load(arg.model), 'candidates', arg.cost)
  bump(key.shares(arg.model), arg.key_id, arg.cost)
  put(load_job(arg.id))
end

if redis.call('EXISTS', key.job(arg.id)) == 1 then return accepted(arg.id, false) end

local known = arg.idempotency and key.idempotency(arg.key_id, arg.idempotency.key)
if known then
  local digest, id = unpack(redis.call('HMGET', known, 'digest', 'job'))
  if id and redis.call('EXISTS', key.job(id)) == 1 then
    if digest ~= arg.idempotency.digest then return refused('mismatch') end
    return accepted(id, true)
  end
end

if arg.letter then
  source = redis.call('GET', key.source(arg.was))
  if arg.has_source and not source then return refused('without_source') end
  if redis.call('XDEL', key.dead(), arg.letter) == 0 then return refused('missing') end
else
  local tokens = bucket()
  local refusal = check_rate(tokens) or check_room() or check_time() or check_outbox()
  if refusal then return refusal end
  if arg.only_asks then return cjson.encode({status = 'ok'}) end
  spend(tokens)
end

store()
if known then
  redis.call('HSET', known, 'digest', arg.idempotency.digest, 'job', arg.id)
  redis.call('PEXPIRE', known, arg.idempotency.ttl_ms)
end
return accepted(arg.id, false)
