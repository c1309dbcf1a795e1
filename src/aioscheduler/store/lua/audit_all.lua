-- audit_all.lua: the whole account, beside what is really there.
-- KEYS[1] hash audit of messages   KEYS[2] zset index   KEYS[3] hash audit of executions   KEYS[4] hash counters
-- returns seven numbers twice, of messages and of executions: planned, open, delivered, dead, deleted, replaced, missed
local function sums(found, open)
  local answer = {tonumber(found[1] or '0'), open}
  for i = 2, 6 do answer[i + 1] = tonumber(found[i] or '0') end
  return answer
end

local open = redis.call('HMGET', KEYS[4], 'executions:open', 'bot_runs:open')
return {
  sums(redis.call('HMGET', KEYS[1], 'p', 'd', 'x', 'c', 'r', 'm'), redis.call('ZCARD', KEYS[2])),
  sums(redis.call('HMGET', KEYS[3], 'p', 'd', 'x', 'c', 'r', 'm'), tonumber(open[1] or '0') + tonumber(open[2] or '0')),
}
