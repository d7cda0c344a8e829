-- End what is late, take back what no worker holds any more, and keep one ticket per waiting job.
-- Returns JSON: counts of redelivered, isolated, dead and expired jobs.

local BATCH = 100
local model = arg.model
local counts = {redelivered = 0, isolated = 0, dead = 0, expired = 0}

local function due(name)
  return redis.call('ZRANGEBYSCORE', name, '-inf', now, 'LIMIT', 0, BATCH)
end

local function expire(id)
  local job = load_job(id)
  if not job then return forget(model, id) end
  local lease = tonumber(redis.call('ZSCORE', key.leases(model), id) or 0)
  settle(job, 'expired')
  if lease <= now then counts.expired = counts.expired + 1 end -- else its worker counts it
end

local function take_back(id)
  local job = load_job(id)
  if not job then return forget(model, id) end
  if is_given_up(job) then
    bury(job, 'worker_lost', arg.failure, arg.message, arg.letter_ttl_ms)
    counts.dead = counts.dead + 1
    return
  end
  unbind(job)
  local is_suspect = redis.call('HINCRBY', key.job(id), 'lost', 1) >= 2
    or job.attempts >= arg.max_attempts - 1 -- the last one is alone
  if is_suspect and job.isolated ~= '1' then
    isolate(job)
    counts.isolated = counts.isolated + 1
  end
  put(job)
  counts.redelivered = counts.redelivered + 1
end

-- The scripts keep the two equal; a stream that an operator deleted is made good here.
local function match_tickets()
  local stream = open_tickets(model)
  local lag = tonumber(group_info(model)['lag'] or nil)
  if not lag then return end
  local missing = num_waiting(model) - lag
  for _ = 1, math.min(missing, BATCH) do add_ticket(model) end
  if missing < 0 then
    redis.call('XREADGROUP', 'GROUP', GROUP, 'queue', 'COUNT', math.min(-missing, BATCH), 'NOACK',
      'STREAMS', stream, '>')
    trim_tickets(model)
  end
end

local function forget_consumers()
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', key.tickets(model), GROUP)) do
    local info = {}
    for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
    if info['pending'] == 0 and info['idle'] > DAY_MS then
      redis.call('XGROUP', 'DELCONSUMER', key.tickets(model), GROUP, info['name'])
    end
  end
end

for _, id in ipairs(due(key.live(model))) do expire(id) end
for _, id in ipairs(due(key.leases(model))) do take_back(id) end
if redis.call('EXISTS', key.live(model)) == 0 then
  redis.call('DEL', key.load(model), key.shares(model))
end
if redis.call('EXISTS', key.tickets(model)) == 1 or num_waiting(model) > 0 then
  match_tickets()
  forget_consumers()
end
return cjson.encode(counts)
