// What is delivered, as it happens.
import { html, useEffect, useRef, useState } from "../lib.js";
import { t } from "../i18n.js";
import { lateness, number } from "../format.js";
import { useSettled } from "../hooks.js";
import { go, link, route } from "../router.js";
import { Button, Empty, Instant, PageHead, Select, StatusBadge, statusLabel, Table, TextField, toldBy } from "../components.js";
import { Details, idOf } from "./deliveries/details.js";
import { useTail } from "./deliveries/tail.js";

/** Further down one reads, and what comes must not push it away. */
const READING_PX = 160;
const STATUSES = ["success", "failure", "timed_out"];
const change = (params, options) => go("deliveries", { ...route.get().params, ...params }, options);

export default function Deliveries({ params }) {
  const [paused, setPaused] = useState(false);
  const reading = useReading();
  const query = { status: params.status, messageId: params.message, jobId: params.job };
  const isFiltered = Object.values(query).some(Boolean);
  const tail = useTail(query, paused || reading);
  const [text, setText] = useState("");
  const wanted = useSettled(text.trim().toLowerCase(), 150);
  const chosen = useRef(null);

  const waiting = tail.first === null && tail.loading;
  const kept = useRef([]);
  if (!waiting) kept.current = tail.rows;
  const loaded = waiting ? kept.current : tail.rows;
  const rows = wanted ? loaded.filter((row) => tells(row, wanted)) : loaded;
  // Its panel stays when the row goes from the list.
  if (chosen.current?.id !== params.delivery) chosen.current = null;
  chosen.current ??= loaded.find((row) => row.id === params.delivery) ?? null;

  const resume = () => {
    setPaused(false);
    scrollTo({ top: 0 });
    tail.show();
  };
  const clear = () => {
    setText("");
    change({ status: null, message: null, job: null });
  };

  const columns = [
    { key: "id", title: t("Message or job"), render: (row) => html`<span title=${idOf(row)}>${idOf(row)}</span>` },
    { key: "status", title: t("Status"), width: "8rem", render: (row) => html`<${StatusBadge} status=${row.status} />` },
    { key: "late", title: t("Lateness"), width: "6rem", align: "end", render: (row) => lateness(row.latenessMs) },
    { key: "attempt", title: t("Attempt"), width: "5.5rem", align: "end", narrow: "hide", render: (row) => number(row.attempt) },
    { key: "took", title: t("Took"), width: "6rem", align: "end", narrow: "hide", render: (row) => html`<span class="muted">${lateness(row.durationMs)}</span>` },
    { key: "answer", title: t("Answer"), render: (row) => html`<span title=${row.error}>${row.responseCode !== null && html`<b class="dlv-code">${row.responseCode}</b>`} <span class="muted">${toldBy(row)}</span></span>` },
    { key: "ended", title: t("Ended"), width: "9rem", align: "end", render: (row) => html`<span class="muted"><${Instant} at=${row.finishedAt} /></span>` },
  ];
  const only = params.message !== undefined ? "message" : params.job !== undefined ? "job" : "";

  return html`<${PageHead} title=${t("Deliveries")}>
      <${Hidden} hidden=${tail.hidden} paused=${paused} reading=${reading} />
      <${Button} class="dlv-pause" icon=${paused ? "play" : "pause"} onClick=${() => (paused ? resume() : setPaused(true))}>${paused ? t("Resume") : t("Pause")}</${Button}>
    </${PageHead}>
    <div class="toolbar">
      <${TextField} label=${t("Search")} type="search" name="search" class="dlv-search" placeholder=${t("id, answer or error")} value=${text} onValue=${setText} />
      <${Select} label=${t("Status")} value=${params.status ?? ""} onValue=${(status) => change({ status })}
        options=${[{ value: "", label: t("All") }, ...STATUSES.map((status) => ({ value: status, label: statusLabel(status) }))]} />
      <${Only} kind=${only} id=${params[only] ?? ""} />
    </div>
    <div class=${waiting ? "dlv-list waiting" : "dlv-list"}>
      <${Table} ...${tail} label=${t("Deliveries")} rows=${rows} rowKey=${(row) => row.id} columns=${columns}
        more=${wanted ? false : tail.more} total=${wanted || !tail.more ? rows.length : undefined} rowHref=${(row) => link("deliveries", { ...params, delivery: row.id })}
        empty=${wanted ? html`<${Empty} title=${t("None fits")}>${t("The search looks at the ids, answers and errors that are loaded.")}</${Empty}>` : html`<${Nothing} isFiltered=${isFiltered} onClear=${clear} />`} />
      ${wanted && html`<p class="dlv-looked muted" role="status"><span>${t("{found} of the latest {count} deliveries", { found: number(rows.length), count: number(loaded.length) })}</span>
        ${tail.more && html`<${Button} size="small" busy=${tail.loading} onClick=${tail.loadMore}>${t("Look further back")}</${Button}>`}</p>`}
    </div>
    ${reading && tail.hidden > 0 && html`<div class="dlv-new"><${Button} kind="primary" size="small" onClick=${resume}>${t("One new delivery|{count} new deliveries", { count: number(tail.hidden), number: tail.hidden })}</${Button}></div>`}
    ${params.delivery && (chosen.current || !waiting) && html`<${Details} row=${chosen.current} onClose=${() => change({ delivery: null })} />`}`;
}

