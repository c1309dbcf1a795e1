-- count.lua: how many ids in a stretch of the index contain a text.
-- KEYS[1] zset index
-- ARGV[1] from, ARGV[2] to, as ZRANGEBYLEX wants them   ARGV[3] the text, taken literally
-- ARGV[4] how many ids to look at
-- returns the last id looked at ("" when the stretch is exhausted), then how many were found
local ids = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, tonumber(ARGV[4]))
local found = 0
for i = 1, #ids do
  if string.find(ids[i], ARGV[3], 1, true) then found = found + 1 end
end
return {#ids == tonumber(ARGV[4]) and ids[#ids] or '', found}
