-- run_job.lua: make a run outside of the schedule; behind the runs that go on, when there are as many as there may be.
-- KEYS[1] hash jobs last   KEYS[2] zset executions due   KEYS[3] hash counters   KEYS[4] hash owner's counters
-- KEYS[5] string record of the job   KEYS[6] hash executions   KEYS[7] zset history   KEYS[8] hash runs
-- KEYS[9] list waiting   KEYS[10] hash audit   KEYS[11] zset audit minutes
-- ARGV[1] job id   ARGV[2] now, ms   ARGV[3] fire time, ms   ARGV[4] how its family's counters begin
-- ARGV[5..] three an execution: reference, id, record
-- returns "gone" or "taken" (there is a run of that name), or a list: "s" started, "w" waits, "j" joined one that waits
--   already, followed by that one's references
-- include account, history
local record = redis.call('GET', KEYS[5])
if not record then return 'gone' end
for _, queued in ipairs(redis.call('LRANGE', KEYS[9], 0, -1)) do
  if string.sub(queued, 1, 2) == 'm ' then
    local answer = {'j'}
    for ref in string.gmatch(string.match(queued, '^%S+ %S+ (.*)$'), '%S+') do answer[#answer + 1] = ref end
    return answer
  end
end
if redis.call('HEXISTS', KEYS[8], ARGV[3]) == 1 or redis.call('HEXISTS', KEYS[6], ARGV[6]) == 1 then return 'taken' end
local starts = redis.call('HLEN', KEYS[8]) < tonumber(string.match(record, '^%S+ (%d+) '))
local n, queue = 0, {'m', ARGV[3]}
for i = 5, #ARGV, 3 do
  open_execution(KEYS[6], KEYS[7], ARGV[i + 1], ARGV[i], ARGV[i + 2], ARGV[2])
  if starts then redis.call('ZADD', KEYS[2], ARGV[2], ARGV[i]) else queue[#queue + 1] = ARGV[i] end
  n = n + 1
end
redis.call('HINCRBY', KEYS[3], 'jobs:fired', 1)
redis.call('HINCRBY', KEYS[3], ARGV[4] .. 'open', n)
redis.call('HINCRBY', KEYS[4], 'open', n)
plan(ARGV[3], n)
write_account(KEYS[10], KEYS[11])
if not starts then
  redis.call('RPUSH', KEYS[9], table.concat(queue, ' '))
  return {'w'}
end
redis.call('HSET', KEYS[8], ARGV[3], n)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' queued ')
return {'s'}
