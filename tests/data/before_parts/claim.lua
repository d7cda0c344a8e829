-- Bind waiting jobs to a worker, best first, until their candidates fill its free rows.
-- A call that is sent again with the same arg.nonce (its answer was lost) gets the same jobs.
-- Returns JSON (claims, must_drain, last ticket id, number of late jobs that ended here), then the
-- body of each claimed job.

local model, worker = arg.model, arg.worker
local num_expired = 0

local function advance_virtual_time(job)
  local virtual = tonumber(redis.call('HGET', key.fair(model), job.priority) or 0)
  local start = tonumber(job.score) - job.priority * BAND
  if start > virtual then
    redis.call('HSET', key.fair(model), job.priority, string.format('%.17g', start))
    redis.call('PEXPIRE', key.fair(model), WEEK_MS)
    redis.call('ZREMRANGEBYSCORE', key.finish(model, job.priority), '-inf', start)
  end
end

local function bind(job)
  leave_queue(job)
  advance_virtual_time(job)
  local name = key.job(job.id)
  job.attempts = redis.call('HINCRBY', name, 'attempts', 1)
  job.fence = redis.call('HINCRBY', name, 'fence', 1)
  redis.call('HSET', name, 'state', 'running', 'worker', worker, 'started_ms', now,
    'ticket', take_ticket(model, worker), 'codes_done', 0)
  redis.call('ZADD', key.leases(model), now + arg.lease_ms, job.id)
  emit(job, 'started', cjson.encode({attempt = job.attempts}))
end

local function expire(job)
  settle(job, 'expired')
  num_expired = num_expired + 1
end

-- The first job of a queue that is still in time; late ones end here.
local function first(queue)
  while true do
    local id = redis.call('ZRANGE', queue, 0, 0)[1]
    if not id then return nil end
    local job = load_job(id)
    if job and job.deadline_ms > now then return job end
    if job then expire(job) else forget(model, id) end
  end
end

local claims, bodies, receipt = {}, {}, {nonce = arg.nonce, fences = {}}

local function show(job)
  claims[#claims + 1] = {fence = job.fence, attempt = job.attempts, isolated = job.isolated == '1',
    remaining_ms = job.deadline_ms - now, waited_ms = now - job.created_ms}
  bodies[#bodies + 1] = redis.call('HGET', key.job(job.id), 'body')
end

local function claim(job)
  bind(job)
  show(job)
  receipt.fences[job.id] = job.fence
  redis.call('SET', key.receipt(worker), cjson.encode(receipt), 'PX', arg.lease_ms)
end

local function show_again()
  local last = redis.call('GET', key.receipt(worker))
  last = last and cjson.decode(last)
  if not last or last.nonce ~= arg.nonce then return false end
  for id, fence in pairs(last.fences) do
    local job = held(id, fence)
    if job then show(job) end
  end
  return true
end

local function answer(must_drain)
  local info = redis.call('XINFO', 'STREAM', open_tickets(model))
  local last = '0-0'
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  local head = {claims = claims, must_drain = must_drain, last = last, num_expired = num_expired}
  return {cjson.encode(head), unpack(bodies)}
end

if show_again() then return answer(false) end
local lone = first(key.isolated(model))
if lone then
  if arg.num_running == 0 then
    redis.call('DEL', key.isolator(model))
    claim(lone)
    return answer(false)
  end
  local owner = redis.call('GET', key.isolator(model))
  if not owner or owner == worker then -- one busy worker makes room, the others go on
    redis.call('SET', key.isolator(model), worker, 'PX', arg.lease_ms)
    return answer(true)
  end
end

local free = arg.free_rows
while free > 0 and #claims < 256 do
  local job = first(key.waiting(model))
  if not job then break end
  claim(job)
  free = free - job.cost
end
return answer(false)
