-- Bind waiting jobs to a worker, best first, until their candidates fill its free rows: the last one
-- in part, where the rows do not hold all of it and it can be drawn in parts.
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

-- From the queue: the job runs from here on.
local function start(job)
  leave_queue(job)
  advance_virtual_time(job)
  redis.call('HSET', key.job(job.id), 'state', 'running', 'worker', worker, 'started_ms', now,
    'ticket', take_ticket(model, worker), 'codes_done', 0)
  job.state = 'running'
end

local function new_fence(job)
  job.fence = redis.call('HINCRBY', key.job(job.id), 'fence', 1)
end

local function bind(job)
  new_fence(job)
  job.attempts = redis.call('HINCRBY', key.job(job.id), 'attempts', 1)
  start(job)
  redis.call('HDEL', key.job(job.id), 'parts') -- of before another release claimed all of it
  redis.call('ZADD', key.leases(model), now + arg.lease_ms, job.id)
  emit(job, 'started', cjson.encode({attempt = job.attempts}))
end

-- All of the job as one part, with the fate that it had as a whole.
local function first_part(job)
  local lost = tonumber(redis.call('HGET', key.job(job.id), 'lost') or 0)
  return {first = 0, count = job.cost, attempts = job.attempts, lost = lost,
    alone = job.isolated == '1', state = 'free'}
end

-- The first part that nobody has; no more of it than `most` candidates.
local function cut_part(parts, is_alone, most)
  for i, part in ipairs(parts.list) do
    if part.state == 'free' and part.alone == is_alone then
      if part.count > most then
        table.insert(parts.list, i + 1, {first = part.first + most, count = part.count - most,
          attempts = part.attempts, lost = part.lost, alone = is_alone, state = 'free'})
        part.count = most
      end
      return part
    end
  end
end

local function bind_part(job, is_alone, most)
  job.parts = job.parts or {told = 0, list = {first_part(job)}}
  local part = cut_part(job.parts, is_alone, most) or cut_part(job.parts, not is_alone, most)
  part.state, part.attempts = 'held', part.attempts + 1
  new_fence(job)
  part.fence = job.fence
  local is_start = job.state == 'queued'
  if is_start then start(job) end
  save_parts(job)
  lease_part(job, part, now + arg.lease_ms)
  sum_up(job)
  offer_parts(job)
  if is_start then emit(job, 'started', cjson.encode({attempt = part.attempts})) end
  return part
end

local function expire(job)
  settle(job, 'expired')
  num_expired = num_expired + 1
end

-- Whether the queue may have the job: `rest` and `alone` know what ended only by looking.
local function belongs(job, queue)
  if queue ~= key.rest(model) and queue ~= key.alone(model) then return true end
  return job.state == 'running' and job.parts ~= nil
end

-- The first job of a queue that is still in time; late ones end here.
local function first(queue)
  while true do
    local id = redis.call('ZRANGE', queue, 0, 0)[1]
    if not id then return nil end
    local job = load_job(id)
    if not job then
      forget(model, id)
    elseif not belongs(job, queue) then
      redis.call('ZREM', queue, id)
    elseif job.deadline_ms > now then
      return job
    else
      expire(job)
    end
  end
end

-- The better placed of the jobs that wait and of those of which a part waits.
local function first_of(queue, parts_queue)
  local job, begun = first(queue), first(parts_queue)
  if not job or begun and tonumber(begun.score) <= tonumber(job.score) then return begun end
  return job
end

local claims, bodies, receipt = {}, {}, {nonce = arg.nonce, fences = {}}

local function show(job, part)
  claims[#claims + 1] = {fence = part and part.fence or job.fence,
    attempt = part and part.attempts or job.attempts, isolated = runs_alone(job, part),
    remaining_ms = job.deadline_ms - now, waited_ms = math.max(now - job.created_ms, 0),
    part = part and {first = part.first, count = part.count}}
  bodies[#bodies + 1] = redis.call('HGET', key.job(job.id), 'body')
end

-- Take the job, or of one that has more candidates than `free` rows hold, or of one that has parts
-- already, the next part. Returns how many candidates that are.
local function claim(job, is_alone, free)
  local part
  if job.parts or job.whole ~= '1' and job.cost > free then
    part = bind_part(job, is_alone, free)
  else
    bind(job)
  end
  show(job, part)
  receipt.fences[part and job.id .. ' ' .. job.fence or job.id] = job.fence
  redis.call('SET', key.receipt(worker), cjson.encode(receipt), 'PX', arg.lease_ms)
  return part and part.count or job.cost
end

local function show_again()
  local last = redis.call('GET', key.receipt(worker))
  last = last and cjson.decode(last)
  if not last or last.nonce ~= arg.nonce then return false end
  for name, fence in pairs(last.fences) do
    local job, part = held(string.match(name, '%S+'), fence)
    if job then show(job, part) end
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
local lone = first_of(key.isolated(model), key.alone(model))
if lone then
  if arg.num_running == 0 then
    redis.call('DEL', key.isolator(model))
    claim(lone, true, lone.cost) -- all of it: nothing else shares its rows
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
  local job = first_of(key.waiting(model), key.rest(model))
  if not job then break end
  free = free - claim(job, false, free)
end
return answer(false)
