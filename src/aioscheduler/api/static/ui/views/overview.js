// What goes out next, what went wrong, how punctual it is.
import { html, useState } from "../lib.js";
import { t } from "../i18n.js";
import { bytes, duration, lateness, number, setServiceZone } from "../format.js";
import { useApi, useLive } from "../hooks.js";
import { link } from "../router.js";
import { statusOf, Banner, Button, Card, Countdown, Empty, Failure, Instant, PageHead, Plot, Skeleton, StatusBadge } from "../components.js";

const MINUTES = 60;

export default function Overview() {
  const health = useApi("/health/detailed", { also: [503], every: 10_000, on: ["resync"] });
  const metrics = useApi("/metrics", { every: 10_000, on: ["message", "delivery"], pause: 2000 });
  const next = useApi("/messages", { query: { limit: 10 }, on: ["message"], every: 30_000 });
  const activity = useApi("/activity", { query: { minutes: MINUTES }, also: [404], every: 20_000, on: ["delivery"], pause: 5000 });
  const punctuality = useApi("/punctuality", { every: 20_000, on: ["delivery"], pause: 5000 });
  // Events tell the figures each second; between streams they come with the metrics.
  const [figures, setFigures] = useState(null);
  useLive(["overview", "poll"], (data, kind) => setFigures(kind === "overview" ? data : null));
  if (health.data?.timezone) setServiceZone(health.data.timezone);

  const refused = [metrics, next, punctuality].find((one) => one.error)?.error;
  const retry = () => [health, metrics, next, activity, punctuality].forEach((one) => one.reload());
  return html`<${PageHead} title=${t("Overview")}>
      <${Button} kind="primary" icon="plus" href=${link("upcoming", { new: 1 })}>${t("New message")}</${Button}>
    </${PageHead}>
    ${refused && html`<${Failure} error=${refused} retry=${retry} />`}
    <${State} health=${health.data} />
    <${Figures} messages=${metrics.data?.messages} live=${figures} health=${health.data} />
    <div class="overview-plots"><${Activity} found=${activity.data} error=${activity.error} /></div>
    <div class="overview-columns">
      <${Next} list=${next} />
      <div class="overview-side">
        <${Punctuality} found=${punctuality.data} />
        <${Service} health=${health.data} />
      </div>
    </div>`;
}

/** Banners: what is not as it should be. */
function State({ health }) {
  if (!health) return null;
  const down = statusOf(health.status) === "unhealthy";
  const parts = [
    [health.database, "connected", t("the store does not answer")],
    [health.redis, "connected", t("the store's notifications do not come")],
    [health.scheduler_service, "running", t("the engine stands still")],
  ].filter(([word, good]) => statusOf(word) !== good).map(([, , text]) => text);
  const risks = health.store?.risks ?? [];
  return html`
    ${down && html`<${Banner} tone="bad" title=${t("The service is not healthy")}>${parts.join("; ")}.</${Banner}>`}
    ${risks.length > 0 && html`<${Banner} tone="warn" title=${t("The store could lose what it accepted")}>
      ${risks.length === 1 ? risks[0] : html`<ul>${risks.map((risk) => html`<li key=${risk}>${risk}</li>`)}</ul>`}</${Banner}>`}
    ${health.punctuality?.breached && html`<${Banner} tone="warn">
      ${t("In the last minute 1 of 100 deliveries left {late} late or later; the target is {target}.", { late: lateness(health.punctuality.p99_ms), target: lateness(health.punctuality.target_ms) })}</${Banner}>`}
    ${health.circuits_open?.length > 0 && html`<${Banner} tone="warn" title=${t("Left alone, because they fail")}>${health.circuits_open.join(", ")}</${Banner}>`}`;
}

function Figures({ messages, live, health }) {
  const known = messages && {
    pending: messages.pending, delivering: messages.leased, retrying: null, dead: messages.dead, overdue: messages.oldest_overdue_seconds,
  };
  const shown = live ? { ...live, overdue: live.oldestOverdueSeconds } : known;
  const overdue = (shown?.overdue ?? 0) >= 2;
  const tiles = [
    [t("Pending"), shown && number(shown.pending), link("upcoming")],
    [t("Delivering"), shown && number(shown.delivering), link("upcoming", { status: "delivering" })],
    [t("Retrying"), shown && number(shown.retrying), link("upcoming", { status: "retrying" })],
    [t("Dead letters"), shown && number(shown.dead), link("dead-letters"), shown?.dead > 0 ? "bad" : ""],
    [t("Oldest overdue"), shown && (overdue ? duration(shown.overdue * 1000) : t("none")), null, overdue ? "warn" : ""],
    [t("Replicas"), health && number(health.replicas)],
  ];
  return html`<dl class="figures">${tiles.map(([label, value, href, tone = ""]) => html`<div key=${label} class=${`figure ${tone}`}>
    <dt>${href ? html`<a href=${href}>${label}</a>` : label}</dt><dd>${value ?? html`<${Skeleton} />`}</dd></div>`)}</dl>`;
}

