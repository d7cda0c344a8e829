-- How full a model's queue is, as JSON.

local oldest = redis.call('ZRANGE', key.arrived(arg.model), 0, 0, 'WITHSCORES')
return cjson.encode({
  waiting = num_waiting(arg.model),
  oldest_age_ms = oldest[2] and math.max(now - oldest[2], 0) or 0,
  running = redis.call('ZCARD', key.leases(arg.model)),
  candidates = tonumber(redis.call('HGET', key.load(arg.model), 'candidates') or 0),
  drain_per_s = drain_rate(arg.model),
  dead_letters = redis.call('XLEN', key.dead()),
})
