-- schedule.lua: write messages, each due at its time, replacing or refusing one that is there.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state
-- KEYS[4] zset index     KEYS[5] hash counters KEYS[6..] string record, one a message
-- ARGV, four a message: id, due time in ms, record, "reject" or "replace"
-- returns a code a message: 1 created, 2 replaced, 0 exists, 3 the key holds no string, 4 created by the call before
local codes, created, replaced = {}, 0, 0
for i = 1, #ARGV / 4 do
  local a = 4 * i - 3
  local id, due, record, policy = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local key = KEYS[5 + i]
  local code = 1
  if redis.call('EXISTS', key) == 1 then
    if redis.call('TYPE', key).ok ~= 'string' then
      code = 3
    elseif policy == 'replace' then
      code = 2
    elseif redis.call('GET', key) == record then
      -- This very write, sent again because its answer was lost: a version is made only once.
      code = 4
    else
      code = 0
    end
  end
  if code == 1 or code == 2 then
    redis.call('SET', key, record)
    redis.call('ZADD', KEYS[1], due, id)
    redis.call('ZADD', KEYS[4], 0, id)
    -- Also when created: what an outsider's DEL left behind must not follow the new message.
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    if code == 1 then created = created + 1 else replaced = replaced + 1 end
  end
  codes[i] = code
end
if created > 0 then redis.call('HINCRBY', KEYS[5], 'scheduled', created) end
if replaced > 0 then redis.call('HINCRBY', KEYS[5], 'replaced', replaced) end
return codes
