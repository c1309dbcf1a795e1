-- discard.lua: delete dead letters.
-- KEYS[1] hash dead      KEYS[2] zset dead index    KEYS[3] stream dead letters gone
-- ARGV[1] only those dead before this, ms ("" for all)   ARGV[2..] ids
-- returns which of them there were, counted from 1
-- include letters, gone
local discarded, ids = {}, {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local letter = redis.call('HGET', KEYS[1], id)
  if letter then
    local at = string.match(letter, '^%d+')
    if ARGV[1] == '' or tonumber(at) < tonumber(ARGV[1]) then
      unbury(KEYS[1], KEYS[2], id)
      discarded[#discarded + 1] = i - 1
      ids[#ids + 1] = id
    end
  end
end
tell_gone(KEYS[3], 'deleted', ids)
return discarded
