-- page.lua: entries of the due set that follow a place in it, in order of due time and id.
-- KEYS[1] zset due
-- ARGV[1] due time of the place, ms   ARGV[2] its id   ARGV[3] limit   ARGV[4] latest due time, ms, or "+inf"
-- returns ids and due times in turn. A place need not exist any more: it is found by halving.
local at, id = tonumber(ARGV[1]), ARGV[2]

-- Lua's own comparison of strings goes by the server's locale, the order in a sorted set by bytes.
local function follows(a, b)
  local n = math.min(#a, #b)
  for i = 1, n do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
local high = low + redis.call('ZCOUNT', KEYS[1], ARGV[1], ARGV[1])
while low < high do
  local middle = math.floor((low + high) / 2)
  local member = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
  if follows(member, id) then high = middle else low = middle + 1 end
end
local found = redis.call('ZRANGE', KEYS[1], low, low + tonumber(ARGV[3]) - 1, 'WITHSCORES')
if ARGV[4] ~= '+inf' then
  local latest = tonumber(ARGV[4])
  while #found > 0 and tonumber(found[#found]) > latest do
    found[#found] = nil
    found[#found] = nil
  end
end
return found
