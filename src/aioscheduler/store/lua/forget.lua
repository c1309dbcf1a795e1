-- forget.lua: delete old executions of jobs.
-- KEYS[1..] two a job: hash executions, zset history
-- ARGV[1] those created before this, ms   ARGV[2] how many of a job at most
-- returns how many there were
-- include history
local gone = 0
for k = 1, #KEYS, 2 do
  gone = gone + forget_executions(KEYS[k], KEYS[k + 1], ARGV[2], ARGV[1])
end
return gone
