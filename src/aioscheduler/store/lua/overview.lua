-- overview.lua: how messages stand, and what comes next.
-- KEYS[1] zset index   KEYS[2] hash leased   KEYS[3] hash dead   KEYS[4] zset due   KEYS[5] hash state
-- KEYS[6] zset jobs due
-- ARGV[1] now, ms      ARGV[2] how many states to look at
-- returns how many live, are leased, are dead, wait for a retry (from so many states, an estimate), then the first due
-- time of all ("" for none), the first that is still to come with its id, and that of a job with its id
local known, most = redis.call('HLEN', KEYS[5]), tonumber(ARGV[2])
local states = known <= most and redis.call('HGETALL', KEYS[5]) or redis.call('HRANDFIELD', KEYS[5], most, 'WITHVALUES')
local retrying = 0
for i = 1, #states, 2 do
  local failures = string.match(states[i + 1], '^%S+ (%d+) ')
  if failures ~= '0' and redis.call('HEXISTS', KEYS[2], states[i]) == 0 then retrying = retrying + 1 end
end
if known > most then retrying = math.floor(retrying * known / most + 0.5) end
local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
local coming = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local job = redis.call('ZRANGEBYSCORE', KEYS[6], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {
  redis.call('ZCARD', KEYS[1]), redis.call('HLEN', KEYS[2]), redis.call('HLEN', KEYS[3]), retrying,
  first[2] or '', coming[2] or '', coming[1] or '', job[2] or '', job[1] or '',
}
