// The JSON API, as any client uses it.
import { language, t } from "./i18n.js";
import { setServiceTime } from "./format.js";
import { credentials, doubt, ROOT } from "./session.js";

/** A refusal. `message` is the service's own sentence; `errors` says by field what is wrong. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, errors = {}, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, errors, retryAfter });
  }

  /** What is wrong with a field, or undefined. */
  of(field) {
    return this.errors[field]?.join("; ");
  }
}

/** JSON whose numbers keep their digits: what a Number would blur becomes raw JSON, which `stringify` writes as it was. */
export function parseExact(text) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context && String(value) !== context.source ? JSON.rawJSON(context.source) : value,
  );
}

function address(path, query) {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

export function headers(more) {
  return { Accept: "application/json", "Accept-Language": language.get(), ...credentials(), ...more };
}

/**
 * Make a request and return the JSON of its answer (null without a body).
 *
 * query: what stands behind the "?"; empty values are left out. body: JSON (parsed by parseExact it keeps its digits).
 * exact: names of members of the answer whose numbers keep their digits. also: statuses that are no errors here.
 * match: an ETag the resource must still have. tagged: gives [JSON, ETag].
 * Throws ApiError, or an AbortError when `signal` says so.
 */
export async function request(method, path, { query, body, signal, exact, also = [], match, tagged } = {}) {
  let answer;
  let text;
  try {
    answer = await fetch(address(path, query), {
      method,
      signal,
      cache: "no-store",
      headers: headers({ ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...(match ? { "If-Match": match } : {}) }),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await answer.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(t("The service cannot be reached."));
  }
  let found = null;
  try {
    found = text ? JSON.parse(text) : null;
  } catch {
    // A proxy's page, say; the status has to do.
  }
  if (!answer.ok && !also.includes(answer.status)) {
    if (answer.status === 401) doubt();
    throw new ApiError(found?.detail ?? t("The service answered {status}.", { status: answer.status }), {
      status: answer.status,
      code: found?.error_code,
      errors: found?.errors,
      retryAfter: Number(answer.headers.get("Retry-After")) || null,
    });
  }
  if (found?.timestamp) setServiceTime(found.timestamp);
  if (exact && found) {
    const kept = parseExact(text);
    for (const name of exact) if (name in found) found[name] = kept[name];
  }
  return tagged ? [found, answer.headers.get("ETag")] : found;
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { ...options, body });
export const put = (path, body, options) => request("PUT", path, { ...options, body });
export const patch = (path, body, options) => request("PATCH", path, { ...options, body });
export const del = (path, options) => request("DELETE", path, options);

/** An id as a part of a path. */
export const seg = (id) => encodeURIComponent(id);
