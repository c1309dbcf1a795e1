-- latest.lua: the destinations that were latest, and how late they were.
-- KEYS[1..] two a minute or hour: zset, string of its destinations
-- returns two a minute or hour: destinations with their worst in µs * 32 + row; the rows, or ""
local found = {}
for i = 1, #KEYS, 2 do
  local ranks, rows = unpack(KEYS, i, i + 1)
  found[i], found[i + 1] = redis.call('ZRANGE', ranks, 0, -1, 'WITHSCORES'), redis.call('GET', rows) or ''
end
return found
