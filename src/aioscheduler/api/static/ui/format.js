// Numbers, instants and durations as a reader wants them. Instants are milliseconds, a Date, or the API's text.
import { locale, t } from "./i18n.js";

const formats = new Map();

function cached(kind, options) {
  const key = `${kind.name}|${locale()}|${JSON.stringify(options)}`;
  let found = formats.get(key);
  if (!found) formats.set(key, (found = new kind(locale(), options)));
  return found;
}

let offset = 0;
let zone = null;

/** The service's clock, told by the timestamps of its answers; small differences are the network's. */
export function setServiceTime(text) {
  const difference = Date.parse(text) - Date.now();
  if (Number.isFinite(difference)) offset = Math.abs(difference) > 2000 ? difference : 0;
}

/** Milliseconds since 1970 by the service's clock, as far as we know it. */
export const now = () => Date.now() + offset;

/** The service's TIMEZONE, for titles. */
export function setServiceZone(name) {
  zone = name ?? null;
}

export const ms = (instant) =>
  instant === null || instant === undefined ? NaN : typeof instant === "string" ? Date.parse(instant) : Number(instant);

export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return cached(Intl.NumberFormat, { maximumFractionDigits: digits }).format(value);
}

export const percent = (value) =>
  value === null || value === undefined ? "–" : `${cached(Intl.NumberFormat, { maximumFractionDigits: 1 }).format(value)} %`;

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${number(value, value < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

/** "21 Nov 2026, 10:41:07" */
export function dateTime(instant) {
  const at = ms(instant);
  return Number.isNaN(at) ? "–" : cached(Intl.DateTimeFormat, { dateStyle: "medium", timeStyle: "medium" }).format(at);
}

/** The time alone when it is today, else with the day: for tables. */
export function shortDateTime(instant) {
  const at = ms(instant);
  if (Number.isNaN(at)) return "–";
  const day = new Date(at);
  const today = new Date(now());
  const time = cached(Intl.DateTimeFormat, { timeStyle: "medium" }).format(at);
  if (day.toDateString() === today.toDateString()) return time;
  const sameYear = day.getFullYear() === today.getFullYear();
  const options = { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) };
  return `${cached(Intl.DateTimeFormat, options).format(at)}, ${time}`;
}

/** "10:41", for axes. */
export const clock = (instant) => cached(Intl.DateTimeFormat, { timeStyle: "short" }).format(ms(instant));

/** "Tue 14:00", for axes of several days. */
export const weekdayTime = (instant) =>
  cached(Intl.DateTimeFormat, { weekday: "short", hour: "2-digit", minute: "2-digit" }).format(ms(instant));

/** "10:41:07.123" */
export function preciseTime(instant) {
  const at = ms(instant);
  if (Number.isNaN(at)) return "–";
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 };
  return cached(Intl.DateTimeFormat, options).format(at);
}

/** The instant in the service's zone, for a title: "2026-11-21 07:41:07.123 America/Sao_Paulo" */
export function inServiceZone(instant) {
  const at = ms(instant);
  if (Number.isNaN(at)) return "";
  if (zone === null) return typeof instant === "string" ? instant : new Date(at).toISOString();
  const options = {
    timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
    second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
  };
  return `${new Intl.DateTimeFormat("sv-SE", options).format(at).replace(",", ".")} ${zone}`;
}

/** How late: "12 ms", "0.3 s" from 100 ms on, "1 min 05 s" from a minute on. */
export function lateness(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const late = Math.max(0, value);
  if (late < 99.5) return `${number(Math.round(late))} ms`;
  if (late < 59_950) {
    const digits = late < 9_950 ? 1 : 0;
    const format = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    return `${cached(Intl.NumberFormat, format).format(late / 1000)} s`;
  }
  return duration(late);
}

/** The two largest units that count: "45 s", "2 min 05 s", "3 h 20 min", "4 d 2 h". */
export function duration(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const seconds = Math.max(0, Math.floor(value / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${number(Math.floor(hours / 24))} d ${hours % 24} h`;
}

/** Until an instant, as words: "in 12 s", "now", "12 s overdue". */
export function until(instant, at = now()) {
  const left = ms(instant) - at;
  if (Number.isNaN(left)) return "–";
  // Rounded up, so that it says "in 1 s" until the second is over.
  if (left > 0) return t("in {duration}", { duration: duration(Math.ceil(left / 1000) * 1000) });
  if (left > -2000) return t("now");
  return t("{duration} overdue", { duration: duration(-left) });
}

/** How long ago, as words: "just now", "12 s ago". */
export function ago(instant, at = now()) {
  const since = at - ms(instant);
  if (Number.isNaN(since)) return "–";
  return since < 2000 ? t("just now") : t("{duration} ago", { duration: duration(since) });
}

/** What `<input type=datetime-local>` reads: the instant in the reader's zone, to the second. */
export function toLocalInput(instant) {
  const at = ms(instant);
  if (Number.isNaN(at)) return "";
  // Not by the zone's offset: it is told in whole minutes, and the years one types on the way to 2026 have seconds in theirs.
  const local = new Date(at);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${String(local.getFullYear()).padStart(4, "0")}-${two(local.getMonth() + 1)}-${two(local.getDate())}`;
  return `${day}T${two(local.getHours())}:${two(local.getMinutes())}:${two(local.getSeconds())}`;
}

/** The instant such a field holds, as a Date; null when it is empty or none. */
export function fromLocalInput(text) {
  const at = new Date(text);
  return text && !Number.isNaN(at.getTime()) ? at : null;
}
