// A new message, and another time for one that is there.
import { html, useEffect, useId, useRef, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { ApiError, get, post, put, seg } from "../../api.js";
import { dateTime, now } from "../../format.js";
import { useAction, useNow } from "../../hooks.js";
import { ROOT } from "../../session.js";
import { Banner, Button, checkJson, DateTime, Dialog, JsonArea, Select, statusOf, TextArea, TextField, toast } from "../../components.js";

/** Where the service itself takes what is sent, for trying things out. */
export const INBOX = new URL("inbox/", ROOT).href;
const SOON_MS = 10_000;
const METHODS = ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/** What a message is made of, besides its time. */
const KEPT = ["payload", "webhookUrl", "method", "headers", "timeoutSeconds", "retry", "misfireGraceSeconds"];

function quick() {
  const tomorrow = new Date(now());
  tomorrow.setDate(tomorrow.getDate() + 1);
  tomorrow.setHours(9, 0, 0, 0);
  return [
    { label: t("in 10 s"), at: () => now() + SOON_MS },
    { label: t("in 5 min"), at: () => now() + 5 * 60_000 },
    { label: t("in 1 h"), at: () => now() + 3_600_000 },
    { label: t("tomorrow 9:00"), at: () => tomorrow },
  ];
}

/** What the service says of a field, and of what is in it. */
function fault(error, field) {
  const all = Object.entries(error?.errors ?? {}).filter(([name]) => name === field || name.startsWith(`${field}.`));
  return all.map(([name, why]) => `${name === field ? "" : `${name.slice(field.length + 1)}: `}${why.join("; ")}`).join("; ") || undefined;
}

/** An instant, or a delay: each empties the other. value: `{at, delay}`. */
function When({ value, onValue, error }) {
  const past = value.at && value.at.getTime() < useNow() - 1000;
  return html`<div class="upcoming-when">
    <${DateTime} label=${t("When")} name="when" value=${value.at} quick=${[]} error=${fault(error, "scheduleTo")} onValue=${(at) => onValue({ at, delay: "" })} />
    <${TextField} label=${t("Or after a delay")} name="delay" placeholder="2h" value=${value.delay} error=${fault(error, "delay")}
      hint=${t("90s, 15m, 2h, 7d")} onValue=${(delay) => onValue({ at: null, delay })} />
    <div class="quick">${quick().map(({ label, at }) => html`<${Button} key=${label} size="small" onClick=${() => onValue({ at: new Date(at()), delay: "" })}>${label}</${Button}>`)}</div>
    ${past && html`<p class="hint upcoming-past">${t("This is past: it will be sent at once.")}</p>`}
  </div>`;
}

const timeOf = ({ at, delay }) => (delay.trim() ? { delay: delay.trim() } : at ? { scheduleTo: at.toISOString() } : {});

/** A number if it is one; else the text, of which the service says what is wrong. */
const numeric = (text) => (Number.isFinite(Number(text)) ? Number(text) : text);

/** `{headers}` of lines such as "Name: value", or `{error}`. */
function headersOf(text) {
  const headers = {};
  for (const [index, line] of text.split("\n").entries()) {
    if (!line.trim()) continue;
    const colon = line.indexOf(":");
    if (colon < 1) return { error: t("Line {line} should read Name: value", { line: index + 1 }) };
    headers[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  return { headers: Object.keys(headers).length ? headers : undefined };
}

function bodyOf(form, payload, headers) {
  const retry = {};
  if (form.attempts.trim()) retry.maxAttempts = numeric(form.attempts);
  if (form.backoff.trim()) retry.backoffSeconds = numeric(form.backoff);
  return {
    id: form.id === "" ? undefined : form.id,
    ...timeOf(form),
    webhookUrl: form.url.trim(),
    payload,
    method: form.method === "POST" ? undefined : form.method,
    headers,
    timeoutSeconds: form.timeout.trim() ? numeric(form.timeout) : undefined,
    retry: Object.keys(retry).length ? retry : undefined,
  };
}

/** Once something is refused, the focus goes to the first field that is wrong. */
function useFaultyFocus(root, error) {
  useEffect(() => {
    if (error) root.current?.querySelector("[aria-invalid]")?.focus();
  }, [error]);
}

const EMPTY = { id: "", at: null, delay: "", url: "", payload: "", method: "POST", headers: "", timeout: "", attempts: "", backoff: "" };
const example = () => JSON.stringify({ hello: "world" }, null, 2);

/** The form of a new message; with `inbox` it is filled in, to be tried out. onDone(id): it is scheduled. */
export function NewMessage({ inbox = false, onClose, onDone }) {
  const toInbox = (form) => ({
    ...form,
    url: `${INBOX}hello`,
    payload: form.payload.trim() ? form.payload : example(),
    at: form.at ?? (form.delay ? null : new Date(now() + SOON_MS)),
  });
  const [form, setForm] = useState(() => (inbox ? toInbox(EMPTY) : EMPTY));
  const [local, setLocal] = useState({});
  const [more, setMore] = useState(false);
  const root = useRef(null);
  const id = useId();
  const change = (part) => setForm((old) => ({ ...old, ...part }));

  const [submit, busy, error, setError] = useAction(async (onConflict) => {
    const payload = checkJson(form.payload);
    const { headers, error: wrongHeaders } = headersOf(form.headers);
    const wrong = { payload: payload.error, headers: wrongHeaders };
    setLocal(wrong);
    if (wrongHeaders) setMore(true);
    if (payload.error || wrongHeaders) return;
    const done = await post("/messages", { ...bodyOf(form, payload.value, headers), onConflict });
    toast(t("Scheduled for {time}", { time: dateTime(done.scheduledFor) }));
    onDone(done.messageId);
  });
  const [tryInbox, asking, noInbox] = useAction(async () => {
    await get("/inbox");
    setForm(toInbox);
    setError(null);
  });
  const exists = error?.code === "MESSAGE_EXISTS";
  const behind = ["method", "headers", "timeoutSeconds", "retry"];
  const said = ["id", "scheduleTo", "delay", "webhookUrl", "payload", ...behind].some((name) => fault(error, name));
  useFaultyFocus(root, error ?? (local.payload || local.headers ? local : null));
  useEffect(() => {
    if (behind.some((name) => fault(error, name))) setMore(true);
  }, [error]);

  const foot = html`<${Button} onClick=${onClose}>${t("Cancel")}</${Button}>
    <${Button} kind="primary" type="submit" form=${id} busy=${busy}>${t("Schedule")}</${Button}>`;
  return html`<${Dialog} title=${t("New message")} onClose=${onClose} foot=${foot} keep>
    <form id=${id} class="stack upcoming-form" ref=${root} novalidate onSubmit=${(event) => { event.preventDefault(); submit(); }}>
      ${exists && html`<${Banner} tone="warn" action=${html`<${Button} size="small" busy=${busy} onClick=${() => submit("replace")}>${t("Replace it")}</${Button}>`}>${error.message}</${Banner}>`}
      ${error && !exists && !said && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
      <${TextField} label=${t("Message id")} name="id" value=${form.id} placeholder="order-1042_24h" maxlength="512" autofocus
        error=${fault(error, "id")} hint=${t("To find it and to cancel it by. Left empty, the service makes one.")} onValue=${(text) => change({ id: text })} />
      <${When} value=${form} error=${error} onValue=${change} />
      <div class="upcoming-url">
        <${TextField} label=${t("Webhook URL")} name="url" type="url" inputmode="url" value=${form.url} placeholder="https://example.com/hook"
          error=${fault(error, "webhookUrl") ?? noInbox?.message} onValue=${(url) => change({ url })} />
        <${Button} kind="quiet" size="small" busy=${asking} onClick=${tryInbox}>${t("Send to the inbox")}</${Button}>
      </div>
      <${JsonArea} label=${t("Payload")} name="payload" rows="5" value=${form.payload} placeholder=${'{"hello": "world"}'}
        error=${fault(error, "payload") ?? (form.payload.trim() ? undefined : local.payload)} onValue=${(payload) => change({ payload })} />
      <details class="upcoming-more" open=${more} onToggle=${(event) => setMore(event.currentTarget.open)}>
        <summary>${t("More")}</summary>
        <div class="upcoming-more-fields">
          <${Select} label=${t("Method")} value=${form.method} options=${METHODS.map((value) => ({ value, label: value }))}
            error=${fault(error, "method")} onValue=${(method) => change({ method })} />
          <${TextField} label=${t("Time limit, seconds")} inputmode="decimal" value=${form.timeout} placeholder="30"
            error=${fault(error, "timeoutSeconds")} onValue=${(timeout) => change({ timeout })} />
          <${TextField} label=${t("Attempts at most")} inputmode="numeric" value=${form.attempts} placeholder="5"
            error=${fault(error, "retry")} onValue=${(attempts) => change({ attempts })} />
          <${TextField} label=${t("First pause, seconds")} inputmode="decimal" value=${form.backoff} placeholder="10" onValue=${(backoff) => change({ backoff })} />
          <${TextArea} label=${t("Headers")} class="mono" rows="3" value=${form.headers} placeholder=${"X-Tenant: 42"}
            error=${fault(error, "headers") ?? local.headers} hint=${t("One on each line, as Name: value.")} onValue=${(headers) => change({ headers })} />
        </div>
      </details>
    </form>
  </${Dialog}>`;
}

/** Another time for a message; all else stays. */
export function Reschedule({ id, onClose, onDone }) {
  const [when, setWhen] = useState({ at: null, delay: "" });
  const root = useRef(null);
  const form = useId();
  const [submit, busy, error] = useAction(async () => {
    let done;
    try {
      // Read anew, and replaced as it was read: what is delivered in between is not sent again.
      const [record, tag] = await get(`/messages/${seg(id)}`, { exact: ["payload"], tagged: true });
      if (statusOf(record.status) === "delivering") throw new ApiError(t("It is being delivered at the moment."));
      const kept = Object.fromEntries(KEPT.filter((name) => name in record).map((name) => [name, record[name]]));
      done = await put(`/messages/${seg(id)}`, { ...kept, ...timeOf(when) }, { match: tag });
    } catch (error) {
      throw [404, 412].includes(error.status) ? new ApiError(t("It was delivered or changed meanwhile.")) : error;
    }
    toast(t("Scheduled for {time}", { time: dateTime(done.scheduledFor) }));
    onDone();
  });
  useFaultyFocus(root, error);
  const said = ["scheduleTo", "delay"].some((name) => fault(error, name));
  const foot = html`<${Button} onClick=${onClose}>${t("Cancel")}</${Button}>
    <${Button} kind="primary" type="submit" form=${form} busy=${busy}>${t("Reschedule")}</${Button}>`;
  return html`<${Dialog} title=${t("Reschedule {id}", { id })} onClose=${onClose} foot=${foot}>
    <form id=${form} class="stack" ref=${root} novalidate onSubmit=${(event) => { event.preventDefault(); submit(); }}>
      ${error && !said && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
      <p class="muted">${t("Only its time changes.")}</p>
      <${When} value=${when} error=${error} onValue=${setWhen} />
    </form>
  </${Dialog}>`;
}
