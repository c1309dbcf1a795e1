-- run_now.lua: make a live message due at once.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] string record   KEYS[4] hash state
-- ARGV[1] id             ARGV[2] now, ms
-- returns 1 done, 2 an attempt is going on, 0 there is none
-- include move
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if due then
  if tonumber(due) > tonumber(ARGV[2]) then move(KEYS[1], KEYS[4], ARGV[1], due, ARGV[2]) end
  return 1
end
return redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 and 2 or 0
