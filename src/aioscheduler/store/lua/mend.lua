-- mend.lua: give an enabled job that has no next fire time one.
-- KEYS[1] zset jobs due   KEYS[2] string record   KEYS[3] zset enabled jobs   KEYS[4] hash counters
-- ARGV[1] id   ARGV[2] version   ARGV[3] due time, ms
-- returns 1, or 0 when that is not so any more
local record = redis.call('GET', KEYS[2])
if not record or string.sub(record, 1, 10) ~= ARGV[2] then return 0 end
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or not redis.call('ZSCORE', KEYS[3], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('HINCRBY', KEYS[4], 'jobs:mended', 1)
return 1
