// What goes out next: found, looked into, made, moved, sent, deleted.
import { html, useEffect, useMemo, useRef, useState } from "../lib.js";
import { t } from "../i18n.js";
import { del, post, seg } from "../api.js";
import { lateness, ms, now, number } from "../format.js";
import { useApi, useLive, useNarrow, usePaged, useThrottled, useTyped } from "../hooks.js";
import { go, link, route } from "../router.js";
import {
  statusOf, Badge, Button, ConfirmDialog, Countdown, Empty, Instant, Menu, PageHead, Select, Skeleton, StatusBadge, Table,
  TextField, toast,
} from "../components.js";
import { DeleteByPrefix } from "./upcoming/bulk.js";
import { Details } from "./upcoming/details.js";
import { NewMessage, Reschedule } from "./upcoming/form.js";
import { Inbox } from "./upcoming/inbox.js";
import { Timeline } from "./upcoming/timeline.js";

/** How long a row says what became of it before it goes, and how many do at once. */
const FAREWELL_MS = 5000;
const MOST_FAREWELLS = 20;
const FRESH_MS = 2400;
/** Longer lists are not read again when something changes. */
const MOST_READ_AGAIN = 1000;

const change = (params, options) => go("upcoming", { ...route.get().params, ...params }, options);

const idOf = (found) => found.messageId ?? found.id;

/** A search tells messages as they were given: as rows of the list. */
const rowOf = (found) =>
  "messageId" in found ? found : { ...found, messageId: found.id, job: `${found.method ?? "POST"} ${found.webhookUrl}` };

/** Rows that ended stay where they stood, for a moment. */
function withEnded(items, ended) {
  if (!ended.size) return items;
  const rows = items.filter((row) => !ended.has(row.messageId));
  const gone = [...ended.values()].sort((one, other) => one.place - other.place);
  for (const one of gone) rows.splice(Math.min(one.place, rows.length), 0, { ...one.row, ended: one });
  return rows;
}

/** The rows that ended a moment ago, by id: `{row, place, change, late}`; each is forgotten after a while. */
function useEnded(list) {
  const [ended, setEnded] = useState(new Map());
  const latest = useRef({});
  latest.current = { items: list.items, ended };
  const timers = useRef(new Map());
  useEffect(() => () => timers.current.forEach(clearTimeout), []);
  // A list that is read again may lose a row before its event comes: then this is where it stood.
  const lost = useRef(new Map());
  const before = useRef([]);
  useEffect(() => {
    if (list.first === null) lost.current.clear();
    else if (before.current.length <= MOST_READ_AGAIN) {
      const there = new Set(list.items.map(idOf));
      before.current.forEach((row, place) => there.has(idOf(row)) || lost.current.set(idOf(row), { row, place }));
      for (const id of lost.current.keys()) if (lost.current.size > MOST_FAREWELLS) lost.current.delete(id);
    }
    before.current = list.first === null ? [] : list.items;
  }, [list.items, list.first]);

  const forget = (id) => setEnded((old) => {
    const next = new Map(old);
    return next.delete(id) ? next : old;
  });
  const end = (id, what) => {
    const { items, ended: known } = latest.current;
    const there = items.findIndex((row) => idOf(row) === id);
    const found = known.get(id) ?? (there >= 0 ? { row: items[there], place: there } : lost.current.get(id));
    if (!found) return;
    setEnded((old) => {
      const next = new Map(old);
      next.set(id, { row: rowOf(found.row), place: found.place, late: null, ...old.get(id), ...what });
      while (next.size > MOST_FAREWELLS) next.delete(next.keys().next().value);
      return next;
    });
    clearTimeout(timers.current.get(id));
    timers.current.set(id, setTimeout(() => {
      timers.current.delete(id);
      // What is not read again would come back.
      list.setItems((all) => (all.length > MOST_READ_AGAIN ? all.filter((one) => idOf(one) !== id) : all));
      forget(id);
    }, FAREWELL_MS));
  };
  return [ended, end, forget];
}

