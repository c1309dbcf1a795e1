-- defer.lua: look at due messages again a little later; not an attempt.
-- KEYS[1] zset due       KEYS[2] hash state
-- ARGV[1] later, ms      ARGV[2] now, ms       ARGV[3..] ids
-- returns how many were put off: those that are due and that nobody leased
-- include move
local deferred = 0
for i = 3, #ARGV do
  local due = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if due and tonumber(due) <= tonumber(ARGV[2]) then
    move(KEYS[1], KEYS[2], ARGV[i], due, ARGV[1])
    deferred = deferred + 1
  end
end
return deferred
