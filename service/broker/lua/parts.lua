-- Jobs in parts; comes behind the prelude, before every script. Of a job with more candidates than a
-- worker has free rows, it claims a range; the rest stays first in line, for whoever has room.
-- job.parts, the field `parts` of the job's hash, is there as long as ranges differ in their fate:
--   fence  of the latest claim    codes  per candidate, once told    told  progress that was published
--   list   ranges in order: first, count, attempts, lost (leases), alone (it must run alone), state
--          free, held or done; fence of the claim (held, done); codes_done and stage (held); pictures
--          and timings (done); only fences once the job has succeeded
-- Such a job runs from its first claim on: in `leases` for as long as its last part is, each held
-- part in `parts` too. When none is held and one came back, or nobody comes for the rest, it waits
-- again, with what is done kept.
-- A release without parts sees a job like any other: it may take back, claim and end all of it.

local STAGES = {prefill = 1, decode = 2}

local function is_any(parts, state)
  for _, part in ipairs(parts.list) do
    if part.state == state then return true end
  end
  return false
end

local function part_of(job, fence)
  for _, part in ipairs(job.parts and job.parts.list or {}) do
    if part.fence == fence then return part end
  end
end

local function runs_alone(job, part)
  if part then return part.alone end
  return job.isolated == '1'
end

-- Whether a claim that holds no more was of a part that is done, or of a job that has ended.
local function is_settled(id, fence)
  local job = load_job(id)
  local part = job and part_of(job, fence)
  if not part then return false end
  return part.state == 'done' or job.state ~= 'running' and job.state ~= 'queued'
end

-- Neighbours of the same fate are one.
local function join_free(parts)
  local list = {}
  for _, part in ipairs(parts.list) do
    local last = list[#list]
    if last and last.state == 'free' and part.state == 'free' and last.attempts == part.attempts
        and last.lost == part.lost and last.alone == part.alone then
      last.count = last.count + part.count
    else
      list[#list + 1] = part
    end
  end
  parts.list = list
end

local function stage_of(parts, done)
  local first
  for _, part in ipairs(parts.list) do
    if part.state == 'free' then first = done > 0 and 'decode' or first or 'prefill' end
    if part.state == 'held' and (STAGES[part.stage] or 3) < (STAGES[first] or 4) then
      first = part.stage
    end
  end
  if first == 'prefill' and done > 0 then return 'decode' end
  return first
end

-- The job's progress out of that of its parts. Returns codes done, of how many, and the stage.
local function sum_up(job)
  local done, codes = 0, job.parts.codes or 0
  for _, part in ipairs(job.parts.list) do
    if part.state == 'done' then done = done + part.count * codes end
    if part.state == 'held' then done = done + (part.codes_done or 0) end
  end
  local total, stage = job.cost * codes, stage_of(job.parts, done)
  if total > 0 then
    redis.call('HSET', key.job(job.id), 'codes_done', done, 'codes_total', total)
    if stage then redis.call('HSET', key.job(job.id), 'stage', stage) end
  end
  return done, total, stage
end

local function save_parts(job)
  job.attempts = 0
  for _, part in ipairs(job.parts.list) do job.attempts = math.max(job.attempts, part.attempts) end
  job.parts.fence = job.fence
  redis.call('HSET', key.job(job.id), 'parts', cjson.encode(job.parts), 'attempts', job.attempts)
end

-- Whoever has room finds what nobody has of a job that runs.
local function offer_parts(job)
  local is_offered = {rest = false, alone = false}
  for _, part in ipairs(job.parts.list) do
    if part.state == 'free' then is_offered[part.alone and 'alone' or 'rest'] = true end
  end
  for name, is_there in pairs(is_offered) do
    if is_there then
      redis.call('ZADD', key[name](job.model), job.score, job.id)
    else
      redis.call('ZREM', key[name](job.model), job.id)
    end
  end
end

local function lease_part(job, part, until_ms)
  redis.call('ZADD', key.parts(job.model), until_ms, job.id .. ' ' .. part.fence)
  redis.call('ZADD', key.leases(job.model), until_ms, job.id)
end

-- Nobody holds a part of the job: it waits, as a whole again when its parts have one fate.
local function put_parts(job)
  unbind(job)
  join_free(job.parts)
  local only, is_alone = job.parts.list[2] == nil, true
  for _, part in ipairs(job.parts.list) do
    is_alone = is_alone and (part.state == 'done' or part.alone)
  end
  job.isolated = is_alone and '1' or '0'
  redis.call('HSET', key.job(job.id), 'isolated', job.isolated)
  save_parts(job)
  if only then
    redis.call('HSET', key.job(job.id), 'lost', job.parts.list[1].lost)
    redis.call('HDEL', key.job(job.id), 'parts')
    job.parts = nil
  end
  put(job)
  if job.parts then sum_up(job) end
end

-- Workers without work wait for a ticket. This one says that there is something to look for, and is
-- taken at once, as one that nobody is to count.
local function wake(model)
  add_ticket(model)
  redis.call('XREADGROUP', 'GROUP', GROUP, 'queue', 'COUNT', 1, 'NOACK', 'STREAMS',
    key.tickets(model), '>')
end

-- A part comes back, for whoever has room; with it the job, when nobody has another part of it.
local function put_part(job, part)
  redis.call('ZREM', key.parts(job.model), job.id .. ' ' .. part.fence)
  part.state, part.fence, part.codes_done, part.stage = 'free', nil, nil, nil
  if not is_any(job.parts, 'held') then return put_parts(job) end
  join_free(job.parts)
  save_parts(job)
  sum_up(job)
  offer_parts(job)
  wake(job.model)
end
