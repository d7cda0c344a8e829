-- How many messages wait, for how long the oldest has, and how many were given up, as JSON.

local oldest = redis.call('ZRANGE', key.hook_since(), 0, 0, 'WITHSCORES')
return cjson.encode({
  waiting = redis.call('ZCARD', key.hook_since()),
  oldest_age_ms = oldest[2] and math.max(now - oldest[2], 0) or 0,
  letters = redis.call('ZCARD', key.hook_letters()),
})
