-- gone.lua: what became of dead letters that are none any more, for those who follow.

-- The last thousand, under numbers without a gap: who looks sees how many he has missed.
local function tell_gone(gone, change, ids)
  if #ids == 0 then return end
  local last = redis.call('XREVRANGE', gone, '+', '-', 'COUNT', 1)[1]
  local number = last and tonumber(string.match(last[1], '^%d+')) or 0
  for i = 1, #ids do
    -- A full server may refuse this: the letter has gone all the same.
    redis.pcall('XADD', gone, 'MAXLEN', 1000, string.format('%.0f-1', number + i), 'id', ids[i], 'change', change)
  end
end
