-- settle.lua: end leases: done, due again, or dead; write the delivery log; count.
-- KEYS[1] zset due           KEYS[2] hash leased        KEYS[3] hash state     KEYS[4] zset index
-- KEYS[5] hash counters      KEYS[6] hash dead          KEYS[7] zset dead index
-- KEYS[8] stream deliveries  KEYS[9] zset deliveries index                     KEYS[10] hash audit
-- KEYS[11] zset audit minutes                           KEYS[12] string lateness of this minute
-- KEYS[13] zset, KEYS[14] string: of its destinations    KEYS[15..17] the same three of this hour
-- KEYS[18] string activity of this day                 KEYS[19..] string record, one a lease
-- ARGV[1] length of the log  ARGV[2] lateness of what was settled before, a line a destination, or ""
-- ARGV[3] twice the minute of this day
-- ARGV[4..] eleven a lease: id, lease, decision ("done", "retry", "bury"), record,
--   due time in ms (retry), state (retry; "" for none), dead letter (bury), log line ("" for none), its status,
--   counters as "name=n,name=n,", when it was planned for in ms; a leading "-" in the lease means: sent before, outcome unknown
-- returns a code a lease: 1 applied, 0 the lease was lost, 2 an outsider changed the record meanwhile,
--   3 applied, but an outsider had deleted the record
-- include account, activity, lateness, letters, log
local codes, counts, logged, failed = {}, {}, 0, 0

local function count(name, n) counts[name] = (counts[name] or 0) + n end

-- A full server refuses what adds, not what removes: asked first, it refuses all of it.
redis.call('HINCRBY', KEYS[5], 'delivered', 0)
for i = 1, (#ARGV - 3) / 11 do
  local a = 11 * i - 7
  local id, lease, decision, leased = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local due, state, letter = ARGV[a + 4], ARGV[a + 5], ARGV[a + 6]
  local line, status, names, planned = ARGV[a + 7], ARGV[a + 8], ARGV[a + 9], ARGV[a + 10]
  local key = KEYS[18 + i]
  local again = string.sub(lease, 1, 1) == '-'
  if again then lease = string.sub(lease, 2) end
  local code = 0
  if redis.call('HGET', KEYS[2], id) == lease then
    redis.call('HDEL', KEYS[2], id)
    local record = redis.pcall('GET', key)
    if record and record ~= leased then
      redis.call('HDEL', KEYS[3], id)
      redis.call('ZREM', KEYS[4], id)
      close(planned, 'r', 1)
      code = 2
    else
      code = record and 1 or 3
      if decision == 'retry' and record then
        redis.call('ZADD', KEYS[1], due, id)
        if state == '' then redis.call('HDEL', KEYS[3], id) else redis.call('HSET', KEYS[3], id, state) end
      else
        if decision == 'done' then
          count('delivered', 1)
          close(planned, 'd', 1)
        elseif record then
          local why = bury(KEYS[6], KEYS[7], id, letter)
          count('dead:' .. why, 1)
          close(planned, why == 'missed_window' and 'm' or 'x', 1)
        else
          count('deleted', 1)
          close(planned, 'c', 1)
        end
        redis.call('DEL', key)
        redis.call('HDEL', KEYS[3], id)
        redis.call('ZREM', KEYS[4], id)
      end
    end
  end
  -- An attempt that was made is logged and counted even when the message was deleted or replaced meanwhile.
  if line ~= '' and (code ~= 0 or not again) then
    write_line(KEYS[8], KEYS[9], 'm', id, status, line)
    logged = logged + 1
    if status ~= 'success' then failed = failed + 1 end
    for name, n in string.gmatch(names, '([^=,]+)=(-?%d+),') do count(name, tonumber(n)) end
  end
  codes[i] = code
end

for name, n in pairs(counts) do redis.call('HINCRBY', KEYS[5], name, string.format('%.0f', n)) end

write_account(KEYS[10], KEYS[11])
write_lateness(ARGV[2], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17])
write_activity(KEYS[18], ARGV[3], logged, failed)
trim_log(KEYS[8], KEYS[9], ARGV[1], logged)
return codes
