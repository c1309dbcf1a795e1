-- version.lua: which writing of a message a record is.

-- Returns nil when an outside writer wrote it since it was last looked at.
local function version_of(record, state)
  -- The tail of our own records: a version of 10 characters and the first 6 of the sha1 of what stands before it.
  local own, mark = string.match(string.sub(record, -27), '^,"_aio":"([-%w_]+)(%x%x%x%x%x%x)"}$')
  local known, fingerprint = string.match(state or '', '^%d+ %d+ (%S+) (%x+) ')
  -- Every server has sha1hex, but not every imitation of one that tests run on: there the marks are trusted.
  if not redis.sha1hex then return own or known end
  if mark and mark == string.sub(redis.sha1hex(string.sub(record, 1, -28)), 1, 6) then return own end
  return fingerprint and fingerprint == redis.sha1hex(record) and known or nil
end

-- Returns whether the message lives and its tag, version and attempts, stands in a text "if <tag> <tag> ...", or "*" does.
local function is_as_seen(due, leased, state, record, id, seen)
  local text = redis.pcall('GET', record)
  local lease = redis.call('HGET', leased, id)
  if type(text) ~= 'string' or not (lease or redis.call('ZSCORE', due, id)) then return false end
  local known = redis.call('HGET', state, id) or ''
  local tag = version_of(text, known)
  local attempts = lease and string.match(lease, '^[^:]+:%d+:(%d+):') or string.match(known, '^%d+') or '0'
  if tag and attempts ~= '0' then tag = tag .. '.' .. attempts end
  return string.find(seen .. ' ', ' * ', 1, true) ~= nil
    or tag ~= nil and string.find(seen .. ' ', ' ' .. tag .. ' ', 1, true) ~= nil
end
