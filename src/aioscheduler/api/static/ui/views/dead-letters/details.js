// One letter: why it is dead, what it is, and what was tried.
import { html } from "../../lib.js";
import { t } from "../../i18n.js";
import { seg } from "../../api.js";
import { number } from "../../format.js";
import { useApi } from "../../hooks.js";
import { link } from "../../router.js";
import { Attempts, Banner, Button, Code, Dialog, Empty, Failure, Instant, JsonView, Relative, Skeleton } from "../../components.js";
import { canMend, canReplay, ReasonBadge, reasonHelp } from "./reasons.js";

export function Details({ id, busy, onClose, onReplay, onMend, onDelete }) {
  const found = useApi(`/dead-letters/${seg(id)}`, { exact: ["payload"], on: ["message"] });
  const letter = found.data;
  const missing = found.error?.status === 404;
  const foot = letter && !missing && html`<${Button} kind="quiet" class="danger" onClick=${() => onDelete(letter)}>${t("Delete")}</${Button}>
    <span class="grow"></span>
    ${canMend(letter) && html`<${Button} onClick=${() => onMend(letter)}>${t("Mend")}</${Button}>`}
    ${canReplay(letter) && html`<${Button} kind="primary" busy=${busy} onClick=${() => onReplay(letter)}>${t("Replay")}</${Button}>`}`;
  return html`<${Dialog} side title=${id} onClose=${onClose} foot=${foot}>
    ${found.error && !missing && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${!letter && !found.error && html`<${Skeleton} lines=${8} />`}
    ${missing && html`<${Empty} title=${t("It is no dead letter any more")} action=${html`<${Button} href=${link("deliveries", { message: id })}>${t("Show its deliveries")}</${Button}>`}>
      ${t("It was sent again or deleted, or its time here was up.")}</${Empty}>`}
    ${letter && !missing && html`<${Letter} letter=${letter} />`}
  </${Dialog}>`;
}

function Letter({ letter }) {
  const facts = [
    [t("Died"), html`<${Instant} kind="long" at=${letter.deadAt} /> <span class="muted">(<${Relative} at=${letter.deadAt} />)</span>`],
    letter.webhookUrl && [t("Target"), `${letter.method ?? "POST"} ${letter.webhookUrl}`],
    letter.scheduleTo && [t("Scheduled for"), html`<${Instant} kind="long" at=${letter.scheduleTo} />`],
    letter.jobId && [t("Job"), html`<a href=${jobLink(letter.jobId)}>${letter.jobId}</a>`],
    letter.webhookId && [t("Webhook"), letter.webhookId],
    letter.scheduledFor && [t("Scheduled for"), html`<${Instant} kind="long" at=${letter.scheduledFor} />`],
    [t("Attempts"), number(letter.attempts)],
    letter.headers && [t("Headers"), html`<span class="mono">${Object.entries(letter.headers).map(([name, value]) => html`<span class="dead-line" key=${name}>${name}: ${value}</span>`)}</span>`],
    letter.createdAt && [t("Accepted"), html`<${Instant} kind="long" at=${letter.createdAt} />`],
  ].filter(Boolean);
  return html`
    <div class="dead-why"><${ReasonBadge} reason=${letter.reason} /><p>${reasonHelp(letter.reason)}</p></div>
    ${letter.lastError && html`<${Banner} tone="bad" title=${t("Last error")}>${letter.lastError}</${Banner}>`}
    <dl class="facts dead-facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
    ${"payload" in letter && html`<${JsonView} label=${t("Payload")} value=${letter.payload} />`}
    ${"record" in letter && html`<${Code} label=${t("The record, as text")} text=${letter.record} /><${Code} label=${t("Its bytes, in Base64")} text=${letter.recordBase64} />`}
    ${letter.reason !== "invalid_record" && html`<${Tried} letter=${letter} />`}`;
}

/** Jobs of accounts have a UUID; all others are a bot's. */
export const jobLink = (id) => link("jobs", { id, bot: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id) ? null : 1 });

function Tried({ letter }) {
  const of = letter.executionId ? { jobId: letter.jobId } : { messageId: letter.id };
  const found = useApi("/deliveries", { query: { ...of, limit: 100 } });
  const rows = found.data?.deliveries.filter((row) => !letter.executionId || row.executionId === letter.executionId);
  return html`<section class="dead-tried" aria-labelledby="dead-tried">
    <h3 id="dead-tried">${t("Attempts")}</h3>
    ${found.error ? html`<${Failure} error=${found.error} retry=${found.reload} />` : html`<${Attempts} rows=${rows} none=${letter.attempts ? t("They are not in the log any more.") : t("It was never attempted.")} />`}
  </section>`;
}
