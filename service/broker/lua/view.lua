-- A job as it stands: JSON of what is derived (position, eta_s), then its hash, flat.
-- Returns nil when there is none.

local job = load_job(arg.id)
if not job then return nil end

local function load(field)
  return tonumber(redis.call('HGET', key.load(job.model), field) or 0)
end

local function running_eta(rate)
  local done, total = unpack(redis.call('HMGET', key.job(job.id), 'codes_done', 'codes_total'))
  done, total = tonumber(done or 0), tonumber(total or 0)
  if done > 0 and total > 0 then return math.max(now - job.started_ms, 0) / 1000 * (total - done) / done end
  return rate and (load('candidates') - load('waiting')) / rate
end

local derived = {}
local rate = drain_rate(job.model)
if job.state == 'queued' then
  derived.position = position_of(job)
  derived.eta_s = rate and queued_eta(job.model, derived.position or 0, job.cost, rate)
elseif job.state == 'running' then
  derived.eta_s = running_eta(rate)
elseif job.state == 'succeeded' then -- an idempotency key keeps a job longer than its images
  derived.are_images_gone = redis.call('EXISTS', key.images(job.id)) == 0
end
return {cjson.encode(derived), unpack(redis.call('HGETALL', key.job(job.id)))}
