-- defer.lua: look at due messages again a little later; not an attempt.
-- KEYS[1] zset due
-- ARGV[1] later, ms      ARGV[2] now, ms       ARGV[3..] ids
-- returns how many were put off: those that are due and that nobody leased
local deferred = 0
for i = 3, #ARGV do
  local due = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if due and tonumber(due) <= tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
    deferred = deferred + 1
  end
end
return deferred
