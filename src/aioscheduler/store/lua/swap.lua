-- swap.lua: put a text in the place of another, if that is what stands there.
-- KEYS[1] hash memory
-- ARGV[1] field   ARGV[2] "1" when there has to be a text, ARGV[3]   ARGV[4] "1" to put ARGV[5] there, else to take it away
-- returns 1 when it was done, else 0
local now = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] == '1' and now ~= ARGV[3] or ARGV[2] ~= '1' and now then return 0 end
if ARGV[4] == '1' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[5]) else redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
