-- cancel.lua: delete live messages, their leases included.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state
-- KEYS[4] zset index     KEYS[5] hash counters KEYS[6..] string record, one an id
-- ARGV[1..] ids
-- returns a number an id: 1 there was one, 0 there was none
local found, deleted = {}, 0
for i = 1, #ARGV do
  local id = ARGV[i]
  found[i] = 0
  -- A key of another type under this name is not ours to delete.
  if redis.call('TYPE', KEYS[5 + i]).ok == 'string' then
    redis.call('DEL', KEYS[5 + i])
    found[i] = 1
    deleted = deleted + 1
  end
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
end
if deleted > 0 then redis.call('HINCRBY', KEYS[5], 'deleted', deleted) end
return found
