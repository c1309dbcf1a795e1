-- log.lua: the delivery log, a stream, and its index.

local members = {}

-- A line about a message ("m") or a job ("j"): its outcome, the rest.
local function write_line(log, kind, id, status, rest)
  local at = redis.call('XADD', log, '*', kind, id, 's', status, 'd', rest)
  local ms, n = string.match(at, '^(%d+)-(%d+)$')
  local place = '\0' .. ms .. '-' .. string.format('%06d', n)
  local last = #members
  members[last + 1], members[last + 2] = 0, kind .. '\0' .. id .. place
  members[last + 3], members[last + 4] = 0, 's\0' .. status .. place
end

-- All lines that were written.
local function index_lines(index)
  -- A call takes no more than 8000 values.
  for i = 1, #members, 4000 do redis.call('ZADD', index, unpack(members, i, math.min(i + 3999, #members))) end
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
