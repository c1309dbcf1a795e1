-- forget_audit.lua: forget the account of old minutes that nothing is open of; the sums over all stay.
-- KEYS[1] hash audit     KEYS[2] zset audit minutes
-- ARGV[1] first minute to look at, or "-inf"   ARGV[2] last minute   ARGV[3] how many minutes at most
-- returns the last minute it came to, "" when there are no more
local minutes = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
for _, minute in ipairs(minutes) do
  if redis.call('HEXISTS', KEYS[1], minute .. 'o') == 0 then
    redis.call('ZREM', KEYS[2], minute)
    redis.call('HDEL', KEYS[1], minute .. 'p', minute .. 'd', minute .. 'x', minute .. 'c', minute .. 'r', minute .. 'm')
  end
end
return #minutes == tonumber(ARGV[3]) and minutes[#minutes] or ''
