-- Append an event of a running job. ARGV[3]: its data; ARGV[4]: image bytes, if any.
-- Returns 0 and does nothing when the claim is stale.

local job = held(arg.id, arg.fence)
if not job then return 0 end
emit(job, arg.name, ARGV[3], ARGV[4])
return 1