function useMessages(filters) {
  const query = {
    ...(filters.q ? { [filters.in === "begins" ? "prefix" : "contains"]: filters.q } : {}),
    status: filters.status, destination: filters.to,
  };
  const path = filters.q ? "/messages/search" : "/messages";
  const list = usePaged(path, { query, items: filters.q ? "messages" : "scheduledJobs", limit: 100, further: 1000, on: ["message"], pause: 1500 });
  const [ended, end, forget] = useEnded(list);
  const [stale, setStale] = useState(false);
  const [fresh, setFresh] = useState(new Set());
  const known = useRef(new Set());
  const again = useThrottled(() => list.items.length <= MOST_READ_AGAIN && list.reload(), 1500);

  useLive(["message", "delivery"], (data, kind) => {
    if (kind === "delivery") {
      if (!data.messageId) return;
      if (statusOf(data.status) === "success") end(data.messageId, { change: "delivered", late: data.latenessMs });
      else again();
    } else if (data.change === "scheduled") {
      forget(data.id);
      known.current.add(data.id);
      if (list.items.length > MOST_READ_AGAIN) setStale(true);
    } else end(data.id, { change: data.change });
  });
  // What is due and still stands there is being delivered, or waits: no event tells.
  useEffect(() => {
    const timer = setInterval(() => {
      const first = list.items.slice(0, 50).some((row) => ms(row.nextRun) < now() - 1500 || statusOf(row.status) === "delivering");
      if (first && !document.hidden) again();
    }, 2000);
    return () => clearInterval(timer);
  }, [list.items]);
  // New rows are marked when they are read, not when they are told of.
  useEffect(() => {
    if (!known.current.size) return undefined;
    const there = list.items.map(idOf).filter((id) => known.current.delete(id));
    if (known.current.size > 1000) known.current.clear();
    if (!there.length) return undefined;
    setFresh(new Set(there));
    const timer = setTimeout(() => setFresh(new Set()), FRESH_MS);
    return () => clearTimeout(timer);
  }, [list.items]);
  useEffect(() => setStale(false), [list.first]);

  const rows = useMemo(() => {
    let items = list.items;
    if (filters.q) {
      items = items.map(rowOf);
      // They come by id; where all are there, their time is the better order.
      if (list.first?.nextCursor === null) items = items.sort((one, other) => ms(one.nextRun) - ms(other.nextRun));
    }
    return withEnded(items, ended);
  }, [list.items, ended]);
  return { list, rows, fresh, stale };
}

