-- What a job that has ended leaves in Redis, in as little room as it needs: thousands of them stay for
-- their time to live. Stands before the prelude, whose settle ends jobs.

-- Fields of its hash that nobody asks for any more, neither this release nor the last one; and those
-- of one that succeeded, which has made all its progress: its body tells how much that is.
local OF_THE_LIVING = {'cost', 'deadline_ms', 'isolated', 'keep_ms', 'lost', 'priority', 'score',
  'webhook', 'whole'}
local OF_PROGRESS = {'codes_done', 'codes_total', 'stage'}

-- Of the progress that led to the end only the last event stays.
local function thin(stream)
  local entries, num_told = redis.call('XRANGE', stream, '-', '+'), 0
  for i = #entries, 1, -1 do
    if entries[i][2][2] == 'progress' then
      num_told = num_told + 1
      if num_told > 1 then table.remove(entries, i) end
    end
  end
  if num_told < 2 then return end
  redis.call('DEL', stream) -- what is deleted from the middle of a stream keeps its room
  for _, entry in ipairs(entries) do redis.call('XADD', stream, entry[1], unpack(entry[2])) end
end

-- A stream has room for 4 kB ready for what comes; here nothing comes any more. One that holds
-- pictures has little of it to spare, and a server that denies these commands keeps its streams.
local function pack(stream, ttl_ms)
  local bytes = redis.pcall('MEMORY', 'USAGE', stream)
  if type(bytes) ~= 'number' or bytes > 8192 then return end
  thin(stream)
  local packed = redis.pcall('DUMP', stream)
  if type(packed) == 'string' then redis.pcall('RESTORE', stream, ttl_ms, packed, 'REPLACE') end
end

-- A hash keeps room for all fields that it ever had: written anew it has room for those of now. Short
-- values come first: the table that a long one makes it is then made for all of them at once.
local function fit(hash)
  local fields = redis.call('HGETALL', hash)
  redis.call('DEL', hash)
  for _, is_long in ipairs({false, true}) do
    for i = 1, #fields, 2 do
      local name, value = fields[i], fields[i + 1]
      if (#value > 64) == is_long then redis.call('HSET', hash, name, value) end
    end
  end
end

-- The job has ended in that state, and its last event is written. Whoever sends its idempotency key
-- again finds its hash for `keep_ms`; all else of it goes with the images.
local function strip(id, state, ttl_ms, keep_ms)
  redis.call('HDEL', key.job(id), unpack(OF_THE_LIVING))
  if state == 'succeeded' then redis.call('HDEL', key.job(id), unpack(OF_PROGRESS)) end
  fit(key.job(id))
  pack(key.events(id), ttl_ms)
  redis.call('PEXPIRE', key.job(id), keep_ms)
  redis.call('PEXPIRE', key.events(id), ttl_ms)
end
