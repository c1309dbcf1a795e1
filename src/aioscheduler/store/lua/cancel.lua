-- cancel.lua: delete live messages, their leases included.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state
-- KEYS[4] zset index     KEYS[5] hash counters KEYS[6] hash audit    KEYS[7] zset audit minutes
-- KEYS[8..] string record, one an id
-- ARGV[1] the caller's replica   ARGV[2..] ids
-- returns a number an id: 1 there was one, 0 there was none; 10 more where the caller had leased it, 20 where another had
-- include account, planned, taken
local found, deleted = {}, 0
for i = 1, #ARGV - 1 do
  local id = ARGV[i + 1]
  found[i] = 0
  local planned = planned_for(KEYS[1], KEYS[2], KEYS[3], id)
  if planned then close(planned, 'c', 1) end
  -- A key of another type under this name is not ours to delete.
  if redis.call('TYPE', KEYS[7 + i]).ok == 'string' then
    redis.call('DEL', KEYS[7 + i])
    found[i] = 1
    deleted = deleted + 1
  end
  redis.call('ZREM', KEYS[1], id)
  found[i] = found[i] + take_lease(KEYS[2], id, ARGV[1])
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
end
if deleted > 0 then redis.call('HINCRBY', KEYS[5], 'deleted', deleted) end
write_account(KEYS[6], KEYS[7])
return found
