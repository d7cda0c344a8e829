-- An attempt to send a message has ended. arg.error: it failed, and the next one may be made in
-- arg.wait_ms, or none with arg.is_final or when it has waited for a day.
-- Returns 'delivered', 'waits', 'dead', or 'stale': another process has leased or ended it since.

local id, name = arg.id, key.hook(arg.id)
local host = host_of(id)
if not host then return 'stale' end
if not arg.error then
  redis.call('ZREM', key.hook_letters(), id)
  forget_message(id, host)
  redis.call('DEL', name)
  return 'delivered'
end
local since = redis.call('ZSCORE', key.hook_since(), id)
if not since or tonumber(redis.call('HGET', name, 'hook_attempts')) ~= arg.attempt then return 'stale' end
redis.call('HSET', name, 'hook_error', arg.error)
if arg.is_final or now + arg.wait_ms > since + DAY_MS then
  give_up_message(id, host, now, arg.letter_ttl_ms)
  return 'dead'
end
schedule(host, id, now + arg.wait_ms)
return 'waits'
