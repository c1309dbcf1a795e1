-- retry_execution.lua: make a further attempt of an execution that has ended.
-- KEYS[1] zset executions due   KEYS[2] hash dead   KEYS[3] zset dead index   KEYS[4] hash owner's counters
-- KEYS[5] string record of the job   KEYS[6] hash webhooks   KEYS[7] hash executions   KEYS[8] zset history
-- KEYS[9] hash runs   KEYS[10] hash counters   KEYS[11] hash audit   KEYS[12] zset audit minutes
-- KEYS[13] stream dead letters gone
-- ARGV[1] id of the one that has ended   ARGV[2] webhook id, or "" for a bot's   ARGV[3] now, ms
-- ARGV[4] fire time of the run, ms       ARGV[5] reference   ARGV[6] id   ARGV[7] record
-- ARGV[8] how its family's counters begin
-- ARGV[9] id of the attempt right before, the only one that can be a dead letter
-- returns "done", "gone", "open", or the record of such an attempt when there was one, which has ended
-- include account, gone, history, letters
local ended = redis.call('HGET', KEYS[7], ARGV[1])
if redis.call('EXISTS', KEYS[5]) == 0 or not ended then return 'gone' end
if ARGV[2] ~= '' and redis.call('HEXISTS', KEYS[6], ARGV[2]) == 0 then return 'gone' end
local later = redis.call('HGET', KEYS[7], ARGV[6])
if string.sub(ended, 1, 1) == 'o' or later and string.sub(later, 1, 1) == 'o' then return 'open' end
if later then return later end
open_execution(KEYS[7], KEYS[8], ARGV[6], ARGV[5], ARGV[7], ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[5])
redis.call('HINCRBY', KEYS[9], ARGV[4], 1)
redis.call('HINCRBY', KEYS[4], 'open', 1)
redis.call('HINCRBY', KEYS[10], ARGV[8] .. 'open', 1)
plan(ARGV[4], 1)
write_account(KEYS[11], KEYS[12])
local letter = '\0' .. ARGV[9]
if unbury(KEYS[2], KEYS[3], letter) then tell_gone(KEYS[13], 'replayed', {letter}) end
return 'done'
