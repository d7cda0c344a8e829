-- An operator's word on a message that was given up: send it again, or without arg.retry drop it.
-- Returns 0 when there is none.

if redis.call('ZREM', key.hook_letters(), arg.id) == 0 then return 0 end
local host, key_id = host_of(arg.id), redis.call('HGET', key.hook(arg.id), 'key_id')
if not host then return 0 end
if arg.retry then
  post(arg.id, host, key_id, now)
else
  redis.call('DEL', key.hook(arg.id))
end
return 1
