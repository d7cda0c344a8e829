-- A worker goes off the list; a name that another process has by now stays there. Returns 1 or 0.

local owner = redis.call('GET', key.holder(arg.worker))
if owner and owner ~= arg.owner then return 0 end
redis.call('DEL', key.holder(arg.worker), key.worker(arg.worker), key.traits(arg.worker))
redis.call('SREM', key.workers(), arg.worker)
return 1
