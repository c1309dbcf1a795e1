-- log.lua: the delivery log, a stream, and its index.

-- A line about a message ("m") or a job ("j"): its outcome, a space, the rest.
local function write_line(log, index, kind, id, status, rest)
  local at = redis.call('XADD', log, '*', kind, id, 's', status, 'd', rest)
  local ms, n = string.match(at, '^(%d+)-(%d+)$')
  local place = '\0' .. ms .. '-' .. string.format('%06d', n)
  redis.call('ZADD', index, 0, kind .. '\0' .. id .. place, 0, 's\0' .. status .. place)
end

-- After so many lines written.
local function trim_log(log, index, length, written)
  local excess = written > 0 and redis.call('XLEN', log) - tonumber(length) or 0
  if excess <= 0 then return end
  -- Two lines out for each one in, so that a log whose length was lowered shrinks without one long script.
  for _, entry in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', math.min(excess, 2 * written + 100))) do
    local ms, n = string.match(entry[1], '^(%d+)-(%d+)$')
    local place = '\0' .. ms .. '-' .. string.format('%06d', n)
    redis.call('ZREM', index, entry[2][1] .. '\0' .. entry[2][2] .. place, 's\0' .. entry[2][4] .. place)
    redis.call('XDEL', log, entry[1])
  end
end
