-- planned.lua: when live messages were planned for.

-- In ms: the due time, unless it was moved since; nil for a message that does not live.
local function planned_for(due, leased, state, id)
  local moved = string.match(redis.call('HGET', state, id) or '', '^%S+ %S+ %S+ %S+ (-?%d+) ')
  local score = redis.call('ZSCORE', due, id)
  if score then return moved or score end
  local lease = redis.call('HGET', leased, id)
  return lease and (moved or string.match(lease, '^[^:]+:%d+:%d+:([^:]+):'))
end
