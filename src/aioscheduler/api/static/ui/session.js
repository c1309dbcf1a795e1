// Who we are: one credential, kept in this tab only.
import { store } from "./lib.js";
import { language, t } from "./i18n.js";

const NAME = "aioscheduler.session";
/** Below the service's own address, whatever prefix a proxy puts before it. */
export const ROOT = new URL("../", document.baseURI);

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(NAME));
  } catch {
    return null;
  }
}

/** `{secret, opens: ["messages", "jobs", "bots"], accounts: null (all) | [ids]}`, or null when signed out. */
export const session = store(restored());
/** A sentence for the sign-in page: why we are there. */
export const notice = store(null);

/** What the service says a secret opens: it is shown both as a token and as an API key. */
async function ask(secret) {
  const headers = { Authorization: `Bearer ${secret}`, "X-API-Key": secret, "Accept-Language": language.get() };
  let answer;
  try {
    answer = await fetch(new URL("session", ROOT), { headers, cache: "no-store" });
  } catch {
    throw new Error(t("The service cannot be reached."));
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok || body === null) throw new Error(body?.detail ?? t("The service answered {status}.", { status: answer.status }));
  return body;
}

/** Sign in, or throw an Error whose message is for the reader. */
export async function signIn(secret) {
  secret = secret.trim();
  // What cannot stand in a header is no token, and fetch would throw.
  if (!/^[\x21-\x7e]+$/.test(secret)) throw new Error(t("Wrong token"));
  const { opens, accounts } = await ask(secret);
  if (!opens.length) throw new Error(t("Wrong token"));
  const found = { secret, opens, accounts };
  try {
    sessionStorage.setItem(NAME, JSON.stringify(found));
  } catch {
    // Then it lasts until the page is loaded again.
  }
  notice.set(null);
  session.set(found);
  return found;
}

export function signOut(sentence = null) {
  try {
    sessionStorage.removeItem(NAME);
  } catch {
    // Nothing was kept, then.
  }
  notice.set(sentence);
  session.set(null);
}

/** A request was refused: sign out if the credential opens nothing any more. */
export async function doubt() {
  const current = session.get();
  if (!current) return;
  try {
    const { opens } = await ask(current.secret);
    if (!opens.length && session.get() === current) signOut(t("The token is not valid any more. Please sign in again."));
  } catch {
    // Whoever asked gets the refusal; a service that is away is no reason to sign out.
  }
}

/** Whether the credential opens a part: "messages" (and all that is the operator's), "jobs" or "bots". */
export const opens = (part) => session.get()?.opens.includes(part) ?? false;

export function credentials() {
  const current = session.get();
  if (!current) return {};
  const isKey = !current.opens.includes("jobs") && current.opens.includes("bots");
  return isKey ? { "X-API-Key": current.secret } : { Authorization: `Bearer ${current.secret}` };
}
