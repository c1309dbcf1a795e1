-- claim.lua: lease those of the given messages that are due, or will be soon, and are not leased.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state   KEYS[4] zset index
-- KEYS[5] string heartbeat of the caller       KEYS[6] hash counters   KEYS[7] hash audit
-- KEYS[8] zset audit minutes                   KEYS[9..] string record, one an id
-- ARGV[1] now, ms        ARGV[2] "<replica>:<claim>"   ARGV[3] lease expiry, ms
-- ARGV[4] heartbeat, ms  ARGV[5] "1": nothing is due before it is by the server's clock, either
-- ARGV[6] how much earlier than due may be leased, ms         ARGV[7..] ids
-- returns the server's time in µs, or "", then five values a leased message: its place among the ids, lease, due time,
--   state or "", record; one for which it is too early by the server's clock, or for which the answer has no room, has no
--   lease and no record.
-- Before and after, a live message is in exactly one of due and leased.
-- include account, now
local now, _, clock = what_is_due(ARGV[1], ARGV[5])
local ahead = tonumber(ARGV[6])
local claimed = {clock}
-- Whoever claims lives: otherwise another replica could take the new leases for a dead one's.
redis.call('SET', KEYS[5], '1', 'PX', ARGV[4])
-- Calls, not what they do, are what a batch costs: as many ids as possible share one.
local last = #ARGV
local dues = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 7, last))
local states = redis.call('HMGET', KEYS[3], unpack(ARGV, 7, last))
local taken, leases, gone, bytes = {}, {}, {}, 0
local records, full
for i = 7, last do
  local place = (i - 7) % 32 + 1
  if place == 1 and not full then
    local final = i + 33 < last + 2 and i + 33 or last + 2
    records = redis.call('MGET', unpack(KEYS, i + 2, final))
  end
  local id, due = ARGV[i], dues[i - 6]
  local record = not full and records[place]
  local ready = due and not taken[id] and tonumber(due) <= now + ahead
  -- An answer that is too large comes too late; what is left for the next has a row as if it was too early.
  full = full or ready and record and bytes > 0 and bytes + #record > 16777216
  if ready and not full then
    bytes = bytes + (record and #record or 0)
    taken[id] = true
    taken[#taken + 1] = id
    local state = states[i - 6] or ''
    if record then
      local attempt = tonumber(string.match(state, '^%d+') or '0') + 1
      local lease = ARGV[2] .. ':' .. attempt .. ':' .. due .. ':' .. ARGV[3]
      local n = #leases
      leases[n + 1], leases[n + 2] = id, lease
      n = #claimed
      claimed[n + 1], claimed[n + 2], claimed[n + 3], claimed[n + 4], claimed[n + 5] =
        tostring(i - 6), lease, due, state, record
    else
      -- Deleted, expired or evicted behind our back, and the notification was lost.
      close(string.match(state, '^%S+ %S+ %S+ %S+ (-?%d+) ') or due, 'c', 1)
      gone[#gone + 1] = id
    end
  elseif due and not taken[id] and tonumber(due) <= tonumber(ARGV[1]) + ahead then
    local n = #claimed
    claimed[n + 1], claimed[n + 2], claimed[n + 3], claimed[n + 4], claimed[n + 5] = tostring(i - 6), '', due, '', ''
  end
end
if #taken > 0 then redis.call('ZREM', KEYS[1], unpack(taken)) end
if #leases > 0 then redis.call('HSET', KEYS[2], unpack(leases)) end
if #gone > 0 then
  redis.call('HDEL', KEYS[3], unpack(gone))
  redis.call('ZREM', KEYS[4], unpack(gone))
  redis.call('HINCRBY', KEYS[6], 'vanished', #gone)
end
write_account(KEYS[7], KEYS[8])
return claimed
