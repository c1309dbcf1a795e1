// One attempt: where its time went, and what came of it.
import { html } from "../../lib.js";
import { t } from "../../i18n.js";
import { lateness, number } from "../../format.js";
import { link } from "../../router.js";
import { statusOf, Banner, Button, Dialog, Empty, Instant, StatusBadge, Timings } from "../../components.js";

/** Jobs of accounts have a UUID; all others are a bot's. */
const jobLink = (id) => link("jobs", { id, bot: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id) ? null : 1 });

export const idOf = (row) => row.messageId ?? row.jobId;

export function Details({ row, onClose }) {
  if (!row) {
    return html`<${Dialog} side title=${t("Delivery")} onClose=${onClose}>
      <${Empty} title=${t("It is not among those that are shown")}>${t("The log keeps the latest deliveries; older ones are gone from it.")}</${Empty}></${Dialog}>`;
  }
  const failed = statusOf(row.status) !== "success";
  const facts = [
    [t("Status"), html`<${StatusBadge} status=${row.status} />`],
    [t("Attempt"), number(row.attempt)],
    [t("Lateness"), lateness(row.latenessMs)],
    [t("Took"), lateness(row.durationMs)],
    row.responseCode !== null && [t("Answered with"), row.responseCode],
    [t("Scheduled for"), html`<${Instant} kind="long" at=${row.scheduledFor} />`],
    [t("Due"), html`<${Instant} kind="precise" at=${row.dueAt} />`],
    [t("Sent"), html`<${Instant} kind="precise" at=${row.sentAt} />`],
    [t("Ended"), html`<${Instant} kind="precise" at=${row.finishedAt} />`],
    row.executionId && [t("Execution"), row.executionId],
  ].filter(Boolean);
  const letter = row.messageId ?? row.executionId;
  return html`<${Dialog} side title=${idOf(row)} onClose=${onClose}>
    ${row.error && html`<${Banner} tone="bad">${row.error}</${Banner}>`}
    <div class="row">
      ${row.messageId && html`<${Button} size="small" href=${link("upcoming", { id: row.messageId })}>${t("Its message")}</${Button}>`}
      ${row.jobId && html`<${Button} size="small" href=${jobLink(row.jobId)}>${t("Its job")}</${Button}>`}
      <${Button} size="small" href=${link("deliveries", row.messageId ? { message: row.messageId } : { job: row.jobId })}>${row.messageId ? t("All its attempts") : t("All attempts of the job")}</${Button}>
      ${failed && html`<${Button} size="small" href=${link("dead-letters", { id: letter })}>${t("Look among the dead letters")}</${Button}>`}
    </div>
    <dl class="facts dlv-facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
    <section aria-labelledby="dlv-timings"><h3 id="dlv-timings" class="dlv-heading">${t("Where the time went")}</h3><${Timings} row=${row} /></section>
  </${Dialog}>`;
}
