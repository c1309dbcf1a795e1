// A follow-up's receiver that sends nothing twice, however often the request comes. `redis` is a client of the package
// "redis"; returns the status to answer with.
import { verify } from "./verify.mjs";

const WEEK = 7 * 24 * 3600;
// In seconds, and longer than sending can take: by then whoever began it has died.
const SENDING = 120;

export async function receive(redis, secrets, headers, body, send) {
  if (!verify(secrets, headers, body)) return 401;
  const key = `seen:${headers["webhook-id"]}`; // the same on every attempt
  if (!(await redis.set(key, "sending", { NX: true, EX: SENDING }))) {
    // Sent, and our answer got lost; or another request is at it, and the scheduler asks again later.
    return (await redis.get(key)) === "sent" ? 200 : 409;
  }
  try {
    await send(JSON.parse(body));
  } catch (error) {
    await redis.del(key); // so that the next attempt can do better
    throw error;
  }
  await redis.set(key, "sent", { EX: WEEK });
  return 200;
}
