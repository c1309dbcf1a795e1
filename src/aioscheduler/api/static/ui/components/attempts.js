import { html } from "../lib.js";
import { msg, t } from "../i18n.js";
import { lateness, ms, number } from "../format.js";
import { Skeleton, StatusBadge } from "./status.js";
import { Instant } from "./time.js";

/** What an attempt goes through, by the member that tells when it was over. */
const PHASES = [
  ["claimedAt", msg("Waited to be taken up")],
  ["startedAt", msg("Waited for its turn")],
  ["sentAt", msg("Connected and sent")],
  ["answeredAt", msg("Waited for the answer")],
  ["finishedAt", msg("Read the answer")],
];

/** `{name, label, from, took}` in milliseconds after it was due; what it did not come to is left out. */
export function phasesOf(row) {
  const due = ms(row.dueAt);
  let at = due;
  const found = [];
  for (const [name, label] of PHASES) {
    const end = ms(row[name]);
    if (Number.isNaN(end)) continue;
    // What is fetched ahead of its time waits for nobody.
    const until = Math.max(at, end);
    found.push({ name, label, from: at - due, took: until - at });
    at = until;
  }
  return found;
}

/** What the receiver said that its status code does not say. */
export const toldBy = (row) => (row.error === `HTTP ${row.responseCode}` ? null : row.error);

const short = (value) => (value < 1 ? "< 1 ms" : lateness(value));

/** The phases of an attempt, a row of `GET /deliveries`, one below the other. */
export function Timings({ row }) {
  const phases = phasesOf(row);
  const last = phases.at(-1);
  const all = Math.max(1, last ? last.from + last.took : 1);
  return html`<dl class="timings">${phases.map(({ name, label, from, took }) => html`<div key=${name}>
    <dt>${t(label)}</dt>
    <dd class="timing-bar" aria-hidden="true"><span class=${name} style=${{ left: `${(100 * from) / all}%`, width: `${(100 * took) / all}%` }}></span></dd>
    <dd class="timing-value">${short(took)}</dd>
  </div>`)}</dl>`;
}

/** Attempts, newest first, as `GET /deliveries` tells them; null while they are not known. */
export function Attempts({ rows, none }) {
  if (!rows) return html`<${Skeleton} lines=${3} />`;
  if (!rows.length) return html`<p class="muted">${none}</p>`;
  return html`<ol class="attempts">${rows.map((row) => html`<li key=${row.id}>
    <div class="attempt-head">
      <${StatusBadge} status=${row.status} />
      <span>${t("Attempt {number}", { number: number(row.attempt) })}</span>
      <span class="muted attempt-when"><${Instant} at=${row.finishedAt} /></span>
    </div>
    <p class="attempt-told">${row.responseCode !== null && html`<b>HTTP ${row.responseCode}</b> `}${toldBy(row) ?? ""} <span class="muted">${t("{late} late", { late: lateness(row.latenessMs) })}</span></p>
    <${Timings} row=${row} />
  </li>`)}</ol>`;
}
