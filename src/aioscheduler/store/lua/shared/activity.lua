-- activity.lua: how many attempts ended in a minute, and how many of them failed.
-- Of each day a string: for each minute two counters of 4 bytes.

-- "place" is twice the minute of the day.
local function write_activity(day, place, ended, failed)
  if ended == 0 then return end
  local counted = redis.call('BITFIELD', day, 'INCRBY', 'u32', '#' .. place, ended,
    'INCRBY', 'u32', '#' .. (place + 1), failed)
  -- The first of a minute: the string outlives its last one by a day and a bit.
  if counted[1] == ended then redis.call('EXPIRE', day, 93600) end
end
