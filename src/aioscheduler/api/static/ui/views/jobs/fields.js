// Fields that several forms of jobs have, and what turns them into JSON and back.
import { html, useEffect, useId, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { useApi, useSettled } from "../../hooks.js";
import { Button, checkJson, JsonArea, TextField } from "../../components.js";
import { FAMILIES } from "./data.js";
import { Preview } from "./parts.js";

export const readerZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

let zones = null;
function allZones() {
  zones ??= ["UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])];
  return zones;
}

/** The name of a time zone, with those the browser knows to choose from. */
export function ZoneField(props) {
  const id = useId();
  return html`<div><${TextField} label=${t("Time zone")} list=${id} ...${props} /><datalist id=${id}>${allZones().map((name) => html`<option key=${name} value=${name} />`)}</datalist></div>`;
}

/** A number as text: `value` is what stands in the field. */
export const NumberField = (props) => html`<${TextField} type="number" inputmode="decimal" ...${props} />`;

/** What a field for a number means: undefined when it is empty, so that the default holds. */
export const numeric = (text) => (String(text).trim() === "" ? undefined : Number(text));

/** A cron expression, with some to begin with. */
export function CronField({ value, onValue, error, label }) {
  const choices = [
    [t("every 5 minutes"), "*/5 * * * *"],
    [t("hourly"), "0 * * * *"],
    [t("daily at 9"), "0 9 * * *"],
    [t("weekdays at 9"), "0 9 * * mon-fri"],
    [t("monthly"), "0 9 1 * *"],
  ];
  return html`<div class="stack-small">
    <${TextField} label=${label ?? t("Schedule")} class="mono-field" value=${value} onValue=${onValue} error=${error}
      hint=${t("Minute, hour, day of month, month, day of week.")} placeholder="0 9 * * mon-fri" />
    <div class="quick">${choices.map(([name, expression]) => html`<${Button} key=${expression} size="small" title=${expression} onClick=${() => onValue(expression)}>${name}</${Button}>`)}</div>
  </div>`;
}

/** A time of the day: `{hour, minute, second}`. */
export function TimeField({ value, onValue, error }) {
  const text = [value.hour, value.minute, ...(value.second ? [value.second] : [])].map((part) => String(part ?? 0).padStart(2, "0")).join(":");
  const change = (entered) => {
    const [hour, minute, second = "0"] = entered.split(":");
    if (minute !== undefined) onValue({ hour: Number(hour), minute: Number(minute), second: Number(second) });
  };
  return html`<${TextField} label=${t("Time")} type="time" step=${value.second ? 1 : 60} value=${text} onValue=${change} error=${error} />`;
}

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/** The days that "mon,wed" or "fri-mon" names. */
export function daysOf(text = "") {
  const found = new Set();
  for (const item of text.toLowerCase().split(",")) {
    const [first, last = first] = item.split("-").map((name) => DAYS.indexOf(name.trim()));
    if (first < 0 || last < 0) continue;
    for (let day = first; ; day = (day + 1) % 7) {
      found.add(DAYS[day]);
      if (day === last) break;
    }
  }
  return found;
}

const MONDAY = Date.UTC(2024, 0, 1);

/** Days of the week to tick: `value` is "mon,wed,fri". */
export function DaysField({ value, onValue, error, locale }) {
  const chosen = daysOf(value);
  const name = (index, style) => new Intl.DateTimeFormat(locale, { weekday: style, timeZone: "UTC" }).format(MONDAY + index * 86_400_000);
  const toggle = (day) => {
    if (!chosen.delete(day)) chosen.add(day);
    onValue(DAYS.filter((one) => chosen.has(one)).join(","));
  };
  return html`<fieldset class=${`days field ${error ? "invalid" : ""}`}><legend>${t("Days")}</legend>
    <div class="days-row">${DAYS.map((day, index) => html`<label key=${day} class="day"><input type="checkbox" checked=${chosen.has(day)} aria-label=${name(index, "long")} onChange=${() => toggle(day)} /><span aria-hidden="true">${name(index, "short").replace(".", "")}</span></label>`)}</div>
    ${error && html`<p class="error">${error}</p>`}
  </fieldset>`;
}

/** JSON that may be empty: `{value}` (undefined when it is empty) or `{error}`. */
export function optionalJson(text) {
  return text.trim() ? checkJson(text) : { value: undefined };
}

export const jsonText = (value) => (value === null || value === undefined ? "" : JSON.stringify(value, null, 2));

export const ObjectField = (props) => html`<${JsonArea} rows="3" ...${props} />`;

/** What is behind "More"; it opens by itself when something in it is wrong. */
export function MoreFields({ wrong, children }) {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (wrong) setOpen(true);
  }, [wrong]);
  return html`<details class="more-fields" open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>${t("More")}</summary>
    <div class="form">${children}</div>
  </details>`;
}

/**
 * What a schedule would do, asked for as one types: `{box, errors}`. `box` is to be drawn; `errors` says by field what is
 * wrong with it.
 */
export function usePreview(family, given, complete, zone) {
  // What was settled before may not have been complete.
  const asked = complete ? JSON.stringify(given) : "";
  const settled = useSettled(asked, 250);
  const [path, query] = settled ? FAMILIES[family].preview(JSON.parse(settled), 5) : [null];
  const { data, error, loading } = useApi(complete ? path : null, { query });
  const [last, setLast] = useState(null);
  useEffect(() => {
    if (data || error) setLast(data);
  }, [data, error]);
  const shown = error ? null : (data ?? last);
  const stale = loading || settled !== asked;
  const unknown = error && Object.keys(error.errors ?? {}).length === 0;
  const box = html`<section class=${`preview ${stale ? "stale" : ""}`} aria-label=${t("Next runs")} aria-live="polite">
    ${complete && !error ? html`<${Preview} found=${shown} zone=${zone} />`
      : html`<p class="muted preview-none">${unknown ? error.message : t("The next five runs stand here once the schedule is right.")}</p>`}
  </section>`;
  return { box, errors: complete && error ? (error.errors ?? {}) : {} };
}
