-- audit.lua: sums of the account over minutes that follow each other.
-- KEYS[1] hash audit     KEYS[2] zset audit minutes
-- ARGV[1] first minute, or "-inf"   ARGV[2] last minute, or "+inf"   ARGV[3] how many minutes at most
-- returns the last minute it came to, "" when there are no more, and the sums: planned, open, delivered, dead, deleted,
--   replaced, missed
local KINDS = {'p', 'o', 'd', 'x', 'c', 'r', 'm'}
local sums, names = {0, 0, 0, 0, 0, 0, 0}, {}
local minutes = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
for _, minute in ipairs(minutes) do
  for i, kind in ipairs(KINDS) do names[i] = minute .. kind end
  for i, n in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do sums[i] = sums[i] + tonumber(n or '0') end
end
return {#minutes == tonumber(ARGV[3]) and minutes[#minutes] or '', unpack(sums)}
