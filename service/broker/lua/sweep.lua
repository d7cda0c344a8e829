-- End what is late, take back what no worker holds any more, keep one ticket per waiting job, and
-- no dead letter beyond its time.
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
  settle(job, 'expired')
  counts.expired = counts.expired + 1
end

-- Whether to bury what came back on its last attempt; then it is done.
local function is_buried(job, attempts, is_alone)
  if not is_given_up(attempts, is_alone) then return false end
  bury(job, 'worker_lost', arg.failure, arg.message, arg.letter_ttl_ms)
  counts.dead = counts.dead + 1
  return true
end

-- Whether it is to run alone: a lease was lost before, or the next attempt is the last one.
local function is_suspect(num_lost, attempts)
  return num_lost >= 2 or attempts >= arg.max_attempts - 1
end

local function take_part_back(member)
  local id, fence = string.match(member, '^(%S+) (%d+)$')
  local job, part = held(id, tonumber(fence))
  if not job or not part then return redis.call('ZREM', key.parts(model), member) end
  if is_buried(job, part.attempts, part.alone) then return end
  part.lost = part.lost + 1
  if is_suspect(part.lost, part.attempts) and not part.alone then
    part.alone = true
    counts.isolated = counts.isolated + 1
  end
  put_part(job, part)
  counts.redelivered = counts.redelivered + 1
end

local function take_back(id)
  local job = load_job(id)
  if not job then return forget(model, id) end
  if job.parts then -- nobody came for the rest of it
    if not is_any(job.parts, 'held') then put_parts(job) end
    return
  end
  if is_buried(job, job.attempts, runs_alone(job)) then return end
  unbind(job)
  local num_lost = redis.call('HINCRBY', key.job(id), 'lost', 1)
  if is_suspect(num_lost, job.attempts) and job.isolated ~= '1' then
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

-- Letters are named by the server's own time, whatever the clock of this script.
local function forget_letters()
  local seconds = tonumber(redis.call('TIME')[1])
  redis.call('XTRIM', key.dead(), 'MINID', '=', seconds * 1000 - arg.letter_ttl_ms)
end

write_though_full()
for _, id in ipairs(due(key.live(model))) do expire(id) end
for _, member in ipairs(due(key.parts(model))) do take_part_back(member) end
for _, id in ipairs(due(key.leases(model))) do take_back(id) end
if redis.call('EXISTS', key.live(model)) == 0 then
  redis.call('DEL', key.load(model), key.shares(model), key.rest(model), key.alone(model),
    key.parts(model))
end
if redis.call('EXISTS', key.tickets(model)) == 1 or num_waiting(model) > 0 then
  match_tickets()
  forget_consumers()
end
forget_letters()
return cjson.encode(counts)
