-- claim_executions.lua: lease those of the given executions that are due and not leased.
-- KEYS[1] zset executions due   KEYS[2] hash executions leased   KEYS[3] hash executions state
-- KEYS[4] string heartbeat of the caller
-- KEYS[5..] three an execution: string record of the job, hash webhooks, hash executions
-- ARGV[1] now, ms    ARGV[2] "<replica>:<claim>"   ARGV[3] heartbeat, ms
-- ARGV[4] "1": nothing is due before it is by the server's clock, either
-- ARGV[5..] five an execution: reference, id, webhook id or "-", lease expiry in ms, version of the job that the caller
--   knows, with its webhooks and this execution as it was made, or ""
-- returns the server's time in ms, or "", then six values a leased execution: its place among them, lease, due time, record, the job's record, the webhook's
--   or ""; no records when the caller knows them; one that is not due yet by the server's clock has no lease
-- include now
local now, clock = what_is_due(ARGV[1], ARGV[4])
local claimed = {clock}
redis.call('SET', KEYS[4], '1', 'PX', ARGV[3])
for i = 1, (#ARGV - 4) / 5 do
  local ref, id, webhook, expiry, version = unpack(ARGV, 5 * i, 5 * i + 4)
  local due = redis.call('ZSCORE', KEYS[1], ref)
  if due and tonumber(due) <= now then
    redis.call('ZREM', KEYS[1], ref)
    local k = 3 * i + 2
    local job = redis.call('GET', KEYS[k])
    local record = redis.call('HGET', KEYS[k + 2], id)
    if job and record then
      local state = redis.call('HGET', KEYS[3], ref) or ''
      local claims = tonumber(string.match(state, '^%d+') or '0') + 1
      -- Put off, it is late since the first time.
      due = string.match(state, '^%S+ %S+ %S+ %S+ (%d+) ') or due
      local lease = ARGV[2] .. ':' .. claims .. ':' .. due .. ':' .. expiry .. ':' .. ARGV[1]
      redis.call('HSET', KEYS[2], ref, lease)
      local n = #claimed
      claimed[n + 1], claimed[n + 2], claimed[n + 3] = tostring(i), lease, due
      if claims == 1 and string.sub(job, 1, 10) == version then
        claimed[n + 4], claimed[n + 5], claimed[n + 6] = '', '', ''
      else
        claimed[n + 4], claimed[n + 5], claimed[n + 6] = record, job, redis.call('HGET', KEYS[k + 1], webhook) or ''
      end
    end
  elseif due and tonumber(due) <= tonumber(ARGV[1]) then
    local n = #claimed
    claimed[n + 1], claimed[n + 2], claimed[n + 3] = tostring(i), '', due
    claimed[n + 4], claimed[n + 5], claimed[n + 6] = '', '', ''
  end
end
return claimed
