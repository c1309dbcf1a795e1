// One message: what it is, what became of it so far, and how to make it again.
import { html, useRef, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { seg } from "../../api.js";
import { duration, lateness, ms, now, number } from "../../format.js";
import { useApi, useLive, useThrottled } from "../../hooks.js";
import { link } from "../../router.js";
import { ROOT } from "../../session.js";
import {
  statusOf, Banner, Button, Code, Countdown, Dialog, Empty, Failure, Instant, JsonView, Relative, Skeleton, StatusBadge,
} from "../../components.js";
import { INBOX } from "./form.js";

const GIVEN = ["id", "scheduleTo", "payload", "webhookUrl", "method", "headers", "timeoutSeconds", "retry", "misfireGraceSeconds"];
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A command that makes the same message; the token comes from the environment. */
export function curlOf(record) {
  const body = Object.fromEntries(GIVEN.filter((name) => name in record).map((name) => [name, record[name]]));
  return [
    `curl ${quoted(new URL("messages", ROOT).href)} \\`,
    '  -H "Authorization: Bearer $API_TOKEN" \\',
    "  -H 'Content-Type: application/json' \\",
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ].join("\n");
}

/** While it should be on its way no event may come: then it is looked at again and again. */
const WATCH_MS = 2000;

export function Details({ id, onClose, onSend, onReschedule, onDelete }) {
  const [end, setEnd] = useState(null);
  const ended = useRef(null);
  const finish = (change) => {
    ended.current = change;
    setEnd(change);
  };
  const [near, setNear] = useState(false);
  const found = useApi(`/messages/${seg(id)}`, { exact: ["payload"], every: near && !end ? WATCH_MS : 0 });
  const tries = useApi("/deliveries", { query: { messageId: id, limit: 100 } });
  const record = found.data;
  const missing = found.error?.status === 404;
  const gone = end !== null || missing;
  const isNear = Boolean(record) && !gone && (statusOf(record.status) === "delivering" || ms(record.nextRun) < now() - 1000);
  if (isNear !== near) setNear(isNear);

  const look = useThrottled(() => ended.current || missing || found.reload(), 500);
  const lookAtTries = useThrottled(tries.reload, 500);
  useLive(["message", "delivery", "poll", "resync"], (data, kind) => {
    if (kind === "message" && data.id === id) {
      if (data.change === "scheduled") {
        finish(null);
        found.reload();
      } else finish(data.change);
      lookAtTries();
    } else if (kind === "delivery" && data.messageId === id) {
      lookAtTries();
      look();
    } else if (kind === "poll" || kind === "resync") {
      look();
      lookAtTries();
    }
  });

  const attempts = tries.data?.deliveries;
  const foot = !gone && record && html`<${Button} kind="quiet" class="danger" onClick=${onDelete}>${t("Delete")}</${Button}>
    <span class="grow"></span>
    <${Button} onClick=${onReschedule}>${t("Reschedule")}</${Button}>
    <${Button} onClick=${onSend}>${t("Send now")}</${Button}>`;
  return html`<${Dialog} side title=${id} onClose=${onClose} foot=${foot}>
    ${found.error && !missing && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${!record && !found.error && html`<${Skeleton} lines=${8} />`}
    ${gone && attempts && html`<${End} end=${end} last=${attempts[0]} id=${id} />`}
    ${record && html`<${Facts} record=${record} gone=${gone} />`}
    ${record && html`<${JsonView} label=${t("Payload")} value=${record.payload} />`}
    ${(record || attempts?.length > 0) && html`<${Attempts} attempts=${attempts} error=${tries.error} retry=${tries.reload} />`}
    ${record && html`<${Code} label=${t("Make it again with curl")} text=${curlOf(record)} />`}
  </${Dialog}>`;
}

/** What became of a message that is not scheduled any more. */
function End({ end, last, id }) {
  const delivered = last && statusOf(last.status) === "success";
  if (end === "deleted") return html`<${Banner} tone="info" title=${t("Deleted")}>${t("It will not be sent.")}</${Banner}>`;
  if (end === "delivered" || (end === null && delivered)) {
    return html`<${Banner} tone="ok" title=${t("Delivered")}>${delivered && html`<${Relative} at=${last.finishedAt} /> · ${t("{late} late", { late: lateness(last.latenessMs) })}`}</${Banner}>`;
  }
  const letters = html`<${Button} size="small" href=${link("dead-letters", { id })}>${t("Dead letters")}</${Button}>`;
  if (end === "dead") return html`<${Banner} tone="bad" title=${t("It is a dead letter now")} action=${letters}>${last?.error ?? t("There it can be mended and sent again.")}</${Banner}>`;
  if (last) return html`<${Banner} tone="warn" title=${t("It is not scheduled any more")} action=${letters}>${t("Its last attempt failed; it may be among the dead letters.")}</${Banner}>`;
  return html`<${Empty} title=${t("No message has this id")}>${t("It was delivered some time ago, was deleted, or never scheduled.")}</${Empty}>`;
}

function Facts({ record, gone }) {
  const retry = Object.entries(record.retry ?? {}).map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", ");
  const toInbox = record.webhookUrl.startsWith(INBOX);
  const facts = [
    !gone && [t("Status"), html`<${StatusBadge} status=${record.status} />`],
    !gone && [t("Due"), html`<${Countdown} at=${record.nextRun} />`],
    [gone ? t("Was due") : t("Next attempt"), record.nextAttemptAt === null && !gone ? t("on the wire now") : html`<${Instant} kind="long" at=${record.nextRun} />`],
    [t("Target"), html`<span>${record.method ?? "POST"} ${record.webhookUrl}</span> ${toInbox && html`<a href=${link("upcoming", { inbox: 1 })}>${t("Open the inbox")}</a>`}`],
    !gone && record.attempts > 0 && [t("Attempts"), number(record.attempts)],
    !gone && record.lastError && [t("Last error"), html`<span class="error">${record.lastError}</span>`],
    record.headers && [t("Headers"), html`<span class="mono">${Object.entries(record.headers).map(([name, value]) => html`<span class="upcoming-line" key=${name}>${name}: ${value}</span>`)}</span>`],
    record.timeoutSeconds !== undefined && [t("Time limit"), `${JSON.stringify(record.timeoutSeconds)} s`],
    retry && [t("Retries"), retry],
    record.misfireGraceSeconds !== undefined && [t("Not sent when later than"), `${JSON.stringify(record.misfireGraceSeconds)} s`],
    [t("Accepted"), html`<${Instant} kind="long" at=${record.createdAt} />`],
  ].filter(Boolean);
  return html`<dl class="facts upcoming-facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Attempts({ attempts, error, retry }) {
  return html`<section aria-labelledby="upcoming-attempts">
    <h3 id="upcoming-attempts">${t("Attempts")}</h3>
    ${error && html`<${Failure} error=${error} retry=${retry} />`}
    ${!attempts && !error && html`<${Skeleton} lines=${2} />`}
    ${attempts?.length === 0 && html`<p class="muted">${t("None so far: it waits for its time.")}</p>`}
    <ol class="upcoming-attempts">${attempts?.map((one) => html`<li key=${one.id}>
      <div class="upcoming-attempt-head">
        <${StatusBadge} status=${one.status} />
        <span>${t("Attempt {number}", { number: number(one.attempt) })}</span>
        <span class="muted end grow"><${Instant} at=${one.startedAt} /></span>
      </div>
      <p class="muted upcoming-line">${[
        t("{late} late", { late: lateness(one.latenessMs) }),
        t("took {duration}", { duration: one.durationMs < 60_000 ? lateness(one.durationMs) : duration(one.durationMs) }),
        one.responseCode === null ? t("no answer") : t("answered {status}", { status: one.responseCode }),
      ].join(" · ")}</p>
      ${one.error && html`<p class="error upcoming-line">${one.error}</p>`}
    </li>`)}</ol>
  </section>`;
}
