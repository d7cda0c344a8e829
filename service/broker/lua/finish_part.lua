-- Commit a part of a job: its pictures, or, when it is the last one, the job's end with the best of
-- all parts. ARGV[3] and on: the files, whose names among those of this part are arg.files.
-- arg.pictures: {candidate, score, bytes} of each by rank, with the score as JSON's text, which is
-- exact. Returns 0 when the claim is stale, 1 when this ended the job, 2 when the part is done, or the
-- job had ended without it; the same again when an answer was lost on the way.

local PICK_UP_MS = 2000 -- a worker with room comes for the rest in less; after it, the job waits

local name = key.job(arg.id)
if redis.call('HGET', name, 'committed') == tostring(arg.fence) then return 1 end
local job, part = held(arg.id, arg.fence)
if not job then return is_settled(arg.id, arg.fence) and 2 or 0 end

local function store_files()
  for i, file in ipairs(arg.files) do
    redis.call('HSET', key.images(job.id), 'p' .. arg.fence .. '/' .. file, ARGV[i + 2])
  end
  redis.call('PEXPIRE', key.images(job.id), math.max(job.deadline_ms - now, 0) + job.ttl_ms)
end

-- The pictures of all parts, best first: equals by candidate, what has no score last.
local function in_order()
  local all = {}
  for _, one in ipairs(job.parts.list) do
    for rank, picture in ipairs(one.pictures) do
      local candidate, text, bytes = unpack(picture)
      local score = tonumber(text)
      if not score or score ~= score then score = -math.huge end
      all[#all + 1] = {file = one.fence .. '/' .. rank - 1, candidate = candidate, text = text,
        bytes = bytes, score = score}
    end
  end
  table.sort(all, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return a.candidate < b.candidate
  end)
  return all
end

-- Files of the pictures that are kept get the names of their ranks; the others go.
local function keep_files(best)
  local ranks = {}
  for rank, picture in ipairs(best) do ranks[picture.file] = rank - 1 end
  for _, file in ipairs(redis.call('HKEYS', key.images(job.id))) do
    local picture, view = string.match(file, '^p(%d+/%d+)(.*)$')
    if ranks[picture] then
      redis.call('HSET', key.images(job.id), ranks[picture] .. view,
        redis.call('HGET', key.images(job.id), file))
    end
    redis.call('HDEL', key.images(job.id), file)
  end
  redis.call('PEXPIRE', key.images(job.id), job.ttl_ms)
end

-- The fields `images` and `scores`, as results.py writes them for a whole job.
local function tell_of(best)
  local images, scores, lacks_one = {}, {}, false
  for rank, picture in ipairs(best) do
    local score = picture.text == 'null' and '0.0' or picture.text
    images[rank] = string.format('[%d,%d,%s,%d]', rank - 1, picture.candidate, score,
      picture.bytes)
    scores[rank], lacks_one = picture.text, lacks_one or picture.text == 'null'
  end
  local fields = {'images', '[' .. table.concat(images, ',') .. ']'}
  if lacks_one then fields[3], fields[4] = 'scores', '[' .. table.concat(scores, ',') .. ']' end
  return fields
end

-- Seconds of a job in parts: the longest that a part took, and the wait of the first one.
local function longest()
  local seconds = {}
  for _, one in ipairs(job.parts.list) do
    for phase, value in pairs(one.timings) do
      local choose = phase == 'queue_wait' and math.min or math.max
      seconds[phase] = choose(seconds[phase] or value, value)
    end
  end
  return cjson.encode(seconds)
end

local function end_job()
  local best = in_order()
  for rank = #best, arg.n + 1, -1 do best[rank] = nil end
  keep_files(best)
  local fields = {'committed', tostring(arg.fence), 'timings', longest()}
  for _, some in ipairs({tell_of(best), arg.fields}) do
    for _, value in ipairs(some) do fields[#fields + 1] = value end
  end
  for i, one in ipairs(job.parts.list) do
    job.parts.list[i] = {fence = one.fence} -- a worker whose answer was lost may ask by it again
  end
  redis.call('HSET', name, 'parts', cjson.encode(job.parts))
  settle(job, 'succeeded', fields, cjson.encode({num_images = #best}))
  redis.call('ZADD', key.files(), 'XX', now, job.id) -- a store has more of them than are kept
end

store_files()
record_drain(job, part.count)
part.state, part.codes_done, part.stage = 'done', nil, nil
part.pictures, part.timings = arg.pictures, arg.timings
redis.call('ZREM', key.parts(job.model), job.id .. ' ' .. part.fence)
save_parts(job)
sum_up(job)
if not is_any(job.parts, 'held') and not is_any(job.parts, 'free') then
  end_job()
  return 1
end
if not is_any(job.parts, 'held') then
  redis.call('ZADD', key.leases(job.model), now + PICK_UP_MS, job.id)
end
return 2
