-- replay.lua: take a dead letter off the list and schedule its message again.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state     KEYS[4] zset index
-- KEYS[5] hash counters  KEYS[6] hash dead     KEYS[7] zset dead index
-- KEYS[8] string record  KEYS[9] hash audit   KEYS[10] zset audit minutes   KEYS[11] stream dead letters gone
-- ARGV[1] id   ARGV[2] head "<dead at> <reason> " of the letter meant   ARGV[3] due time, ms   ARGV[4] record
-- returns 1 done, 0 a live message has the id, -1 the letter is gone or another one
-- include account, gone, letters, planned
local id = ARGV[1]
local letter = redis.call('HGET', KEYS[6], id)
if not letter or string.sub(letter, 1, #ARGV[2]) ~= ARGV[2] then return -1 end
if redis.call('EXISTS', KEYS[8]) == 1 then return 0 end
-- First what a full server refuses, then what it does not.
redis.call('SET', KEYS[8], ARGV[4])
unbury(KEYS[6], KEYS[7], id)
local before = planned_for(KEYS[1], KEYS[2], KEYS[3], id)
if before then close(before, 'c', 1) end
plan(ARGV[3], 1)
redis.call('ZADD', KEYS[1], ARGV[3], id)
redis.call('ZADD', KEYS[4], 0, id)
redis.call('HDEL', KEYS[2], id)
redis.call('HDEL', KEYS[3], id)
redis.call('HINCRBY', KEYS[5], 'replayed', 1)
tell_gone(KEYS[11], 'replayed', {id})
write_account(KEYS[9], KEYS[10])
return 1
