-- delete_job.lua: delete a job and all that belongs to it.
-- KEYS[1] zset jobs due         KEYS[2] hash jobs last         KEYS[3] zset executions due
-- KEYS[4] hash executions leased                               KEYS[5] hash executions state
-- KEYS[6] hash dead             KEYS[7] zset dead index        KEYS[8] hash owner's counters
-- KEYS[9] string record         KEYS[10] hash webhooks         KEYS[11] hash executions
-- KEYS[12] zset history         KEYS[13] hash runs             KEYS[14] list waiting
-- KEYS[15..17] zsets of its owner's jobs (all, enabled, disabled)   KEYS[18..20] zsets of everybody's (same)
-- KEYS[21] hash counters        KEYS[22] hash audit             KEYS[23] zset audit minutes
-- ARGV[1] id   ARGV[2] how its family's counters begin   ARGV[3] how the ids of its executions begin
-- returns 1, or 0 when there is no such job
-- include account, letters
if redis.call('EXISTS', KEYS[9]) == 0 then return 0 end
local id = ARGV[1]
local open = redis.call('ZRANGEBYLEX', KEYS[12], '[o\0', '(o\1')
for _, member in ipairs(open) do
  local ref = string.sub(member, 17)
  redis.call('ZREM', KEYS[3], ref)
  redis.call('HDEL', KEYS[4], ref)
  redis.call('HDEL', KEYS[5], ref)
end
-- The history forgets before the dead letters do.
local first = 'i\0\0' .. ARGV[3]
for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[7], '[' .. first, '(' .. first .. '~')) do
  unbury(KEYS[6], KEYS[7], string.sub(member, 3))
end
local runs = redis.call('HGETALL', KEYS[13])
for i = 1, #runs, 2 do close(runs[i], 'c', tonumber(runs[i + 1])) end
for _, queued in ipairs(redis.call('LRANGE', KEYS[14], 0, -1)) do
  local _, fire, refs = string.match(queued, '^(%S+) (%S+) (.*)$')
  local _, n = string.gsub(refs, '%S+', '')
  close(fire, 'c', n)
end
redis.call('DEL', unpack(KEYS, 9, 14))
redis.call('ZREM', KEYS[1], id)
redis.call('HDEL', KEYS[2], id)
for i = 15, 20 do redis.call('ZREM', KEYS[i], id) end
if #open > 0 then
  redis.call('HINCRBY', KEYS[8], 'open', -#open)
  redis.call('HINCRBY', KEYS[21], ARGV[2] .. 'open', -#open)
end
write_account(KEYS[22], KEYS[23])
return 1
