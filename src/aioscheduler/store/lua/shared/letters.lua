-- letters.lua: dead letters, a hash of them and the index that lists them.

local function unbury(letters, index, id)
  local letter = redis.call('HGET', letters, id)
  if not letter then return false end
  local at, why = string.match(letter, '^(%d+) (%S+) ')
  redis.call('HDEL', letters, id)
  redis.call('ZREM', index, 't\0' .. at .. '\0' .. id, 'r\0' .. why .. '\0' .. at .. '\0' .. id, 'i\0' .. id)
  return true
end

-- Returns the reason.
local function bury(letters, index, id, letter)
  unbury(letters, index, id)
  local at, why = string.match(letter, '^(%d+) (%S+) ')
  redis.call('HSET', letters, id, letter)
  redis.call('ZADD', index, 0, 't\0' .. at .. '\0' .. id, 0, 'r\0' .. why .. '\0' .. at .. '\0' .. id, 0, 'i\0' .. id)
  return why
end
