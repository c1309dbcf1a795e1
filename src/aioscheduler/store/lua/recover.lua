-- recover.lua: give back leases whose holder will not settle them.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state   KEYS[4] hash counters
-- KEYS[5] string heartbeat of the holder
-- ARGV[1] "dead": only if the holder has no heartbeat; "any": whether or not
-- ARGV[2..] id and lease in turn
-- returns how many leases were given back. The attempt stays counted, so the number on the wire always rises, but it
-- is no failure.
if ARGV[1] == 'dead' and redis.call('EXISTS', KEYS[5]) == 1 then return 0 end
local recovered = 0
for i = 2, #ARGV, 2 do
  local id, lease = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', KEYS[2], id) == lease then
    local attempt, due = string.match(lease, '^[^:]+:%d+:(%d+):([^:]+):')
    local rest = string.match(redis.call('HGET', KEYS[3], id) or '', '^%d+ (.*)$') or '0 - - - '
    -- First what a full server refuses, then what it does not.
    redis.call('HSET', KEYS[3], id, attempt .. ' ' .. rest)
    redis.call('ZADD', KEYS[1], due, id)
    redis.call('HDEL', KEYS[2], id)
    recovered = recovered + 1
  end
end
if recovered > 0 then redis.call('HINCRBY', KEYS[4], 'recovered', recovered) end
return recovered
