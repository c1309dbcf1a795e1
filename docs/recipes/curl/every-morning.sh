call() { curl -sS --fail-with-body --max-time 10 -H "Authorization: Bearer $SCHEDULER_TOKEN" "$@"; echo; }

# crontab:  0 8 * * 1-5  curl -X POST -d '{"report": "daily"}' https://app.example/reports
job=$(call "$SCHEDULER_URL/api/jobs" -d '{
  "account_id": "123e4567-e89b-12d3-a456-426614174000", "name": "Daily report", "type": 1,
  "schedule": "0 8 * * 1-5", "timezone": "America/Sao_Paulo"
}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
call "$SCHEDULER_URL/webhooks" -d '{
  "job_id": "'$job'", "url": "'$WEBHOOK_URL'", "method": "POST", "body_template": "{\"report\": \"daily\"}"
}'

# In words, and when next; then once by hand.
call -G "$SCHEDULER_URL/api/jobs/preview" -d timezone=America/Sao_Paulo --data-urlencode "schedule=0 8 * * 1-5"
call -X POST "$SCHEDULER_URL/api/jobs/$job/run"
