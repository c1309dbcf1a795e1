// A job at the side: what it is, when it runs next, what it calls, and what became of its runs.
import { html, useEffect, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { post, seg } from "../../api.js";
import { dateTime, duration, lateness, ms, now, number } from "../../format.js";
import { useAction, useApi, useLive, usePaged, useThrottled } from "../../hooks.js";
import {
  Badge, Banner, Button, Copy, Countdown, Dialog, Empty, Failure, Icon, Instant, JsonView, Select, Skeleton, statusLabel, toast,
} from "../../components.js";
import { FAMILIES, isOpen, skipReason, useRunning } from "./data.js";
import { Preview, RunBadge } from "./parts.js";
import { Webhooks } from "./webhooks.js";

/** family and id say which; actions are those of the list's rows. */
export function JobPanel({ family, id, known, actions, onClose }) {
  const own = FAMILIES[family];
  const found = useApi(own.path(id));
  const [gone, setGone] = useState(false);
  const job = found.data ?? known;
  useLive(["job"], (event) => {
    if (event.id !== id) return;
    if (event.change === "deleted") setGone(true);
    else found.reload();
  });
  useLive(["poll", "resync"], () => gone || found.reload());
  const reloadSoon = useThrottled(found.reload, 1000);
  useLive(["delivery"], (row) => row.jobId === id && reloadSoon());
  useRunning(job && !gone ? [job] : [], found.reload, 600);
  // What was saved in the form is seen before it is asked for.
  useEffect(() => {
    if (known && found.data && known.updated_at > found.data.updated_at) found.setData(known);
  }, [known]);
  const [path, query] = job ? own.preview(job, 5) : [null];
  // A run that is over is one of the next no longer.
  const next = useApi(job?.enabled ? path : null, { query, every: 30_000 });
  const run = (name) => async () => {
    const changed = await actions[name](job);
    if (changed) found.setData(changed);
    found.reload();
  };
  const foot = job && !gone && html`
    <${Button} kind="quiet" class="danger foot-first" onClick=${() => actions.remove(job)}>${t("Delete")}</${Button}>
    <${Button} onClick=${() => actions.edit(job)}>${t("Edit")}</${Button}>
    <${Button} busy=${actions.isBusy(job)} onClick=${run("toggle")}>${job.enabled ? t("Pause") : t("Resume")}</${Button}>
    <${Button} kind="primary" busy=${actions.isBusy(job)} onClick=${run("run")}>${t("Run now")}</${Button}>`;
  const missing = gone || found.error?.status === 404;
  return html`<${Dialog} title=${job?.name ?? t("Job")} side onClose=${onClose} foot=${missing ? null : foot}>
    ${missing ? html`<${Empty} title=${t("This job is gone")} action=${html`<${Button} onClick=${onClose}>${t("Back to the list")}</${Button}>`}>${t("Somebody deleted it, with its history.")}</${Empty}>`
      : found.error && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${!missing && !job && !found.error && html`<${Skeleton} lines=${8} />`}
    ${!missing && job && html`
      <div class="row"><${Badge} tone=${job.enabled ? "ok" : "neutral"}>${job.enabled ? t("Enabled") : t("Paused")}</${Badge}>
        <${Badge}>${family === "bots" ? botName(job.bot_type) : t("Webhooks")}</${Badge}>
        ${job.next_run_at && html`<span class="muted">${t("next run")} <${Countdown} at=${job.next_run_at} /></span>`}</div>
      ${job.description && html`<p class="description">${job.description}</p>`}
      ${job.last_run_error && html`<${Banner} tone="bad" title=${t("The last run failed")}>${job.last_run_error}</${Banner}>`}
      <section class="panel-part"><header class="part-head"><h3>${t("Next runs")}</h3></header>
        ${!job.enabled && html`<p class="muted">${t("It is paused: nothing runs by the schedule until you resume it.")}</p>`}
        ${job.enabled && (next.error ? html`<${Failure} error=${next.error} retry=${next.reload} />` : html`<${Preview} found=${next.data} zone=${job.timezone ?? job.schedule_config?.timezone} />`)}
      </section>
      ${family === "account" && html`<${Webhooks} jobId=${id} />`}
      <${History} key=${id} family=${family} job=${job} />
      <section class="panel-part"><header class="part-head"><h3>${t("Settings")}</h3></header><${Facts} family=${family} job=${job} /></section>`}
  </${Dialog}>`;
}

const botName = (type) => ({ birthday: t("Birthday greetings"), visitor: t("Profile visits") })[type] ?? type;

const seconds = (value) => (value < 60 ? `${number(value, 3)} s` : duration(value * 1000));

function retryWords({ max_attempts, backoff_seconds, backoff_type, max_backoff_seconds }) {
  if (max_attempts === 1) return t("none: one attempt");
  const values = { count: number(max_attempts), number: max_attempts, pause: seconds(backoff_seconds), most: seconds(max_backoff_seconds) };
  if (backoff_type === "fixed") return t("up to {count} attempts, {pause} apart", values);
  if (backoff_type === "linear") return t("up to {count} attempts, {pause} apart, growing evenly to {most} at most", values);
  return t("up to {count} attempts, {pause} apart, doubling to {most} at most", values);
}

function Facts({ family, job }) {
  const isBot = family === "bots";
  const expression = isBot ? job.schedule_config.cron_expression : job.schedule;
  const facts = [
    [t("Schedule"), expression && html`<code>${expression}</code>`],
    [t("Time zone"), job.timezone ?? job.schedule_config?.timezone ?? t("the service's own")],
    [t("Retries"), job.retry_policy && retryWords(job.retry_policy)],
    [t("Runs at once"), number(job.max_instances)],
    [t("Skipped when late by"), seconds(job.misfire_grace_seconds)],
    [t("Missed runs"), job.coalesce ? t("merged into one") : t("made up for, one after the other")],
    [t("Configuration"), isBot && html`<code>${JSON.stringify(job.bot_config)}</code>`],
    [t("Account"), job.account_id && html`<code>${job.account_id}</code> <${Copy} text=${job.account_id} />`],
    [t("Job id"), html`<code>${job.id}</code> <${Copy} text=${job.id} />`],
    [t("Created"), html`<${Instant} at=${job.created_at} />`],
    [t("Changed"), job.updated_at !== job.created_at && html`<${Instant} at=${job.updated_at} />`],
  ].filter(([, value]) => value);
  return html`<dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// -- history

const STATUSES = ["success", "failure", "timed_out", "dead_letter", "skipped", "running", "queued"];
const PAGE = 25;

function History({ family, job }) {
  const isBot = family === "bots";
  const [status, setStatus] = useState("");
  const path = FAMILIES[family].history(job.id);
  const paged = usePaged(isBot ? null : path, { query: { status }, items: "items", limit: PAGE, slices: true });
  const listed = useApi(isBot ? path : null, { query: { limit: 200 } });
  const items = isBot ? listed.data : paged.first && paged.items;
  const { error, reload } = isBot ? listed : paged;
  const reloadSoon = useThrottled(reload, 700);
  useLive(["delivery"], (row) => row.jobId === job.id && reloadSoon());
  useLive(["job"], (event) => event.id === job.id && event.change === "changed" && reloadSoon());
  useLive(["poll", "resync"], reloadSoon);
  // The job tells that it ran before the history is asked again.
  const told = `${job.last_run_at} ${job.last_run_status}`;
  const [seen, setSeen] = useState(told);
  if (seen !== told) {
    setSeen(told);
    reloadSoon();
  }
  useRunning(items?.some((one) => isOpen(one.status) && ms(one.scheduled_for) < now() + 3000) ? [{ last_run_status: "running" }] : [], reload, 600);
  const filter = !isBot && html`<${Select} label=${t("Status")} hideLabel value=${status} onValue=${setStatus}
    options=${[{ value: "", label: t("All statuses") }, ...STATUSES.map((value) => ({ value, label: statusLabel(value) }))]} />`;
  return html`<section class="panel-part history"><header class="part-head"><h3>${t("History")}</h3>${filter}</header>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!items && !error && html`<${Skeleton} lines=${4} />`}
    ${items?.length === 0 && html`<p class="muted">${status ? t("No run stands so.") : t("It has not run yet. Run it now to see what happens.")}</p>`}
    ${items?.length > 0 && html`<ul class="lines">${items.map((one) => html`<${Run} key=${one.id} run=${one} isBot=${isBot} onChanged=${reload} />`)}</ul>`}
    ${!isBot && paged.more && html`<div class="history-more"><${Button} kind="quiet" size="small" busy=${paged.loading} onClick=${paged.loadMore}>${t("Load more")}</${Button}></div>`}
  </section>`;
}

/** What went wrong, unless the status of the answer says it all. */
const errorOf = ({ error, response_code: code }) => (error === `HTTP ${code}` ? null : error);

/** One line of the history; it opens. */
function Run({ run, isBot, onChanged }) {
  const [open, setOpen] = useState(false);
  const at = run.started_at ?? run.scheduled_for;
  const took = run.duration_ms ?? (run.finished_at ? ms(run.finished_at) - ms(run.started_at) : null);
  const facts = [
    run.attempt > 1 && t("attempt {number}", { number: run.attempt }),
    run.response_code,
    took !== null && !Number.isNaN(took) && lateness(took),
    run.skipped_count > 1 && t("{count} runs", { count: number(run.skipped_count) }),
    // When a further attempt is due, nobody tells: the run's own time is over.
    run.status === "queued" && !(run.attempt > 1) && html`<${Countdown} at=${run.scheduled_for} />`,
  ].filter(Boolean);
  return html`<li class=${`run ${open ? "open" : ""}`}>
    <button type="button" class="line run-head" aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>
      <span class="run-status"><${RunBadge} status=${run.status} isBot=${isBot} /></span>
      <span class="line-main"><${Instant} at=${at} />${errorOf(run) && html` <span class="muted">${errorOf(run)}</span>`}</span>
      <span class="muted run-facts">${facts.map((fact, index) => html`<span key=${index}>${fact}</span>`)}</span>
      <${Icon} name="chevron" size=${16} />
    </button>
    ${open && html`<${RunDetails} run=${run} isBot=${isBot} onChanged=${onChanged} />`}
  </li>`;
}

function RunDetails({ run, isBot, onChanged }) {
  // What the webhook answered is told one by one.
  const ended = !isBot && !isOpen(run.status) && run.status !== "skipped";
  const found = useApi(ended ? `/api/executions/${seg(run.id)}` : null);
  const [again, busy, error] = useAction(async () => {
    await post(`/api/executions/${seg(run.id)}/retry`);
    toast(t("A further attempt is under way"));
    await onChanged();
  });
  const late = run.attempt === 1 && run.started_at ? ms(run.started_at) - ms(run.scheduled_for) : null;
  const facts = [
    [t("Due"), html`<${Instant} at=${run.scheduled_for} kind="long" />`],
    [t("Began"), run.started_at && html`<span title=${dateTime(run.started_at)}><${Instant} at=${run.started_at} kind="precise" />${late !== null && ` · ${t("{late} late", { late: lateness(late) })}`}</span>`],
    [t("Ended"), run.finished_at && run.status !== "skipped" && html`<${Instant} at=${run.finished_at} kind="precise" />`],
    [t("Answer"), run.response_code],
    [t("Error"), errorOf(run)],
    [t("Why"), run.status === "skipped" && skipReason(run.skip_reason)],
    [t("Replica"), run.worker_id],
    [t("Execution id"), html`<code>${run.id}</code>`],
  ].filter(([, value]) => value);
  const body = found.data?.response_body;
  return html`<div class="run-details">
    <dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
    ${isBot && Object.keys(run.result ?? {}).length > 0 && html`<${JsonView} label=${t("Result")} value=${run.result} />`}
    ${ended && !found.data && !found.error && html`<${Skeleton} lines=${2} />`}
    ${found.error && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${found.data && (body ? html`<${JsonView} label=${t("Response")} text=${pretty(body)} />` : html`<p class="muted">${t("The response had no body.")}</p>`)}
    ${error && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
    ${ended && html`<div class="row"><${Button} size="small" busy=${busy} onClick=${again}>${t("Retry")}</${Button}></div>`}
  </div>`;
}

/** JSON in order, if it is all there; else as it came. */
function pretty(text) {
  try {
    // Digits are kept: only what a Number would tell the same way is put in order.
    const value = JSON.parse(text);
    return JSON.stringify(value) === text.replace(/\s(?=(?:[^"\\]|\\.|"(?:[^"\\]|\\.)*")*$)/g, "") ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}
