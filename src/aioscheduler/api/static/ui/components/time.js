import { html } from "../lib.js";
import { ago, dateTime, inServiceZone, ms, preciseTime, shortDateTime, until } from "../format.js";
import { useNow } from "../hooks.js";

const machine = (instant) => (Number.isNaN(ms(instant)) ? undefined : new Date(ms(instant)).toISOString());

/** An instant in the reader's zone; the service's is the title. kind: "short" (default), "long" or "precise". */
export function Instant({ at, kind = "short" }) {
  const text = { short: shortDateTime, long: dateTime, precise: preciseTime }[kind](at);
  return html`<time datetime=${machine(at)} title=${inServiceZone(at)}>${text}</time>`;
}

/** How long until an instant, second by second. */
export function Countdown({ at }) {
  const now = useNow();
  return html`<time class=${`countdown ${ms(at) < now - 2000 ? "overdue" : ""}`} datetime=${machine(at)} title=${`${dateTime(at)} · ${inServiceZone(at)}`}>${until(at, now)}</time>`;
}

/** How long ago an instant was. */
export function Relative({ at }) {
  const now = useNow();
  return html`<time datetime=${machine(at)} title=${`${dateTime(at)} · ${inServiceZone(at)}`}>${ago(at, now)}</time>`;
}
