-- search.lua: ids in a stretch of the index that contain a text.
-- KEYS[1] zset index
-- ARGV[1] from, ARGV[2] to, as ZRANGEBYLEX wants them   ARGV[3] the text, taken literally
-- ARGV[4] how many ids to look at   ARGV[5] how many to return
-- returns the last id looked at ("" when the stretch is exhausted), then the ids found
local ids = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, tonumber(ARGV[4]))
local found, limit = {''}, tonumber(ARGV[5])
for i = 1, #ids do
  if string.find(ids[i], ARGV[3], 1, true) then
    found[#found + 1] = ids[i]
    if #found > limit then
      found[1] = ids[i]
      return found
    end
  end
end
if #ids == tonumber(ARGV[4]) then found[1] = ids[#ids] end
return found
