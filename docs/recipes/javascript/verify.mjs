// Tell the scheduler's requests from anybody else's. Node 18 or later; nothing to install.
import { createHmac, timingSafeEqual } from "node:crypto";

// `secrets` are one or several whsec_…, separated by spaces: while one is replaced by another, both count. `headers` are
// in lower case, as in node's request.headers; `body` is a Buffer as it came over the wire, before any parsing.
export function verify(secrets, headers, body, toleranceSeconds = 300) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = (headers["webhook-signature"] ?? "").split(" ");
  // Written so that NaN, of a missing or mangled timestamp, is refused too.
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= toleranceSeconds)) return false;
  return secrets.split(" ").some((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const mac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
    const expected = Buffer.from(`v1,${mac}`);
    return signatures.some((signature) => {
      const given = Buffer.from(signature);
      return given.length === expected.length && timingSafeEqual(given, expected);
    });
  });
}
