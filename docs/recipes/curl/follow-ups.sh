call() { curl -sS --fail-with-body --max-time 10 -H "Authorization: Bearer $SCHEDULER_TOKEN" "$@"; echo; }

# Three follow-ups. An id begins with what you will want to cancel by.
for delay in 2h 12h 24h; do
  call "$SCHEDULER_URL/messages" -d '{
    "id": "123_5511999999999_'$delay'",
    "delay": "'$delay'",
    "payload": {"phone": "5511999999999", "text": "Are you still there?"},
    "webhookUrl": "'$WEBHOOK_URL'"
  }'
done

# What is planned for this customer?
call "$SCHEDULER_URL/messages/search?prefix=123_5511999999999_"

# Another time: the new version takes the place of the old one, which is not sent any more.
call -X PUT "$SCHEDULER_URL/messages/123_5511999999999_2h" -d '{
  "delay": "3h",
  "payload": {"phone": "5511999999999", "text": "Are you still there?"},
  "webhookUrl": "'$WEBHOOK_URL'"
}'

# Now, rather than then.
call -X POST "$SCHEDULER_URL/messages/123_5511999999999_2h/run"

# The customer answers: what still waits goes. dryRun=true first, to see what that is.
call -X DELETE "$SCHEDULER_URL/messages/bulk?prefix=123_5511999999999_&dryRun=true"
call -X DELETE "$SCHEDULER_URL/messages/bulk?prefix=123_5511999999999_"
