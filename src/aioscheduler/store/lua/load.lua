-- load.lua: live messages as they are at one moment. A script, since a full server refuses transactions, even to read.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state   KEYS[4..] string record, one an id
-- ARGV[1..] ids
-- returns five values a message that lives: its place among the ids, record, state or "", lease or "", due time or ""
local live = {}
for i = 1, #ARGV do
  local id = ARGV[i]
  local record = redis.pcall('GET', KEYS[3 + i])
  if type(record) == 'string' then
    local due = redis.call('ZSCORE', KEYS[1], id)
    local lease = redis.call('HGET', KEYS[2], id)
    if due or lease then
      local n = #live
      live[n + 1], live[n + 2], live[n + 3] = tostring(i), record, redis.call('HGET', KEYS[3], id) or ''
      live[n + 4], live[n + 5] = lease or '', due or ''
    end
  end
end
return live