export default function Upcoming({ params }) {
  const { q = "", to: destination = "" } = params;
  const [search, setSearch] = useTyped(q, (text) => change({ q: text }, { replace: true }));
  const [to, setTo] = useTyped(destination, (text) => change({ to: text }, { replace: true }));
  const filters = { q, in: params.in, status: params.status, to: destination };
  const { list, rows, fresh, stale } = useMessages(filters);
  const [asking, setAsking] = useState(null);
  const counted = useApi(q ? "/messages/count" : null, { query: { [params.in === "begins" ? "prefix" : "contains"]: q }, on: ["message"], pause: 3000 });
  const narrow = useNarrow();
  const [begunFiltered] = useState(Boolean(params.in || params.status || destination));
  const filtered = Boolean(q || params.status || destination);
  const ask = (what, id) => setAsking({ what, id });
  const done = () => setAsking(null);

  // While others are asked for, the rows before them stand.
  const waiting = list.first === null && list.loading;
  const kept = useRef([]);
  if (!waiting) kept.current = rows;
  const shown = waiting ? kept.current : rows;
  const nowhere = list.error?.of?.("destination");

  const columns = [
    { key: "id", title: t("Message"), render: (row) => html`<span title=${row.messageId}>${row.messageId}</span>` },
    { key: "target", title: t("Target"), render: (row) => html`<span class="muted" title=${row.job}>${row.job.replace(/^POST /, "")}</span>` },
    { key: "due", title: t("Due"), width: "9.25rem", render: (row) => html`<${DueCell} row=${row} />` },
    { key: "at", title: t("At"), width: "9.25rem", narrow: "hide", render: (row) => html`<span class="muted"><${Instant} at=${row.nextRun} /></span>` },
    { key: "status", title: t("Status"), width: "11rem", render: (row) => html`<${StatusCell} row=${row} />` },
  ];
  const actions = (row) => row.ended ? [] : [
    { label: t("Send now"), onClick: () => ask("send", row.messageId) },
    { label: t("Delete"), tone: "danger", onClick: () => ask("delete", row.messageId) },
  ];
  const rowClass = (row) => (row.ended ? `upcoming-${row.ended.change}` : fresh.has(row.messageId) ? "fresh" : "");
  const destinations = useMemo(() => [...new Set(list.items.slice(0, 2000).map((row) => originOf(row.webhookUrl)))].filter(Boolean).slice(0, 50), [list.items]);

  const filterFields = html`
      <${Select} label=${t("Found")} value=${params.in ?? ""} onValue=${(value) => change({ in: value }, { replace: true })}
        options=${[{ value: "", label: t("anywhere in the id") }, { value: "begins", label: t("at its beginning") }]} />
      <${Select} label=${t("Status")} value=${params.status ?? ""} onValue=${(value) => change({ status: value }, { replace: true })}
        options=${[{ value: "", label: t("All") }, { value: "scheduled", label: t("Scheduled") }, { value: "delivering", label: t("Delivering") }, { value: "retrying", label: t("Retrying") }]} />
      <${TextField} label=${t("Destination")} type="url" name="destination" class="upcoming-to" list="upcoming-destinations" placeholder="https://example.com" value=${to} error=${nowhere} onValue=${setTo} />
      <datalist id="upcoming-destinations">${destinations.map((one) => html`<option key=${one} value=${one}></option>`)}</datalist>`;
  const others = [
    { label: t("Inbox"), onClick: () => change({ inbox: 1 }) },
    { label: t("Delete by prefix"), onClick: () => ask("bulk", null) },
  ];

  return html`<${PageHead} title=${t("Upcoming")}>
      ${narrow
        ? html`<${Menu} iconOnly icon="more" label=${t("More")} items=${others} class="at-end" />`
        : others.map(({ label, onClick }, index) => html`<${Button} key=${label} kind=${index ? "secondary" : "quiet"} onClick=${onClick}>${label}</${Button}>`)}
      <${Button} kind="primary" icon="plus" onClick=${() => change({ new: 1 })}>${t("New message")}</${Button}>
    </${PageHead}>
    <${Timeline} />
    <div class="toolbar upcoming-toolbar">
      <${TextField} label=${t("Search")} type="search" name="search" class="upcoming-search" placeholder=${t("Text in the id")} maxlength="512" value=${search} onValue=${setSearch} />
      ${narrow ? html`<details class="upcoming-filters" open=${begunFiltered}><summary>${t("Filters")}</summary>${filterFields}</details>` : filterFields}
    </div>
    <div class="upcoming-count">
      <p class="muted">${told({ list, counted: counted.data, filters, waiting })}</p>
      ${stale && html`<${Button} kind="quiet" size="small" onClick=${() => { list.restart(); scrollTo(0, 0); }}>${t("Changed meanwhile: read again")}</${Button}>`}
    </div>
    <div class=${`upcoming-list ${waiting && shown.length ? "waiting" : ""}`} aria-busy=${waiting ? "true" : undefined}>
      ${waiting && !shown.length
        ? html`<div class="table-frame upcoming-waiting"><${Skeleton} lines=${8} height="20px" /></div>`
        : nowhere
          ? html`<div class="table-frame"><${Empty} title=${t("No such destination")}>${t("A destination is a scheme, a host and a port, such as https://example.com:8443.")}</${Empty}></div>`
          : html`<${Table} ...${list} loading=${list.loading && !waiting} more=${list.more && !waiting} rows=${shown} label=${t("Messages")} total=${filtered ? undefined : list.first?.total}
              columns=${columns} rowKey=${(row) => row.messageId} rowHref=${(row) => link("upcoming", { ...params, id: row.messageId })}
              actions=${actions} actionsWidth="13rem" rowClass=${rowClass} empty=${html`<${Nothing} filtered=${filtered} />`} />`}
    </div>
    ${params.inbox && html`<${Inbox} onClose=${() => change({ inbox: null })} onNew=${() => change({ inbox: null, new: "inbox" })} />`}
    ${params.id && html`<${Details} key=${params.id} id=${params.id} onClose=${() => change({ id: null })}
      onSend=${() => ask("send", params.id)} onReschedule=${() => ask("reschedule", params.id)} onDelete=${() => ask("delete", params.id)} />`}
    ${params.new && html`<${NewMessage} key=${params.new} inbox=${params.new === "inbox"} onClose=${() => change({ new: null })} onDone=${() => { change({ new: null }); list.reload(); }} />`}
    ${asking?.what === "bulk" && html`<${DeleteByPrefix} prefix=${search} onClose=${done} onDone=${() => { done(); list.restart(); }} />`}
    ${asking?.what === "reschedule" && html`<${Reschedule} id=${asking.id} onClose=${done} onDone=${() => { done(); list.reload(); }} />`}
    ${asking?.what === "send" && html`<${ConfirmDialog} title=${t("Send {id} now?", { id: asking.id })} confirm=${t("Send now")} onClose=${done}
      onConfirm=${async () => { await post(`/messages/${seg(asking.id)}/run`); toast(t("It is on its way")); }}>
      <p>${t("It leaves at once instead of at its time.")}</p></${ConfirmDialog}>`}
    ${asking?.what === "delete" && html`<${ConfirmDialog} title=${t("Delete {id}?", { id: asking.id })} confirm=${t("Delete")} danger onClose=${done}
      onConfirm=${async () => { await del(`/messages/${seg(asking.id)}`); toast(t("Message deleted")); if (params.id === asking.id) change({ id: null }); list.reload(); }}>
      <p>${t("It will not be sent. An attempt that is on the wire now ends, and none follows.")}</p></${ConfirmDialog}>`}`;
}

