// How many messages fall due when.
import { html, useRef, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { clock, now, number, weekdayTime } from "../../format.js";
import { useApi, useNarrow } from "../../hooks.js";
import { Card, Failure, Plot, Skeleton, Tabs } from "../../components.js";

const MINUTE = 60_000;
const HEIGHT = 120;
/** Bars begin at whole minutes, half hours and even hours, so that they stand still while time goes on. */
const STRETCHES = {
  hour: { step: MINUTE, buckets: 60, timeFormat: clock },
  day: { step: 30 * MINUTE, buckets: 48, timeFormat: clock },
  week: { step: 120 * MINUTE, buckets: 84, timeFormat: weekdayTime },
};

function query({ step, buckets }) {
  const zone = new Date(now()).getTimezoneOffset() * MINUTE;
  const from = Math.floor((now() - zone) / step) * step + zone;
  return { from: new Date(from).toISOString(), to: new Date(from + step * buckets).toISOString(), buckets };
}

export function Timeline() {
  const narrow = useNarrow();
  const [name, setName] = useState("hour");
  const stretch = STRETCHES[name];
  const found = useApi("/messages/timeline", { query: query(stretch), on: ["message"], pause: 5000, every: 15_000 });
  // While another stretch is asked for, the last one of its kind stands.
  const kept = useRef({});
  if (found.data) kept.current[name] = found.data;
  const shown = kept.current[name];
  const sum = shown?.buckets.reduce((all, one) => all + one.count, 0) ?? 0;
  const told = {
    hour: t("{count} message falls due in the next hour|{count} messages fall due in the next hour", { count: number(sum), number: sum }),
    day: t("{count} message falls due in the next day|{count} messages fall due in the next day", { count: number(sum), number: sum }),
    week: t("{count} message falls due in the next week|{count} messages fall due in the next week", { count: number(sum), number: sum }),
  }[name];
  const later = shown?.after ? ` · ${t("{count} later", { count: number(shown.after) })}` : "";
  const anyJobs = shown?.buckets.some((one) => one.jobs > 0);
  const counts = shown?.buckets.map((one) => one.count);
  const series = shown && [
    ...(anyJobs ? [{ label: t("Job runs"), values: shown.buckets.map((one) => one.count + one.jobs), told: shown.buckets.map((one) => one.jobs), colour: "--ok-plot", kind: "bars" }] : []),
    { label: t("Messages"), values: counts, colour: "--accent-plot", kind: "bars" },
  ];
  const tabs = [
    { id: "hour", label: narrow ? t("Hour") : t("Next hour") },
    { id: "day", label: narrow ? t("Day") : t("Next day") },
    { id: "week", label: narrow ? t("Week") : t("Next week") },
  ];
  return html`<${Card} class="upcoming-timeline">
    <div class="upcoming-timeline-head">
      <h2 class="hidden">${t("What falls due when")}</h2>
      <${Tabs} label=${t("What falls due when")} items=${tabs} value=${name} onValue=${setName} />
      <p class="muted">${shown ? `${told}${later}` : " "}</p>
    </div>
    ${found.error && !shown && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${!shown && !found.error && html`<${Skeleton} height=${`${HEIGHT + 24}px`} />`}
    ${shown && html`<${Plot} key=${name} label=${t("What falls due when")} summary=${told} height=${HEIGHT}
      times=${shown.buckets.map((one) => Date.parse(one.at))} series=${series} timeFormat=${stretch.timeFormat} />`}
  </${Card}>`;
}
