-- stalled.lua: enabled jobs that have no next fire time.
-- KEYS[1] zset enabled jobs   KEYS[2] zset jobs due
-- ARGV[1] place of the first to look at   ARGV[2] place of the last
-- returns how many were looked at, and the ids
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2])
local found = {tostring(#ids)}
for _, id in ipairs(ids) do
  if not redis.call('ZSCORE', KEYS[2], id) then found[#found + 1] = id end
end
return found
