-- claim.lua: lease those of the given messages that are due and not leased.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state   KEYS[4] zset index
-- KEYS[5] string heartbeat of the caller       KEYS[6] hash counters
-- KEYS[7..] string record, one an id
-- ARGV[1] now, ms        ARGV[2] "<replica>:<claim>"   ARGV[3] lease expiry, ms
-- ARGV[4] heartbeat, ms  ARGV[5..] ids
-- returns five values a leased message: its place among the ids, lease, due time, state or "", record.
-- Before and after, a live message is in exactly one of due and leased.
local now = tonumber(ARGV[1])
local claimed, vanished = {}, 0
-- Whoever claims lives: otherwise another replica could take the new leases for a dead one's.
redis.call('SET', KEYS[5], '1', 'PX', ARGV[4])
for i = 5, #ARGV do
  local id = ARGV[i]
  local due = redis.call('ZSCORE', KEYS[1], id)
  if due and tonumber(due) <= now then
    local record = redis.pcall('GET', KEYS[i + 2])
    redis.call('ZREM', KEYS[1], id)
    if type(record) == 'string' then
      local state = redis.call('HGET', KEYS[3], id) or ''
      local attempt = tonumber(string.match(state, '^%d+') or '0') + 1
      local lease = ARGV[2] .. ':' .. attempt .. ':' .. due .. ':' .. ARGV[3]
      redis.call('HSET', KEYS[2], id, lease)
      local n = #claimed
      claimed[n + 1], claimed[n + 2], claimed[n + 3], claimed[n + 4], claimed[n + 5] =
        tostring(i - 4), lease, due, state, record
    else
      -- Deleted, expired or evicted behind our back, and the notification was lost.
      redis.call('HDEL', KEYS[3], id)
      redis.call('ZREM', KEYS[4], id)
      vanished = vanished + 1
    end
  end
end
if vanished > 0 then redis.call('HINCRBY', KEYS[6], 'vanished', vanished) end
return claimed