function originOf(url) {
  try {
    return new URL(url).origin;
  } catch {
    return null;
  }
}

/** How many there are, as far as it is known. */
function told({ list, counted, filters, waiting }) {
  if (waiting || !list.first) return " ";
  if (filters.status || filters.to) {
    const count = list.items.length;
    return list.more ? t("More than {count} match", { count: number(count) }) : t("{count} message matches|{count} messages match", { count: number(count), number: count });
  }
  if (filters.q) {
    if (!counted) return " ";
    const { count, exact } = counted;
    return exact ? t("{count} message found|{count} messages found", { count: number(count), number: count }) : t("At least {count} messages found", { count: number(count) });
  }
  const { total } = list.first;
  return total ? t("{count} message by due time|{count} messages by due time", { count: number(total), number: total }) : " ";
}

function DueCell({ row }) {
  if (!row.ended) return html`<${Countdown} at=${row.nextRun} />`;
  const { late } = row.ended;
  return late === null ? "–" : html`<strong>${t("{late} late", { late: lateness(late) })}</strong>`;
}

function StatusCell({ row }) {
  if (!row.ended) return html`<${StatusBadge} status=${row.status} />`;
  const [tone, label] = { delivered: ["ok", t("Delivered")], dead: ["bad", t("Dead letter")], deleted: ["neutral", t("Deleted")] }[row.ended.change];
  return html`<${Badge} tone=${tone}>${label}</${Badge}>`;
}

function Nothing({ filtered }) {
  if (filtered) {
    const clear = html`<${Button} onClick=${() => change({ q: null, in: null, status: null, to: null })}>${t("Show all messages")}</${Button}>`;
    return html`<${Empty} title=${t("Nothing matches")} action=${clear}>${t("No scheduled message fits the search and the filters. What was sent stands under Deliveries.")}</${Empty}>`;
  }
  const first = html`<${Button} kind="primary" onClick=${() => change({ new: "inbox" })}>${t("Send one to the inbox")}</${Button}>`;
  return html`<${Empty} title=${t("Nothing is scheduled")} action=${first}>${t("A message is one webhook call at an instant of your choice. Try one: it goes to the service's own inbox and arrives in ten seconds.")}</${Empty}>`;
}
