-- plans.lua: jobs with their webhooks, as they are at one moment.
-- KEYS[1] zset jobs due   KEYS[2..] two a job: string record, hash webhooks
-- ARGV[1..] ids
-- returns four values a job that is due at some time: its place among the ids, due time, record, and its webhooks, ids
-- and records in turn
local found = {}
for i = 1, #ARGV do
  local due = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if due then
    local record = redis.call('GET', KEYS[2 * i])
    if record then
      local n = #found
      found[n + 1], found[n + 2], found[n + 3] = tostring(i), due, record
      found[n + 4] = redis.call('HGETALL', KEYS[2 * i + 1])
    else
      -- Evicted or deleted behind our back.
      redis.call('ZREM', KEYS[1], ARGV[i])
    end
  end
end
return found
