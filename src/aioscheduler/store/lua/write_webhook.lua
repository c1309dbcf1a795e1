-- write_webhook.lua: write or delete a webhook of a job, whose version changes with it.
-- KEYS[1] string record of the job   KEYS[2] hash webhooks
-- ARGV[1] the job's new version      ARGV[2] webhook id   ARGV[3] webhook, or "" to delete it
-- ARGV[4] "new", or "old" when it has to be there         ARGV[5] how many a job may have
-- returns 1, 0 when the job or the webhook is not there, 2 when there are too many
local record = redis.call('GET', KEYS[1])
if not record then return 0 end
if ARGV[4] == 'old' then
  if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
elseif redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then
  return 2
end
redis.call('SET', KEYS[1], ARGV[1] .. string.sub(record, 11))
if ARGV[3] == '' then redis.call('HDEL', KEYS[2], ARGV[2]) else redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
return 1
