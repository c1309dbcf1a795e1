-- move.lua: other due times for what was planned for an instant.

-- What is due at another time remembers the first one.
local function move(due, state, id, from, to)
  local known = redis.call('HGET', state, id) or '0 0 - - - '
  redis.call('HSET', state, id, (string.gsub(known, '^(%S+ %S+ %S+ %S+) %- ', '%1 ' .. from .. ' ')))
  redis.call('ZADD', due, to, id)
end
