-- A worker's sign of life, unless another process goes by its name. A name is the owner's for as long
-- as its last sign is believed; arg.gone is an owner that is known to have ended.
-- Returns nothing when the name is ours, else its owner ('' for one that says none) and until when
-- (ms) its last sign is believed.

local sign, holder = key.worker(arg.worker), key.holder(arg.worker)
local owner = redis.call('GET', holder) or (redis.call('EXISTS', sign) == 1 and '')
if owner and owner ~= arg.owner and owner ~= arg.gone then
  return {owner, redis.call('PEXPIRETIME', sign)}
end
redis.call('SET', holder, arg.owner, 'PX', arg.ttl_ms)
redis.call('SET', sign, ARGV[3], 'PX', arg.ttl_ms)
redis.call('SET', key.traits(arg.worker), ARGV[4], 'PX', arg.ttl_ms)
redis.call('SADD', key.workers(), arg.worker)
redis.call('PEXPIRE', key.workers(), arg.list_ttl_ms)
return {}
