-- A worker is about to put files of a job into the store of results: note when to look after them.
-- A later look replaces an earlier one. Returns 1.

redis.call('ZADD', key.files(), 'GT', now + arg.look_ms, arg.id)
return 1
