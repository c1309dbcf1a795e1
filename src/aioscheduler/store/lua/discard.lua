-- discard.lua: delete dead letters.
-- KEYS[1] hash dead      KEYS[2] zset dead index
-- ARGV[1] only those dead before this, ms ("" for all)   ARGV[2..] ids
-- returns how many there were
local discarded = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local letter = redis.call('HGET', KEYS[1], id)
  if letter then
    local at, why = string.match(letter, '^(%d+) (%S+) ')
    if ARGV[1] == '' or tonumber(at) < tonumber(ARGV[1]) then
      redis.call('HDEL', KEYS[1], id)
      redis.call('ZREM', KEYS[2], 't\0' .. at .. '\0' .. id, 'r\0' .. why .. '\0' .. at .. '\0' .. id, 'i\0' .. id)
      discarded = discarded + 1
    end
  end
end
return discarded
