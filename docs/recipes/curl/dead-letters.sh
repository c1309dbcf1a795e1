call() { curl -sS --fail-with-body --max-time 10 -H "Authorization: Bearer $SCHEDULER_TOKEN" "$@"; echo; }

# What was given up, and why: reason and lastError stand in each.
call "$SCHEDULER_URL/dead-letters?prefix=123_"

# Every attempt of one message: when it left, how late, what the receiver answered.
call "$SCHEDULER_URL/deliveries?messageId=123_5511888888888_2h"

# The receiver is well again: one, later; then all the others, now.
call "$SCHEDULER_URL/dead-letters/123_5511888888888_2h/replay" -d '{"delay": "10m"}'
call -X POST "$SCHEDULER_URL/dead-letters/replay?prefix=123_"
