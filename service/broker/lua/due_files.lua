-- Jobs whose files in the store of results nobody needs any more, and `untidy` ones, which were drawn
-- in parts and have put more than they keep, as JSON; at most BATCH are looked at.
-- Files are needed while the job's pictures live, or while it may still get some. Each job that needs
-- none comes up again after arg.again_ms, for the case that its files could not be removed.

local BATCH = 100

local function needed_ms(id)
  local lives_ms = redis.call('PTTL', key.images(id))
  if lives_ms >= 0 then return lives_ms + 1 end
  local state, deadline_ms = unpack(redis.call('HMGET', key.job(id), 'state', 'deadline_ms'))
  if state == 'queued' or state == 'running' then return math.max(deadline_ms - now, 0) + arg.again_ms end
end

local function is_untidy(id)
  local state, parts = unpack(redis.call('HMGET', key.job(id), 'state', 'parts'))
  return state == 'succeeded' and parts
end

local unneeded, untidy = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key.files(), '-inf', now, 'LIMIT', 0, BATCH)) do
  local more_ms = needed_ms(id)
  if not more_ms then
    unneeded[#unneeded + 1] = id
  elseif is_untidy(id) then
    untidy[#untidy + 1] = id
  end
  redis.call('ZADD', key.files(), now + (more_ms or arg.again_ms), id)
end
return cjson.encode({unneeded = unneeded, untidy = untidy})
