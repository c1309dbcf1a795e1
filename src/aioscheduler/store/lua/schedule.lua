-- schedule.lua: write messages, each due at its time, replacing or refusing one that is there.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state
-- KEYS[4] zset index     KEYS[5] hash counters KEYS[6] hash audit    KEYS[7] zset audit minutes
-- KEYS[8..] string record, one a message
-- ARGV[1] the caller's replica
-- ARGV[2..] four a message: id, due time in ms, record, "reject", "replace", or "if <tag> <tag> ..."
--   to replace only what a client has seen
-- returns a code a message: 1 created, 2 replaced, 0 exists, 3 the key holds no string, 4 created by the call before,
--   5 not as the client has seen it, 6 replaced by the call before; 10 more where the caller had leased it, 20 where
--   another had
-- include account, planned, taken, version
local codes, created, replaced = {}, 0, 0
-- Mostly nobody has leased or attempted anything: then there is nothing to look for, message by message.
local any_leased = redis.call('HLEN', KEYS[2]) > 0
local any_state = redis.call('HLEN', KEYS[3]) > 0
for i = 1, (#ARGV - 1) / 4 do
  local a = 4 * i - 2
  local id, due, record, policy = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local key = KEYS[7 + i]
  local code = 1
  if policy ~= 'reject' and policy ~= 'replace' then
    if redis.pcall('GET', key) == record then
      -- As below.
      code = 6
    elseif is_as_seen(KEYS[1], KEYS[2], KEYS[3], key, id, policy) then
      code = 2
      redis.call('SET', key, record)
    else
      code = 5
    end
  elseif not redis.call('SET', key, record, 'NX') then
    if redis.call('TYPE', key).ok ~= 'string' then
      code = 3
    elseif policy == 'replace' then
      code = 2
      redis.call('SET', key, record)
    elseif redis.call('GET', key) == record then
      -- This very write, sent again because its answer was lost: a version is made only once.
      code = 4
    else
      code = 0
    end
  end
  if code == 1 or code == 2 then
    if redis.call('ZADD', KEYS[4], 0, id) == 0 then
      -- Without its record, an outsider had deleted it, and nobody has heard yet.
      local before = planned_for(KEYS[1], KEYS[2], KEYS[3], id)
      if before then close(before, code == 2 and 'r' or 'c', 1) end
    end
    plan(due, 1)
    redis.call('ZADD', KEYS[1], due, id)
    -- Also when created: what an outsider's DEL left behind must not follow the new message.
    if any_state then redis.call('HDEL', KEYS[3], id) end
    if code == 1 then created = created + 1 else replaced = replaced + 1 end
    if any_leased then code = code + take_lease(KEYS[2], id, ARGV[1]) end
  end
  codes[i] = code
end
if created > 0 then redis.call('HINCRBY', KEYS[5], 'scheduled', created) end
if replaced > 0 then redis.call('HINCRBY', KEYS[5], 'replaced', replaced) end
write_account(KEYS[6], KEYS[7])
return codes
