-- write_jobs.lua: write jobs, new ones or over an older version, and say when each is due.
-- KEYS[1] zset jobs due   KEYS[2] hash counters
-- KEYS[3..] seven a job: string record, zsets of its owner's jobs (all, enabled, disabled), zsets of everybody's (same)
-- ARGV, six a job: id, version it has now ("" for none), record, "1" enabled or "0", creation in ms, due time in ms, ""
--   for none, "=" for the one it has: it may have been fired since the caller looked
-- returns a code a job: 1 written, 0 there is one already, or none, or it has another version
local codes, written = {}, 0
-- A full server refuses what adds: asked first, it refuses all of it.
redis.call('HINCRBY', KEYS[2], 'jobs:written', 0)
for i = 1, #ARGV / 6 do
  local a, k = 6 * i - 5, 7 * i - 4
  local id, old, record, enabled, created, due = unpack(ARGV, a, a + 5)
  local present = redis.call('GET', KEYS[k])
  if (present and string.sub(present, 1, 10) or '') == old then
    redis.call('SET', KEYS[k], record)
    local on, off = 1, 2
    if enabled == '0' then on, off = 2, 1 end
    for _, scope in ipairs({k + 1, k + 4}) do
      redis.call('ZADD', KEYS[scope], created, id)
      redis.call('ZADD', KEYS[scope + on], created, id)
      redis.call('ZREM', KEYS[scope + off], id)
    end
    if due == '' then redis.call('ZREM', KEYS[1], id) elseif due ~= '=' then redis.call('ZADD', KEYS[1], due, id) end
    codes[i], written = 1, written + 1
  else
    codes[i] = 0
  end
end
redis.call('HINCRBY', KEYS[2], 'jobs:written', written)
return codes
