// Small things of jobs: their last runs as dots, and what a schedule will do.
import { html } from "../../lib.js";
import { t } from "../../i18n.js";
import { dateTime, inServiceZone, ms } from "../../format.js";
import { Banner, Badge, Countdown, Skeleton, StatusBadge, statusLabel, statusTone } from "../../components.js";
import { moment, timeIn, useRuns, useWords, weekday } from "./data.js";

/** As many last runs as a row shows. */
const SHOWN = 8;

/** A bot delivers nothing: its runs are done. */
export const runLabel = (status, isBot) => (isBot && status === "success" ? t("Done") : statusLabel(status));

export function RunBadge({ status, isBot }) {
  if (isBot && status === "success") return html`<${Badge} tone="ok">${t("Done")}</${Badge}>`;
  return html`<${StatusBadge} status=${status} />`;
}

/** The last runs, the latest at the right. */
export function LastRuns({ job }) {
  const runs = useRuns(job);
  if (job.last_run_status === null) return html`<span class="muted">${t("none yet")}</span>`;
  const isBot = "bot_type" in job;
  const shown = (runs ?? [{ run_id: "last", status: job.last_run_status, started_at: job.last_run_at }]).slice(0, SHOWN).reverse();
  const labels = shown.map((run) => runLabel(run.status, isBot));
  return html`<span class="runs" role="img" aria-label=${t("Last runs: {statuses}", { statuses: labels.join(", ") })}>
    ${shown.map((run, index) => html`<span key=${run.run_id} class=${`status-dot ${statusTone(run.status)} ${run.status}`}
      title=${[labels[index], dateTime(run.started_at ?? run.scheduled_for), run.response_code, run.error].filter(Boolean).join(" · ")}></span>`)}
  </span>`;
}

export function Words({ job }) {
  const words = useWords(job);
  return html`<span title=${words}>${words}</span>`;
}

/** When a job runs: as short as it can be told. */
export const Moment = ({ at }) => html`<time datetime=${new Date(ms(at)).toISOString()} title=${inServiceZone(at)}>${moment(at)}</time>`;

/** A schedule in words, its next runs and what daylight saving does to them. found: the answer of a preview, or null. */
export function Preview({ found, zone, words = true }) {
  if (!found) return html`<${Skeleton} lines=${words ? 6 : 5} />`;
  return html`
    ${words && html`<p class="preview-words">${found.description}</p>`}
    ${found.next_runs.length === 0 && html`<p class="muted">${t("It will not run any more.")}</p>`}
    <ol class="preview-runs">${found.next_runs.map((at) => {
      const there = timeIn(at, zone);
      return html`<li key=${at}><span>${weekday(at)} <${Moment} at=${at} />${there && html` <span class="muted">(${t("{time} there", { time: there })})</span>`}</span>
        <span class="muted"><${Countdown} at=${at} /></span></li>`;
    })}</ol>
    ${found.notes.map((note) => html`<${Banner} key=${note} tone="warn">${note}</${Banner}>`)}`;
}
