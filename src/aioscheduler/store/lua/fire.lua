-- fire.lua: carry out what became of due jobs: make executions, note what is skipped, say when each is due next.
-- KEYS[1] zset jobs due   KEYS[2] hash jobs last   KEYS[3] zset executions due   KEYS[4] hash counters
-- KEYS[5] hash audit     KEYS[6] zset audit minutes
-- KEYS[7..] six a job: string record, hash executions, zset history, hash runs, list waiting, hash owner's counters
-- ARGV[1] now, ms         ARGV[2] how many executions a job keeps
-- ARGV[3..] a job: id, version, due time in ms, next due time in ms or "", how its family's counters
--   begin, how many skips, how
--   many runs; a skip: id, execution, its reason, count; a run: fire time in ms, "s" if it is skipped when it cannot start,
--   else "w", how many executions; an execution: reference, id, record; after a run's executions: id and execution of
--   its skip
-- returns a text a job: "" when it is not as expected, else "1" and a letter a run: s started, w waits, k skipped, m made
--   before
-- include account, history
local now = ARGV[1]
local counts, answers = {}, {}
local a, k = 3, 7

local function count(name, n) counts[name] = (counts[name] or 0) + n end

-- Asked first, a full server refuses all of it.
redis.call('HINCRBY', KEYS[4], 'jobs:fired', 0)
while a <= #ARGV do
  local id, version, due, following, family = unpack(ARGV, a, a + 4)
  local skips, runs = tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
  a = a + 7
  local executions, history = KEYS[k + 1], KEYS[k + 2]
  local record = redis.call('GET', KEYS[k])
  local score = redis.call('ZSCORE', KEYS[1], id)
  local good = record and string.sub(record, 1, 10) == version and score and tonumber(score) == tonumber(due)
  local answer, opened, added = good and {'1'} or {}, 0, 0

  local function skip(at, execution, text, reason, n)
    if redis.call('HSETNX', executions, execution, text) == 1 then
      redis.call('ZADD', history, 0, 't' .. stamp(now) .. execution, 0, 'skipped' .. stamp(now) .. execution)
      plan(at, n)
      close(at, 'm', n)
      count(family .. 'skipped', n)
      count('skipped:' .. reason, n)
      redis.call('HINCRBY', KEYS[k + 5], 'skipped', n)
      added = added + 1
    end
  end

  local active, most
  if good then
    active = redis.call('HLEN', KEYS[k + 3])
    most = tonumber(string.match(record, '^%S+ (%d+) '))
  end
  for _ = 1, skips do
    if good then skip(due, ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])) end
    a = a + 4
  end
  for _ = 1, runs do
    local fire, waits, n = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2])
    local first = a + 3
    a = first + 3 * n + 2
    if good then
      local letter
      if redis.call('HEXISTS', executions, ARGV[first + 1]) == 1 or redis.call('HEXISTS', executions, ARGV[a - 2]) == 1 then
        letter = 'm'
      elseif active < most then
        letter = 's'
        active = active + 1
        redis.call('HSET', KEYS[k + 3], fire, n)
      elseif waits == 'w' then
        letter = 'w'
      else
        letter = 'k'
        skip(fire, ARGV[a - 2], ARGV[a - 1], 'max_instances', 1)
      end
      if letter == 's' or letter == 'w' then
        local queue = {'s', fire}
        for i = first, first + 3 * n - 1, 3 do
          local ref, execution = ARGV[i], ARGV[i + 1]
          open_execution(executions, history, execution, ref, ARGV[i + 2], now)
          if letter == 's' then redis.call('ZADD', KEYS[3], fire, ref) else queue[#queue + 1] = ref end
        end
        if letter == 'w' then redis.call('RPUSH', KEYS[k + 4], table.concat(queue, ' ')) end
        plan(fire, n)
        opened, added = opened + n, added + n
        count('jobs:fired', 1)
      end
      if letter == 's' then redis.call('HSET', KEYS[2], id, now .. ' queued ') end
      answer[#answer + 1] = letter
    end
  end
  if good then
    if following == '' then redis.call('ZREM', KEYS[1], id) else redis.call('ZADD', KEYS[1], following, id) end
    if opened > 0 then
      redis.call('HINCRBY', KEYS[k + 5], 'open', opened)
      count(family .. 'open', opened)
    end
    if added > 0 then trim_history(executions, history, ARGV[2]) end
  end
  answers[#answers + 1] = table.concat(answer)
  k = k + 6
end
for name, n in pairs(counts) do redis.call('HINCRBY', KEYS[4], name, n) end
write_account(KEYS[5], KEYS[6])
return answers
