-- letter_heads.lua: the beginnings of dead letters, which tell why, when and where to.
-- KEYS[1] hash dead
-- ARGV[1] how many bytes at most   ARGV[2..] ids
-- returns each letter up to its payload, or the whole of it; "" for one that is gone
local found = {}
for i = 2, #ARGV do
  local letter = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  local record = string.find(letter, '\n', 1, true) or 1
  -- In a record of ours the URL stands before the payload, which may be long.
  local url = string.find(letter, '","webhookUrl":"', record, true)
  local payload = url and string.find(letter, ',"payload":', url, true)
  found[i - 1] = string.sub(letter, 1, math.min(tonumber(ARGV[1]), payload and payload - 1 or #letter))
end
return found
