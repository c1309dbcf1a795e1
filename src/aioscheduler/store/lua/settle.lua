-- settle.lua: end leases: done, due again, or dead; write the delivery log; count.
-- KEYS[1] zset due           KEYS[2] hash leased        KEYS[3] hash state     KEYS[4] zset index
-- KEYS[5] hash counters      KEYS[6] hash dead          KEYS[7] zset dead index
-- KEYS[8] stream deliveries  KEYS[9] zset deliveries index                     KEYS[10] hash audit
-- KEYS[11] zset audit minutes                           KEYS[12] string lateness of this minute
-- KEYS[13] zset, KEYS[14] string: of its destinations    KEYS[15..17] the same three of this hour
-- KEYS[18] string activity of this day                 KEYS[19..] string record, one a lease
-- ARGV[1] length of the log  ARGV[2] lateness of what was settled before, a line a destination, or ""
-- ARGV[3] twice the minute of this day
-- ARGV[4..] thirteen a lease: id, lease, decision ("done", "retry", "bury"), record,
--   due time in ms (retry), state (retry; "" for none), dead letter (bury), log line ("" for none), its status,
--   counters that grow by one as "name,name,", lateness and duration in µs, when it was planned for in ms;
--   a leading "-" in the lease means: sent before, outcome unknown
-- returns a code a lease: 1 applied, 0 the lease was lost, 2 an outsider changed the record meanwhile,
--   3 applied, but an outsider had deleted the record
-- include account, activity, lateness, letters, log
local codes, counts, tally, logged, failed = {}, {}, {}, 0, 0
local FIELDS = 13

local function count(name, n) counts[name] = (counts[name] or 0) + n end

-- A full server refuses what adds, not what removes: asked first, it refuses all of it.
redis.call('HINCRBY', KEYS[5], 'delivered', 0)
-- Calls, not what they do, are what a batch costs: as many leases as possible share one.
local many = (#ARGV - 3) / FIELDS
local ids = {}
for i = 1, many do ids[i] = ARGV[FIELDS * i - FIELDS + 4] end
local leases = many > 0 and redis.call('HMGET', KEYS[2], unpack(ids)) or {}
local records = many > 0 and redis.call('MGET', unpack(KEYS, 19, 18 + many)) or {}
local ended, over, stateless, due_again, states = {}, {}, {}, {}, {}
for i = 1, many do
  local a = FIELDS * i - FIELDS + 4
  local id, lease, decision, leased = ids[i], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local key = KEYS[18 + i]
  local again = string.byte(lease) == 45
  if again then lease = string.sub(lease, 2) end
  local code = 0
  if leases[i] == lease and not ended[id] then
    ended[id] = true
    ended[#ended + 1] = id
    -- What is no string is not there for MGET, and nothing of ours.
    local record = records[i] or redis.pcall('GET', key)
    local planned = ARGV[a + 12]
    if record and record ~= leased then
      stateless[#stateless + 1] = id
      over[#over + 1] = id
      close(planned, 'r', 1)
      code = 2
    else
      code = record and 1 or 3
      if decision == 'retry' and record then
        due_again[#due_again + 1] = ARGV[a + 4]
        due_again[#due_again + 1] = id
        if ARGV[a + 5] == '' then
          stateless[#stateless + 1] = id
        else
          states[#states + 1] = id
          states[#states + 1] = ARGV[a + 5]
        end
      else
        if decision == 'done' then
          count('delivered', 1)
          close(planned, 'd', 1)
        elseif record then
          local why = bury(KEYS[6], KEYS[7], id, ARGV[a + 6])
          count('dead:' .. why, 1)
          close(planned, why == 'missed_window' and 'm' or 'x', 1)
        else
          count('deleted', 1)
          close(planned, 'c', 1)
        end
        redis.call('DEL', key)
        stateless[#stateless + 1] = id
        over[#over + 1] = id
      end
    end
  end
  -- An attempt that was made is logged and counted even when the message was deleted or replaced meanwhile.
  if ARGV[a + 7] ~= '' and (code ~= 0 or not again) then
    write_line(KEYS[8], 'm', id, ARGV[a + 8], ARGV[a + 7])
    logged = logged + 1
    if ARGV[a + 8] ~= 'success' then failed = failed + 1 end
    tally[ARGV[a + 9]] = (tally[ARGV[a + 9]] or 0) + 1
    count('lateness_us:sum', ARGV[a + 10])
    count('duration_us:sum', ARGV[a + 11])
  end
  codes[i] = code
end
if #ended > 0 then redis.call('HDEL', KEYS[2], unpack(ended)) end
if #due_again > 0 then redis.call('ZADD', KEYS[1], unpack(due_again)) end
if #states > 0 then redis.call('HSET', KEYS[3], unpack(states)) end
if #stateless > 0 then redis.call('HDEL', KEYS[3], unpack(stateless)) end
if #over > 0 then redis.call('ZREM', KEYS[4], unpack(over)) end

for names, n in pairs(tally) do
  for name in string.gmatch(names, '[^,]+') do count(name, n) end
end
-- A sum that has no room for more stays as it is: no lease is kept by a figure.
for name, n in pairs(counts) do redis.pcall('HINCRBY', KEYS[5], name, string.format('%.0f', n)) end

write_account(KEYS[10], KEYS[11])
write_lateness(ARGV[2], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17])
index_lines(KEYS[9])
write_activity(KEYS[18], ARGV[3], logged, failed)
trim_log(KEYS[8], KEYS[9], ARGV[1], logged)
return codes
