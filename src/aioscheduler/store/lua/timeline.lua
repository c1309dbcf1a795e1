-- timeline.lua: how many entries fall due in each of several stretches of time.
-- KEYS[1..] zset due, id -> due time in ms
-- ARGV[1..] times in ms, in order
-- returns for each set how many are due before the first time, in each stretch between two, and from the last on
local found = {}
for k = 1, #KEYS do
  local counts, from = {}, '-inf'
  for i = 1, #ARGV do
    counts[i] = redis.call('ZCOUNT', KEYS[k], from, '(' .. ARGV[i])
    from = ARGV[i]
  end
  counts[#ARGV + 1] = redis.call('ZCOUNT', KEYS[k], from, '+inf')
  found[k] = counts
end
return found
