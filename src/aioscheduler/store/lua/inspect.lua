-- inspect.lua: see what stands behind ids that an outsider may have written or deleted; tidy up what is gone.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state
-- KEYS[4] zset index     KEYS[5] hash counters KEYS[6] hash audit    KEYS[7] zset audit minutes
-- KEYS[8..] string record, one an id
-- ARGV[1..] ids
-- returns two values an id: a code and its companion
--   "gone" ""          no record; what was known of it is forgotten
--   "due" <ms>         a message of ours, waiting
--   "leased" ""        a message of ours, being delivered
--   "new" <record>     a record nobody has adopted yet, or one an outsider changed
--   "foreign" <type>   the key holds no string; what was known of it is forgotten
-- include account, planned, version
local seen, gone = {}, 0

for i = 1, #ARGV do
  local id = ARGV[i]
  local record = redis.pcall('GET', KEYS[7 + i])
  local code, companion = 'new', ''
  if type(record) ~= 'string' then
    code = 'gone'
    if record then code, companion = 'foreign', redis.call('TYPE', KEYS[7 + i]).ok end
    local planned = planned_for(KEYS[1], KEYS[2], KEYS[3], id)
    if planned then close(planned, 'c', 1) end
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    if redis.call('ZREM', KEYS[4], id) == 1 then gone = gone + 1 end
  else
    local due = redis.call('ZSCORE', KEYS[1], id)
    local leased = not due and redis.call('HEXISTS', KEYS[2], id) == 1
    if (due or leased) and version_of(record, redis.call('HGET', KEYS[3], id)) then
      if due then code, companion = 'due', due else code = 'leased' end
      -- Should the index ever be lost, it comes back with the next look at all records.
      redis.call('ZADD', KEYS[4], 0, id)
    else
      companion = record
    end
  end
  seen[2 * i - 1], seen[2 * i] = code, companion
end
if gone > 0 then redis.call('HINCRBY', KEYS[5], 'deleted', gone) end
write_account(KEYS[6], KEYS[7])
return seen
