-- adopt.lua: make outsiders' records messages of ours, or set aside those that are none, if they are still the same.
-- KEYS[1] zset due       KEYS[2] hash leased   KEYS[3] hash state     KEYS[4] zset index
-- KEYS[5] hash counters  KEYS[6] hash dead     KEYS[7] zset dead index
-- KEYS[8] hash audit     KEYS[9] zset audit minutes                   KEYS[10..] string record, one an id
-- ARGV, five an id: id, record seen, due time in ms (now, for one that is none), state, dead letter ("" for a good record)
-- returns a number an id: 1 done, 0 the record is another one by now, 2 another replica was quicker
-- include account, letters, planned
local done, adopted, buried = {}, 0, 0
-- A full server refuses what adds, not what removes: asked first, it refuses all of it.
redis.call('HINCRBY', KEYS[5], 'adopted', 0)
for i = 1, #ARGV / 5 do
  local a = 5 * i - 4
  local id, seen, due, state, letter = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local key = KEYS[9 + i]
  local record = redis.pcall('GET', key)
  done[i] = 0
  -- Adopting twice would take away the lease of whoever delivers it already.
  local known = string.match(redis.call('HGET', KEYS[3], id) or '', '^%d+ %d+ %S+ (%x+) ')
  if record == seen and known and known == string.match(state, '^%d+ %d+ %S+ (%x+) ')
    and (redis.call('ZSCORE', KEYS[1], id) or redis.call('HEXISTS', KEYS[2], id) == 1) then
    done[i] = 2
  elseif record == seen then
    done[i] = 1
    local before = planned_for(KEYS[1], KEYS[2], KEYS[3], id)
    if before then close(before, 'r', 1) end
    plan(due, 1)
    redis.call('HDEL', KEYS[2], id)
    if letter == '' then
      redis.call('ZADD', KEYS[1], due, id)
      redis.call('ZADD', KEYS[4], 0, id)
      redis.call('HSET', KEYS[3], id, state)
      adopted = adopted + 1
    else
      bury(KEYS[6], KEYS[7], id, letter)
      close(due, 'x', 1)
      redis.call('DEL', key)
      redis.call('ZREM', KEYS[1], id)
      redis.call('HDEL', KEYS[3], id)
      redis.call('ZREM', KEYS[4], id)
      buried = buried + 1
    end
  end
end
if adopted > 0 then redis.call('HINCRBY', KEYS[5], 'adopted', adopted) end
if buried > 0 then redis.call('HINCRBY', KEYS[5], 'dead:invalid_record', buried) end
write_account(KEYS[8], KEYS[9])
return done
