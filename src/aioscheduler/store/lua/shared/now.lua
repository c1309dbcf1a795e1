-- now.lua: whose clock decides.

-- Returns until when entries are due, and the server's time in ms and in µs, or "" twice: with several hosts no clock may
-- be ahead of it.
local function what_is_due(now, ask)
  now = tonumber(now)
  if ask ~= '1' then return now, '', '' end
  local time = redis.call('TIME')
  local here = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local exactly = tonumber(time[1]) * 1000000 + tonumber(time[2])
  return math.min(now, here), string.format('%.0f', here), string.format('%.0f', exactly)
end
