// Both families of jobs behind one face: where each is, what can be done with it, and its schedule in words.
import { useEffect, useState } from "../../lib.js";
import { language, locale, t } from "../../i18n.js";
import { del, get, patch, post, put, seg } from "../../api.js";
import { ms, now } from "../../format.js";

const account = (id) => `/api/jobs/${seg(id)}`;
const bot = (id) => `/scheduler/jobs/${seg(id)}`;

/** What differs between jobs of accounts, which call webhooks, and bot jobs. */
export const FAMILIES = {
  account: {
    path: account,
    history: (id) => `${account(id)}/executions`,
    enable: (id, enabled) => patch(`${account(id)}/${enabled ? "enable" : "disable"}`),
    run: (id) => post(`${account(id)}/run`),
    update: (id, body) => put(account(id), body),
    remove: (id) => del(account(id)),
    preview: ({ schedule, timezone }, count) => ["/api/jobs/preview", { schedule, timezone, count }],
  },
  bots: {
    path: bot,
    history: (id) => `${bot(id)}/history`,
    enable: (id, enabled) => post(`${bot(id)}/toggle`, { enabled }),
    run: (id) => post(`${bot(id)}/run`),
    update: (id, body) => put(bot(id), body),
    remove: (id) => del(bot(id)),
    preview: ({ schedule_type, schedule_config }, count) =>
      ["/scheduler/jobs/preview", { schedule_type, schedule_config: JSON.stringify(schedule_config), count }],
  },
};

export const familyName = (job) => ("bot_type" in job ? "bots" : "account");
export const familyOf = (job) => FAMILIES[familyName(job)];

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
export const isUuid = (text) => UUID.test(text);

/** A random UUID, also where the page did not come over https. */
export function newUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Answers for single rows: kept, and asked for only when a row stays on the screen. */
const MOST_KEPT = 2000;
const PATIENCE_MS = 120;
const told = new Map();

function useTold(key, ask) {
  const [, setSerial] = useState(0);
  useEffect(() => {
    if (key === null || told.has(key)) return undefined;
    let alive = true;
    const timer = setTimeout(async () => {
      try {
        const found = await ask();
        if (told.size >= MOST_KEPT) told.delete(told.keys().next().value);
        told.set(key, found);
        if (alive) setSerial((serial) => serial + 1);
      } catch {
        // What stands there without it has to do; the list tells when nothing works.
      }
    }, PATIENCE_MS);
    return () => {
      alive = false;
      clearTimeout(timer);
    };
  }, [key]);
  return told.get(key);
}

/** A job's schedule in the service's words; as it was written until they are there. */
export function useWords(job) {
  const [path, query] = familyOf(job).preview(job, 1);
  const key = `${language.get()} ${path} ${JSON.stringify(query)}`;
  const words = useTold(key, async () => (await get(path, { query })).description);
  return words ?? ("schedule" in job ? `${job.schedule} (${job.timezone})` : job.schedule_type);
}

/** How many executions are looked at for the last runs: a run has one for each attempt of each webhook. */
const LOOKED_AT = 24;

/** A job's last runs, the latest first; undefined until they are known. */
export function useRuns(job) {
  const { id, last_run_at: at, last_run_status: status } = job;
  const path = familyOf(job).history(id);
  return useTold(status === null ? null : `${id} ${at} ${status}`, async () => {
    const found = await get(path, { query: { limit: LOOKED_AT } });
    return "items" in found ? grouped(found.items) : found.map((run) => ({ ...run, run_id: run.id }));
  });
}

/** Worst first: what a run of several webhooks looks like. */
const WORST = ["dead_letter", "failed", "timed_out", "failure", "running", "queued", "skipped", "success"];

function grouped(executions) {
  const runs = new Map();
  for (const one of executions) {
    if (!runs.has(one.run_id)) runs.set(one.run_id, new Map());
    // Newest first: what comes later of the same webhook is an earlier attempt.
    const webhooks = runs.get(one.run_id);
    if (!webhooks.has(one.webhook_id)) webhooks.set(one.webhook_id, one);
  }
  return [...runs].map(([run_id, webhooks]) => {
    const [worst] = [...webhooks.values()].sort((a, b) => WORST.indexOf(a.status) - WORST.indexOf(b.status));
    return { ...worst, run_id };
  });
}

/** Call `reload` when a job is about to have run, and each `pause` ms while one runs: not all that runs tells an event. */
export function useRunning(jobs, reload, pause = 1500) {
  const soonest = Math.min(...jobs.map((job) => ms(job.next_run_at)).filter((at) => !Number.isNaN(at)), Infinity);
  const running = jobs.some((job) => isOpen(job.last_run_status));
  useEffect(() => {
    if (soonest === Infinity && !running) return undefined;
    const wait = running ? pause : Math.max(1500, soonest - now() + 600);
    // Beyond three weeks a timer would overflow, and nobody looks at the page that long.
    const timer = setInterval(() => document.hidden || reload(), Math.min(wait, 1_800_000_000));
    return () => clearInterval(timer);
  }, [soonest, running, reload, pause]);
}

export const isOpen = (status) => status === "queued" || status === "running";

const days = new Map();

/** "Mon", in the reader's zone. */
export function weekday(instant, style = "short") {
  const key = `${locale()} ${style}`;
  if (!days.has(key)) days.set(key, new Intl.DateTimeFormat(locale(), { weekday: style }));
  return days.get(key).format(ms(instant));
}

const moments = new Map();

/** "22 Nov, 09:00": without seconds where there are none, which is the rule for what runs by a schedule. */
export function moment(instant) {
  const at = ms(instant);
  const isToday = new Date(at).toDateString() === new Date(now()).toDateString();
  const isThisYear = new Date(at).getFullYear() === new Date(now()).getFullYear();
  const options = {
    // A month's name is long in Portuguese.
    ...(isToday ? {} : { day: "numeric", month: language.get() === "pt" ? "2-digit" : "short", ...(isThisYear ? {} : { year: "numeric" }) }),
    hour: "2-digit", minute: "2-digit", ...(at % 60_000 ? { second: "2-digit" } : {}),
  };
  const key = `${locale()} ${Object.keys(options)}`;
  if (!moments.has(key)) moments.set(key, new Intl.DateTimeFormat(locale(), options));
  return moments.get(key).format(at);
}

/** The time in another zone, where it is another one than the reader's: "21:00"; else null. */
export function timeIn(instant, zone) {
  if (!zone) return null;
  try {
    const there = new Intl.DateTimeFormat(locale(), { dateStyle: "short", timeStyle: "short", timeZone: zone }).format(ms(instant));
    const here = new Intl.DateTimeFormat(locale(), { dateStyle: "short", timeStyle: "short" }).format(ms(instant));
    return there === here ? null : new Intl.DateTimeFormat(locale(), { timeStyle: "short", timeZone: zone }).format(ms(instant));
  } catch {
    return null; // a zone this browser has not heard of
  }
}

/** Why an occurrence was not run. */
export function skipReason(reason) {
  switch (reason) {
    case "max_instances": return t("As many runs as the job may have at once were going on.");
    case "misfire": return t("Nobody could run it within the time it may be late.");
    case "coalesced": return t("Several runs were missed; this one was merged into the latest.");
    default: return reason ?? t("It was not run.");
  }
}
