-- lateness.lua: how late attempts left, by lanes of lateness: of all together, and of the destinations that were latest.
-- Of each time a string of all: the worst in µs and 1 in its first 8 bytes, then 4 bytes a lane; and of the
-- destinations a zset of up to 32, worst in µs * 32 + row, and a string of rows of 362 lanes, 4 bytes each.
local late = {}
local places = {}
local lanes = {}

-- A line a destination: its worst in µs, how many in which lanes as "lane=n,lane=n,", its name.
local function note_late(text)
  for worst, counts, place in string.gmatch(text, '(%d+) (%S+) ([^\n]+)\n') do
    local its = {}
    for lane, n in string.gmatch(counts, '(%d+)=(%d+),') do
      its[lane] = tonumber(n)
      lanes[lane] = (lanes[lane] or 0) + its[lane]
    end
    late[place] = {worst = tonumber(worst), lanes = its}
    places[#places + 1] = place
  end
end

local function add_lanes(steps, offset, counts)
  for lane, n in pairs(counts) do
    local i = #steps
    steps[i + 1], steps[i + 2], steps[i + 3], steps[i + 4] = 'INCRBY', 'u32', '#' .. (offset + lane), n
  end
end

-- How many bytes of a row can be used that has this for its worst, in µs.
local function used_bytes(worst)
  local top, octaves = 16, 0
  while top <= worst and octaves < 36 do top, octaves = top * 2, octaves + 1 end
  return 4 + 40 * octaves
end

-- Rows for destinations that have none: while all are in use, those of destinations that were less late.
local function find_rows(ranks, rows, fresh, row)
  local used = redis.call('ZCARD', ranks)
  local free = math.min(32 - used, #fresh)
  local ranked, gone = {}, {}
  local lowest = free < #fresh and redis.call('ZRANGE', ranks, 0, #fresh - free - 1, 'WITHSCORES') or {}
  for i, place in ipairs(fresh) do
    local at = used + i - 1
    if i > free then
      local victim, score = lowest[2 * (i - free) - 1], tonumber(lowest[2 * (i - free)])
      if not victim or math.floor(score / 32) >= late[place].worst then break end
      at = score % 32
      gone[#gone + 1] = victim
      row[victim] = nil
      redis.call('SETRANGE', rows, at * 1448, string.rep('\0', used_bytes(math.floor(score / 32))))
    end
    row[place] = at
    ranked[#ranked + 1] = string.format('%.0f', late[place].worst * 32 + at)
    ranked[#ranked + 1] = place
  end
  if #gone > 0 then redis.call('ZREM', ranks, unpack(gone)) end
  if #ranked > 0 then redis.call('ZADD', ranks, unpack(ranked)) end
  return used == 0
end

-- Adds what was noted to one time; kept for so many seconds from its first.
local function write_late(all, ranks, rows, keep, keep_ranks)
  local worst, row, raised, fresh, steps = 0, {}, {}, {}, {'GET', 'i64', 0}
  add_lanes(steps, 2, lanes)
  local known = redis.call('BITFIELD', all, unpack(steps))[1]
  if known == 0 then redis.call('EXPIRE', all, keep) end
  for i, score in ipairs(redis.call('ZMSCORE', ranks, unpack(places))) do
    local place = places[i]
    local its = late[place].worst
    worst = math.max(worst, its)
    if score then
      row[place] = tonumber(score) % 32
      if its > math.floor(tonumber(score) / 32) then
        raised[#raised + 1] = string.format('%.0f', its * 32 + row[place])
        raised[#raised + 1] = place
      end
    else
      fresh[#fresh + 1] = place
    end
  end
  if worst + 1 > known then redis.call('BITFIELD', all, 'SET', 'i64', 0, string.format('%.0f', worst + 1)) end
  if #raised > 0 then redis.call('ZADD', ranks, unpack(raised)) end
  local first = false
  if #fresh > 0 then
    table.sort(fresh, function(a, b) return late[a].worst > late[b].worst end)
    first = find_rows(ranks, rows, fresh, row)
  end
  steps = {}
  for place, at in pairs(row) do add_lanes(steps, at * 362, late[place].lanes) end
  -- A call takes no more than 8000 values.
  for i = 1, #steps, 4000 do redis.call('BITFIELD', rows, unpack(steps, i, math.min(i + 3999, #steps))) end
  if first then
    redis.call('EXPIRE', ranks, keep_ranks)
    redis.call('EXPIRE', rows, keep_ranks)
  end
end

-- Minutes are kept for a day and a bit, their destinations for an hour and a bit; hours for a day and a bit.
local function write_lateness(text, minute, minute_ranks, minute_rows, hour, hour_ranks, hour_rows)
  if text == '' then return end
  note_late(text)
  write_late(minute, minute_ranks, minute_rows, 93600, 3900)
  write_late(hour, hour_ranks, hour_rows, 97200, 97200)
end
