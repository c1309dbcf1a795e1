import { html } from "../lib.js";
import { msg, t } from "../i18n.js";
import { Button, Icon } from "./buttons.js";

/** What the API's status words mean here: tone, and a label. */
const STATUSES = {
  scheduled: ["neutral", msg("Scheduled")],
  delivering: ["info", msg("Delivering")],
  retrying: ["warn", msg("Retrying")],
  queued: ["info", msg("Queued")],
  running: ["info", msg("Running")],
  success: ["ok", msg("Delivered")],
  failure: ["bad", msg("Failed")],
  failed: ["bad", msg("Failed")],
  timed_out: ["bad", msg("Timed out")],
  dead_letter: ["bad", msg("Dead letter")],
  skipped: ["neutral", msg("Skipped")],
  healthy: ["ok", msg("Healthy")],
  degraded: ["warn", msg("Degraded")],
  unhealthy: ["bad", msg("Unhealthy")],
  enabled: ["ok", msg("Enabled")],
  disabled: ["neutral", msg("Paused")],
};

/** The API says status words in the reader's language; this is what they are called in programs. */
const PORTUGUESE = {
  agendada: "scheduled",
  "em entrega": "delivering",
  "aguardando nova tentativa": "retrying",
  substituída: "replaced",
  removida: "deleted",
  rejeitada: "rejected",
  "na fila": "queued",
  reagendada: "replayed",
  recebida: "received",
  sucesso: "success",
  falha: "failure",
  "tempo esgotado": "timed_out",
  saudável: "healthy",
  "não saudável": "unhealthy",
  degradado: "degraded",
  conectado: "connected",
  desconectado: "disconnected",
  "em execução": "running",
  parado: "stopped",
};

/** The English word of a status the API told in whatever language: compare this, never the word itself. */
export const statusOf = (word) => PORTUGUESE[word] ?? word;

/** A small label with a dot; the tone ("ok", "info", "warn", "bad", "neutral") never stands alone. */
export function Badge({ tone = "neutral", children, ...rest }) {
  return html`<span class=${`badge ${tone}`} ...${rest}><span class="dot" aria-hidden="true"></span>${children}</span>`;
}

/** The badge of a status as the API tells it. */
export function StatusBadge({ status, ...rest }) {
  const [tone, label] = STATUSES[statusOf(status)] ?? ["neutral", status];
  return html`<${Badge} tone=${tone} ...${rest}>${t(label)}</${Badge}>`;
}

export const statusLabel = (status) => t(STATUSES[statusOf(status)]?.[1] ?? status);
export const statusTone = (status) => STATUSES[statusOf(status)]?.[0] ?? "neutral";

/** A dot alone, for rows of them; `label` is its text for those who do not see colours. */
export function StatusDot({ tone = "neutral", label }) {
  return html`<span class=${`status-dot ${tone}`} role="img" aria-label=${label} title=${label}></span>`;
}

/** What stands where a list would, when there is nothing: a sentence that helps, and what to do. */
export function Empty({ title, children, action }) {
  return html`<div class="empty"><h2>${title}</h2>${children && html`<p>${children}</p>`}${action}</div>`;
}

/** Something the reader has to know. Errors and warnings are announced at once. */
export function Banner({ tone = "warn", title, children, action }) {
  return html`<div class=${`banner ${tone}`} role=${tone === "info" || tone === "ok" ? "status" : "alert"}>
    <${Icon} name=${tone === "ok" ? "check" : "warning"} />
    <div class="banner-text">${title && html`<strong>${title}</strong>`}${children && html`<div>${children}</div>`}</div>
    ${action}
  </div>`;
}

/** A request that failed, and a button to try again. */
export function Failure({ error, retry }) {
  return html`<${Banner} tone="bad" action=${retry && html`<${Button} size="small" onClick=${retry}>${t("Try again")}</${Button}>`}>${error.message}</${Banner}>`;
}

/** Grey bars where text will be: nothing jumps when it comes. */
export function Skeleton({ lines = 1, height }) {
  return html`<div class="skeleton" aria-hidden="true">${Array.from({ length: lines }, (_, index) => html`<span key=${index} class=${index % 3 === 2 ? "short" : ""} style=${height ? { height } : undefined}></span>`)}</div>`;
}

/** A block with a heading. */
export function Card({ title, aside, children, class: more = "" }) {
  return html`<section class=${`card ${more}`}>
    ${title && html`<header class="card-head"><h2>${title}</h2>${aside && html`<div class="card-aside">${aside}</div>`}</header>`}
    ${children}
  </section>`;
}

/** The head of a view: its name, and what can be done. */
export function PageHead({ title, children }) {
  return html`<div class="page-head"><h1 tabindex="-1">${title}</h1>${children && html`<div class="page-actions">${children}</div>`}</div>`;
}
