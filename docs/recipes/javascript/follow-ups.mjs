// Follow-ups for a customer, cancelled by the answer. Node 18 or later; nothing to install.
const FOLLOW_UPS = { "2h": "Are you still there?", "12h": "Shall we go on tomorrow?", "24h": "Here is our number." };

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Repeating is safe: ids are ours, so what was scheduled the first time is answered 409 the second.
async function call(method, path, { body, expected = [] } = {}) {
  const request = {
    method,
    headers: { Authorization: `Bearer ${process.env.SCHEDULER_TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(process.env.SCHEDULER_URL + path, { ...request, signal: AbortSignal.timeout(10_000) });
    } catch (error) {
      if (attempt === 3) throw error;
      await pause(1);
      continue;
    }
    if ([429, 503].includes(response.status) && attempt < 3) {
      await pause(Math.min(Number(response.headers.get("Retry-After") ?? 1), 10));
      continue;
    }
    const answer = await response.json();
    if (!response.ok && !expected.includes(response.status)) throw new Error(`${response.status}: ${answer.detail}`);
    return { status: response.status, answer };
  }
}

// Returns how many are new; what is scheduled already stays as it is.
export async function schedule(account, phone, webhookUrl) {
  let fresh = 0;
  for (const [delay, text] of Object.entries(FOLLOW_UPS)) {
    const body = { id: `${account}_${phone}_${delay}`, delay, payload: { phone, text }, webhookUrl };
    const { status } = await call("POST", "/messages", { body, expected: [409] });
    if (status === 201) fresh += 1;
  }
  return fresh;
}

// `to` is an instant such as 2026-12-25T10:30:00-03:00; the old version is not sent any more.
export async function reschedule(account, phone, delay, to, webhookUrl) {
  const body = { scheduleTo: to, payload: { phone, text: FOLLOW_UPS[delay] }, webhookUrl };
  await call("PUT", `/messages/${encodeURIComponent(`${account}_${phone}_${delay}`)}`, { body });
}

// Returns how many were cancelled. Without the underscore at the end the prefix would also find longer numbers that
// begin like this one.
export async function cancel(account, phone) {
  const prefix = encodeURIComponent(`${account}_${phone}_`);
  return (await call("DELETE", `/messages/bulk?prefix=${prefix}`)).answer.deleted;
}

// Sends all dead letters of an account again and returns their ids: once the receiver is well.
export async function replay(account) {
  const prefix = encodeURIComponent(`${account}_`);
  return (await call("POST", `/dead-letters/replay?prefix=${prefix}`)).answer.messageIds;
}