function Activity({ found, error }) {
  const minutes = found?.minutes;
  if (!minutes) {
    const waiting = !found && !error;
    return html`${[t("Deliveries per minute"), t("Lateness")].map((title) => html`<${Card} key=${title} title=${title} class="plot-card">
      ${waiting ? html`<${Skeleton} height="190px" />` : html`<p class="muted plot-none">${t("No data yet.")}</p>`}</${Card}>`)}`;
  }
  const times = minutes.map((one) => Date.parse(one.at));
  const all = minutes.reduce((sum, one) => sum + one.deliveries, 0);
  const failed = minutes.reduce((sum, one) => sum + one.failures, 0);
  const worst = Math.max(0, ...minutes.map((one) => one.latenessP99Ms ?? 0));
  const told = t("{count} delivery in the last hour, {failed} failed|{count} deliveries in the last hour, {failed} failed", { count: number(all), number: all, failed: number(failed) });
  const anyLateness = minutes.some((one) => one.latenessP99Ms !== null);
  const slowest = t("p99 at most {late} in the last hour", { late: lateness(worst) });
  return html`
    <${Card} title=${t("Deliveries per minute")} aside=${told} class="plot-card">
      <${Plot} label=${t("Deliveries per minute")} times=${times} summary=${told} series=${[
        { label: t("Deliveries"), values: minutes.map((one) => one.deliveries), colour: "--accent-plot", kind: "bars" },
        { label: t("Failures"), values: minutes.map((one) => one.failures), colour: "--bad-plot", kind: "bars" },
      ]} />
    </${Card}>
    <${Card} title=${t("Lateness")} aside=${anyLateness ? slowest : t("nothing was due")} class="plot-card">
      <${Plot} label=${t("Lateness")} times=${times} summary=${slowest} format=${lateness} min=${10} series=${[
        { label: "p99", values: minutes.map((one) => one.latenessP99Ms), colour: "--accent-plot", fill: true },
        { label: "p50", values: minutes.map((one) => one.latenessP50Ms), colour: "--ok-plot" },
      ]} />
    </${Card}>`;
}

function Next({ list }) {
  const rows = list.data?.scheduledJobs;
  const aside = list.data && html`<a href=${link("upcoming")}>${t("All {count}", { count: number(list.data.total) })}</a>`;
  return html`<${Card} title=${t("Next due")} aside=${aside}>
    ${!rows && !list.error && html`<${Skeleton} lines=${5} height="40px" />`}
    ${rows?.length === 0 && html`<${Empty} title=${t("Nothing is scheduled")} action=${html`<${Button} href=${link("upcoming", { new: 1 })}>${t("New message")}</${Button}>`}>
      ${t("A message is one webhook call at an instant of your choice. Schedule the first one to the built-in inbox and watch it arrive.")}</${Empty}>`}
    ${rows?.length > 0 && html`<ul class="next-list">${rows.map((row) => html`<li key=${row.messageId}>
      <a class="next-id" href=${link("upcoming", { id: row.messageId })}>${row.messageId}</a>
      <span class="next-target muted">${statusOf(row.status) !== "scheduled" && html`<${StatusBadge} status=${row.status} /> `}${row.job}</span>
      <span class="next-when"><${Countdown} at=${row.nextRun} /><span class="muted"><${Instant} at=${row.nextRun} /></span></span>
    </li>`)}</ul>`}
  </${Card}>`;
}

function Punctuality({ found }) {
  const windows = [["minute", t("Last minute")], ["hour", t("Last hour")], ["day", t("Last day")]];
  return html`<${Card} title=${t("Punctuality")} aside=${t("how late first attempts left")}>
    <table class="plain">
      <thead><tr><th scope="col"><span class="hidden">${t("Window")}</span></th><th scope="col" class="end">${t("Sent")}</th><th scope="col" class="end">p50</th><th scope="col" class="end">p99</th><th scope="col" class="end">${t("Worst")}</th></tr></thead>
      <tbody>${windows.map(([name, label]) => {
        const its = found?.[name];
        const tell = (value) => (its ? lateness(value) : "–");
        return html`<tr key=${name}><th scope="row">${label}</th><td class="end">${its ? number(its.deliveries) : "–"}</td><td class="end">${tell(its?.p50_ms)}</td><td class="end">${tell(its?.p99_ms)}</td><td class="end">${tell(its?.worst_ms)}</td></tr>`;
      })}</tbody>
    </table>
  </${Card}>`;
}

function Service({ health }) {
  if (!health) return html`<${Card} title=${t("Service")}><${Skeleton} lines=${5} /></${Card}>`;
  const { store } = health;
  const facts = [
    [t("Version"), health.version],
    [t("Uptime"), health.uptime],
    [t("Time zone"), health.timezone],
    [t("Store"), store && (store.kind === "embedded" ? t("{version}, its own", { version: store.version }) : store.version)],
    [t("Persistence"), store && t(store.persistence)],
    [t("Memory of the store"), store && bytes(store.used_memory_bytes)],
    [t("On the wire"), number(health.in_flight)],
  ].filter(([, value]) => value !== undefined && value !== null);
  return html`<${Card} title=${t("Service")} aside=${html`<${StatusBadge} status=${health.status} />`}>
    <dl class="facts">${facts.map(([label, value]) => html`<div key=${label}><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>
  </${Card}>`;
}
