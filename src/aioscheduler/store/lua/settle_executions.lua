-- settle_executions.lua: end leases: into the history, with a further attempt or none, or due again; log; count.
-- KEYS[1] zset executions due   KEYS[2] hash executions leased   KEYS[3] hash executions state
-- KEYS[4] hash jobs last        KEYS[5] hash counters            KEYS[6] hash dead   KEYS[7] zset dead index
-- KEYS[8] stream deliveries     KEYS[9] zset deliveries index     KEYS[10] hash audit
-- KEYS[11] zset audit minutes   KEYS[12] string lateness of this minute    KEYS[13] zset, KEYS[14] string: of its
--   destinations                KEYS[15..17] the same three of this hour
-- KEYS[18] string activity of this day
-- KEYS[19..] six a lease: string record of the job, hash executions, zset history, hash runs, list waiting, hash owner's
--   counters
-- ARGV[1] length of the log     ARGV[2] how many executions a job keeps   ARGV[3] now, ms
-- ARGV[4] lateness of what was settled before, a line a destination, or ""     ARGV[5] twice the minute of this day
-- ARGV[6..] 23 a lease: reference, lease, "end" or "release", execution id, its creation in ms, job id, fire time in ms,
--   status, record, answer, due time in ms and claims so far (release), of the next attempt: reference or "", id,
--   creation, record, due time in ms; dead letter or "", error, log line with its outcome or "", counters as
--   "name=n,name=n,", owner's counters likewise, how those of its family begin; a leading "-" in the lease means: sent before, outcome unknown
-- returns a list a lease: 1 applied or 0 lost, then the references that became due because a run waited
-- include account, activity, history, lateness, letters, log
local answers, counts, logged, failed = {}, {}, 0, 0
local now = ARGV[3]
local FIELDS = 23
local ENDS = {success = 'd', skipped = 'm'}

local function count(name, n) counts[name] = (counts[name] or 0) + n end

-- Asked first, a full server refuses all of it.
redis.call('HINCRBY', KEYS[5], 'jobs:fired', 0)
for i = 1, (#ARGV - 5) / FIELDS do
  local a, k = FIELDS * i - FIELDS + 6, 6 * i + 13
  local ref, lease, how, id, created, job, fire, status = unpack(ARGV, a, a + 7)
  local text, body, due, claims = unpack(ARGV, a + 8, a + 11)
  local nextref, nextid, nextcreated, nexttext, nextdue = unpack(ARGV, a + 12, a + 16)
  local letter, failure, line, names, owned, family = unpack(ARGV, a + 17, a + 22)
  local executions, history, runs, waiting, owner = unpack(KEYS, k + 1, k + 5)
  local again = string.sub(lease, 1, 1) == '-'
  if again then lease = string.sub(lease, 2) end
  local answer = {0}
  if redis.call('HGET', KEYS[2], ref) == lease then
    answer[1] = 1
    redis.call('HDEL', KEYS[2], ref)
    if how == 'release' then
      redis.call('HSET', KEYS[3], ref, claims .. ' 0 - - - ')
      redis.call('ZADD', KEYS[1], due, ref)
    else
      redis.call('HDEL', KEYS[3], ref)
      redis.call('HSET', executions, id, text)
      if body ~= '' then redis.call('HSET', executions, 'b' .. id, body) end
      redis.call('ZREM', history, 'o' .. stamp(created) .. ref)
      redis.call('ZADD', history, 0, status .. stamp(created) .. id)
      local last = redis.call('HGET', KEYS[4], job)
      redis.call('HSET', KEYS[4], job, (string.match(last or '', '^%d+') or now) .. ' ' .. status .. ' ' .. failure)
      -- One that somebody asked for by hand meanwhile would end this run once, for two.
      if nextref ~= '' and redis.call('HEXISTS', executions, nextid) == 0 then
        open_execution(executions, history, nextid, nextref, nexttext, nextcreated)
        redis.call('ZADD', KEYS[1], nextdue, nextref)
      else
        redis.call('HINCRBY', owner, 'open', -1)
        count(family .. 'open', -1)
        close(fire, ENDS[status] or 'x', 1)
        if redis.call('HINCRBY', runs, fire, -1) <= 0 then redis.call('HDEL', runs, fire) end
        local record = redis.call('GET', KEYS[k])
        local most = tonumber(record and string.match(record, '^%S+ (%d+) ') or '1')
        while redis.call('HLEN', runs) < most do
          local queued = redis.call('LPOP', waiting)
          if not queued then break end
          local n = 0
          local _, at, refs = string.match(queued, '^(%S+) (%S+) (.*)$')
          for started in string.gmatch(refs, '%S+') do
            redis.call('ZADD', KEYS[1], now, started)
            answer[#answer + 1] = started
            n = n + 1
          end
          redis.call('HINCRBY', runs, at, n)
          redis.call('HSET', KEYS[4], job, now .. ' queued ')
        end
      end
      redis.call('HINCRBY', owner, status, 1)
      count(family .. status, 1)
      if letter ~= '' then
        count('dead:' .. bury(KEYS[6], KEYS[7], '\0' .. id, letter), 1)
      end
      for name, n in string.gmatch(owned, '([^=,]+)=(-?%d+),') do redis.call('HINCRBY', owner, name, n) end
      trim_history(executions, history, ARGV[2])
    end
  end
  if names ~= '' and (answer[1] == 1 or line ~= '' and not again) then
    for name, n in string.gmatch(names, '([^=,]+)=(-?%d+),') do count(name, tonumber(n)) end
  end
  -- An attempt that was made is logged also when its job was deleted meanwhile.
  if line ~= '' and (answer[1] == 1 or not again) then
    local outcome, rest = string.match(line, '^(%S+) (.*)$')
    write_line(KEYS[8], 'j', job, outcome, rest)
    logged = logged + 1
    if outcome ~= 'success' then failed = failed + 1 end
  end
  answers[i] = answer
end

-- A sum that has no room for more stays as it is: no lease is kept by a figure.
for name, n in pairs(counts) do redis.pcall('HINCRBY', KEYS[5], name, string.format('%.0f', n)) end

write_account(KEYS[10], KEYS[11])
write_lateness(ARGV[4], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17])
index_lines(KEYS[9])
write_activity(KEYS[18], ARGV[5], logged, failed)
trim_log(KEYS[8], KEYS[9], ARGV[1], logged)
return answers
