-- Lease messages that are due to one process, which sends them or lets the lease run out.
-- arg.running: how many of each host it is sending. No host gets more than arg.per_host, so that one
-- that answers slowly keeps no other waiting.
-- Returns for each: its id, then its hash, flat, with the attempt that this is.

local MAX_HOSTS = 256
local claimed = {}

local function claim(host, id)
  local name = key.hook(id)
  if redis.call('EXISTS', name) == 0 then return forget_message(id, host) end
  redis.call('HINCRBY', name, 'hook_attempts', 1)
  schedule(host, id, now + arg.lease_ms)
  claimed[#claimed + 1] = {id, unpack(redis.call('HGETALL', name))}
end

for _, host in ipairs(redis.call('ZRANGEBYSCORE', key.hook_hosts(), '-inf', now, 'LIMIT', 0, MAX_HOSTS)) do
  local room = math.min(arg.per_host - (arg.running[host] or 0), arg.limit - #claimed)
  if room > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.hooks(host), '-inf', now, 'LIMIT', 0, room)) do
      claim(host, id)
    end
    place_host(host)
  end
end
return claimed
