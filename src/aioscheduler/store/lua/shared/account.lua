-- account.lua: the account of what was planned for each minute, and of what became of it. Kinds: p planned, o open;
-- d delivered, x dead, c deleted, r replaced, m missed. Of each a field for all, and one for every minute there is.
local account = {}

local function note(at, kind, n, open)
  local minute = math.floor(tonumber(at) / 60000)
  local changes = account[minute]
  if not changes then
    changes = {o = 0}
    account[minute] = changes
  end
  changes[kind] = (changes[kind] or 0) + n
  changes.o = changes.o + open
end

-- So many that fall due at an instant, in ms.
local function plan(at, n) note(at, 'p', n, n) end

-- So many of those planned for an instant, in ms, that ended.
local function close(at, kind, n) note(at, kind, n, -n) end

local function write_account(totals, minutes)
  local sums = {}
  for number, changes in pairs(account) do
    local minute = string.format('%.0f', number)
    if changes.p then redis.call('ZADD', minutes, minute, minute) end
    for kind, n in pairs(changes) do
      sums[kind] = (sums[kind] or 0) + n
      if n ~= 0 and redis.call('HINCRBY', totals, minute .. kind, n) == 0 then
        redis.call('HDEL', totals, minute .. kind)
      end
    end
  end
  for kind, n in pairs(sums) do
    if n ~= 0 then redis.call('HINCRBY', totals, kind, n) end
  end
end
