-- history.lua: a job's executions, a hash of them and the index that lists them.

local function stamp(ms) return '\0' .. string.format('%013d', ms) .. '\0' end

-- One that has not ended, listed by its reference too.
local function open_execution(executions, history, id, ref, record, created)
  redis.call('HSET', executions, id, record)
  redis.call('ZADD', history, 0, 't' .. stamp(created) .. id, 0, 'o' .. stamp(created) .. ref)
end

-- Takes out what was created before, in ms, of so many of the oldest that have ended; returns how many.
local function forget_executions(executions, history, most, before)
  local gone = 0
  for _, member in ipairs(redis.call('ZRANGEBYLEX', history, '[t\0', before and '(t' .. stamp(before) or '(t\1', 'LIMIT', 0, most)) do
    local id = string.sub(member, 17)
    local record = redis.call('HGET', executions, id)
    if not record or string.sub(record, 1, 1) == 'e' then
      local status = record and string.match(record, '^e%[[^,]+,"([%w_]+)"')
      redis.call('ZREM', history, member, (status or 't') .. string.sub(member, 2))
      redis.call('HDEL', executions, id, 'b' .. id)
      gone = gone + 1
    end
  end
  return gone
end

local function trim_history(executions, history, keep)
  local excess = redis.call('ZLEXCOUNT', history, '[t\0', '(t\1') - tonumber(keep)
  if excess > 0 then forget_executions(executions, history, excess) end
end