/** Whether the reader has scrolled down. */
function useReading() {
  const look = () => scrollY > READING_PX;
  const [reading, setReading] = useState(look);
  useEffect(() => {
    const on = () => setReading(look());
    addEventListener("scroll", on, { passive: true });
    return () => removeEventListener("scroll", on);
  }, []);
  return reading;
}

const tells = (row, wanted) =>
  [idOf(row), row.executionId, row.responseCode, row.error, statusLabel(row.status)].some((part) => part !== null && part !== undefined && String(part).toLowerCase().includes(wanted));

function Hidden({ hidden, paused, reading }) {
  if (!paused && !reading) return null;
  return html`<span class="muted dlv-hidden" role="status">${hidden ? t("One came since|{count} came since", { count: number(hidden), number: hidden }) : paused ? t("Nothing came since") : ""}</span>`;
}

/** All deliveries, or those of one message or job. */
function Only({ kind: given, id: givenId }) {
  const [kind, setKind] = useState(given);
  const [id, setId] = useState(givenId);
  const settled = useSettled(id);
  const told = useRef(`${given} ${givenId}`);
  useEffect(() => {
    if (told.current === `${given} ${givenId}`) return;
    told.current = `${given} ${givenId}`;
    setKind(given);
    setId(givenId);
  }, [given, givenId]);
  const tell = (what, which) => {
    told.current = which ? `${what} ${which}` : " ";
    change({ message: what === "message" ? which : null, job: what === "job" ? which : null }, { replace: true });
  };
  useEffect(() => {
    if (kind && settled === id && settled !== givenId) tell(kind, settled.trim());
  }, [settled]);
  const choose = (value) => {
    setKind(value);
    setId("");
    if (givenId) tell("", "");
  };
  return html`<${Select} label=${t("Only")} value=${kind} onValue=${choose}
      options=${[{ value: "", label: t("everything") }, { value: "message", label: t("one message") }, { value: "job", label: t("one job") }]} />
    ${kind && html`<${TextField} label=${kind === "message" ? t("Message id") : t("Job id")} name="only" class="dlv-only" value=${id} onValue=${setId} />`}`;
}

function Nothing({ isFiltered, onClear }) {
  if (isFiltered) {
    return html`<${Empty} title=${t("None fits")} action=${html`<${Button} onClick=${onClear}>${t("Show all")}</${Button}>`}>${t("No delivery in the log is like that. New ones that are appear here.")}</${Empty}>`;
  }
  return html`<${Empty} title=${t("Nothing was delivered yet")} action=${html`<${Button} kind="primary" icon="plus" href=${link("upcoming", { new: 1 })}>${t("New message")}</${Button}>`}>
    ${t("Each attempt appears here the moment it ends, with how late it was and what the receiver answered.")}</${Empty}>`;
}
