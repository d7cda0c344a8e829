-- Prolong leases and store progress. arg.claims: {id, fence, done, total, stage}, in order.
-- The sweep ends a job that is late: whoever holds it only lets go of it.
-- Returns JSON: one word per claim: held, lost, cancelled, expired, or over, when the job of a part
-- has ended by what became of another one.

local MAX_TOLD = 20 -- progress events of one job at most; lease_keeper.py has it of whole jobs

local function keep_ticket(job)
  if job.ticket and job.ticket ~= '' then -- JUSTID: the delivery count stays, the idle time restarts
    redis.call('XCLAIM', open_tickets(job.model), GROUP, arg.worker, 0, job.ticket, 'JUSTID')
  end
end

-- Progress is that of all parts, so it is told here, where they come together.
local function tell_progress(job, done, total, stage)
  local told = math.floor(MAX_TOLD * done / total)
  if told <= job.parts.told then return end
  job.parts.told = told
  emit(job, 'progress', cjson.encode({codes_done = done, codes_total = total, stage = stage}))
end

local function renew_part(job, part, done, total, stage)
  if job.state == 'cancelled' or job.state == 'expired' then return job.state end
  if job.state ~= 'running' and job.state ~= 'queued' then return 'over' end
  if job.state == 'queued' or part.state ~= 'held' then return 'lost' end
  if job.deadline_ms <= now then return 'expired' end
  lease_part(job, part, now + arg.lease_ms)
  keep_ticket(job)
  part.codes_done, part.stage = done, stage
  if total > 0 then
    job.parts.codes = total / part.count
    tell_progress(job, sum_up(job))
  end
  save_parts(job)
  return 'held'
end

local function renew(id, fence, done, total, stage)
  local job = load_job(id)
  local part = job and part_of(job, fence)
  if part then return renew_part(job, part, done, total, stage) end
  if not job or job.fence ~= fence then return 'lost' end
  if job.state == 'cancelled' or job.state == 'expired' then return job.state end
  if job.state ~= 'running' then return 'lost' end
  if job.deadline_ms <= now then return 'expired' end
  redis.call('ZADD', key.leases(job.model), now + arg.lease_ms, id)
  keep_ticket(job)
  redis.call('HSET', key.job(id), 'codes_done', done, 'codes_total', total, 'stage', stage)
  return 'held'
end

write_though_full() -- else healthy workers lose their leases to a sweep that frees memory
local states = {}
for i, claim in ipairs(arg.claims) do states[i] = renew(unpack(claim)) end
return cjson.encode(states)
