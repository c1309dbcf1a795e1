-- taken.lua: whose lease a step takes away.

-- Returns 10 where the replica itself had leased it, 20 where another had, 0 where nobody had.
local function take_lease(leased, id, replica)
  local lease = redis.call('HGET', leased, id)
  if not lease then return 0 end
  redis.call('HDEL', leased, id)
  return string.match(lease, '^[^:]+') == replica and 10 or 20
end
