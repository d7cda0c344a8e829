-- Prolong leases and store progress. arg.claims: {id, fence, done, total, stage}, in order.
-- Returns JSON: one word per claim: held, lost, cancelled or expired.

local function renew(id, fence, done, total, stage)
  local job = load_job(id)
  if not job or job.fence ~= fence then return 'lost' end
  if job.state == 'cancelled' or job.state == 'expired' then return job.state end
  if job.state ~= 'running' then return 'lost' end
  if job.deadline_ms <= now then
    settle(job, 'expired')
    return 'expired'
  end
  redis.call('ZADD', key.leases(job.model), now + arg.lease_ms, id)
  if job.ticket and job.ticket ~= '' then -- JUSTID: the delivery count stays, the idle time restarts
    redis.call('XCLAIM', open_tickets(job.model), GROUP, arg.worker, 0, job.ticket, 'JUSTID')
  end
  redis.call('HSET', key.job(id), 'codes_done', done, 'codes_total', total, 'stage', stage)
  return 'held'
end

local states = {}
for i, claim in ipairs(arg.claims) do states[i] = renew(unpack(claim)) end
return cjson.encode(states)
