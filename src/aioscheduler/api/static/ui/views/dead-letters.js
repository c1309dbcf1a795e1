// What is not attempted any more: why, where to, and what can be done about it.
import { html, useEffect, useRef, useState } from "../lib.js";
import { t } from "../i18n.js";
import { del, post, seg } from "../api.js";
import { dateTime, number } from "../format.js";
import { useApi, useLive, useNarrow, usePaged, useThrottled, useTyped } from "../hooks.js";
import { go, link, route } from "../router.js";
import {
  Button, Card, ConfirmDialog, Empty, Failure, Menu, PageHead, Relative, Select, Skeleton, Table, TextField, toast,
} from "../components.js";
import { Bulk } from "./dead-letters/bulk.js";
import { Details } from "./dead-letters/details.js";
import { Mend } from "./dead-letters/mend.js";
import { canMend, canReplay, NOWHERE, REASONS, ReasonBadge, reasonHelp, reasonLabel, saidBy, shortDestination } from "./dead-letters/reasons.js";

/** Groups that are shown at once; the others wait behind a button. */
const FIRST_GROUPS = 5;
const MOST_FOLLOWED = 1000;
const change = (params, options) => go("dead-letters", { ...route.get().params, ...params }, options);

export default function DeadLetters({ params }) {
  const [search, setSearch] = useTyped(params.q ?? "", (q) => change({ q }, { replace: true }));
  const filter = Object.fromEntries(Object.entries({ prefix: params.q, reason: params.reason, destination: params.to }).filter(([, value]) => value));
  const isFiltered = Object.keys(filter).length > 0;
  const groups = useApi("/dead-letters/groups", { query: { limit: 200 }, every: 15_000 });
  const list = usePaged("/dead-letters", { query: filter, items: "deadLetters", limit: 100, further: 500 });
  const [ticked, setTicked] = useState(new Set());
  const [asking, setAsking] = useState(null);
  const [busy, setBusy] = useState(new Set());

  // Events are hints: what they did not tell is seen some time later.
  const seen = useRef(null);
  useEffect(() => {
    const total = groups.data?.total;
    if (seen.current !== null && total !== undefined && total !== seen.current && list.items.length <= MOST_FOLLOWED) list.reload();
    seen.current = total ?? seen.current;
  }, [groups.data]);
  const look = () => {
    groups.reload();
    if (list.items.length <= MOST_FOLLOWED) list.reload();
  };
  useLive(["letter"], ({ id }) => list.setItems((items) => (items.some((row) => row.id === id) ? items.filter((row) => row.id !== id) : items)));
  useFollowed(useThrottled(look, 2000), list.items, groups.data?.total);
  const key = JSON.stringify(filter);
  useEffect(() => setTicked(new Set()), [key]);

  // While others are asked for, the rows before them stand.
  const waiting = list.first === null && list.loading;
  const kept = useRef([]);
  if (!waiting) kept.current = list.items;
  const rows = waiting ? kept.current : list.items;
  const there = new Set(rows.map((row) => row.id));
  const chosen = [...ticked].filter((id) => there.has(id));

  const gone = (id) => {
    list.setItems((all) => all.filter((row) => row.id !== id));
    setTicked((old) => new Set([...old].filter((one) => one !== id)));
    groups.reload();
    if (route.get().params.id === id) change({ id: null });
  };
  const sent = (id, at) => {
    gone(id);
    toast(at ? t("{id} will be sent on {time}", { id, time: dateTime(at) }) : t("{id} is sent again", { id }), { action: { label: t("Watch"), onClick: () => go("deliveries", { message: id }) } });
  };
  const inFlight = useRef(new Set());
  const replay = async (letter) => {
    if (inFlight.current.has(letter.id)) return;
    inFlight.current.add(letter.id);
    setBusy(new Set(inFlight.current));
    try {
      await post(`/dead-letters/${seg(letter.id)}/replay`, {});
      if (letter.executionId) {
        gone(letter.id);
        toast(t("The job's run is made again"));
      } else sent(letter.id, null);
    } catch (error) {
      toast(saidBy(error), { tone: "bad", action: canMend(letter) ? { label: t("Mend"), onClick: () => setAsking({ what: "mend", id: letter.id }) } : null });
      if (error.status === 404) look();
    } finally {
      inFlight.current.delete(letter.id);
      setBusy(new Set(inFlight.current));
    }
  };
  const ask = (what, letter) => setAsking({ what, id: letter.id });
  const done = () => setAsking(null);

  const all = groups.data?.groups ?? [];
  const fits = (group) => (!filter.reason || group.reason === filter.reason) && (!filter.destination || (group.destination ?? NOWHERE) === filter.destination);
  const known = countOf({ filter, groups: groups.data, list, fits });
  const total = groups.data?.total;
  const nothing = total === 0 && !isFiltered && !rows.length && !waiting;
  const askMany = (what, { reason, destination, count }) => setAsking({
    what: "many", how: what, filter: { reason, destination: destination ?? NOWHERE }, count,
    where: destination ? t("{reason}, to {destination}", { reason: reasonLabel(reason), destination: shortDestination(destination) }) : reasonLabel(reason),
  });

  const columns = [
    { key: "id", title: t("Dead letter"), render: (row) => html`<span title=${row.id}>${row.id}</span>` },
    { key: "reason", title: t("Reason"), width: "12.75rem", render: (row) => html`<${ReasonBadge} reason=${row.reason} />` },
    { key: "error", title: t("Last error"), width: "10rem", render: (row) => html`<span class="muted" title=${row.lastError}>${row.lastError ?? "–"}</span>` },
    { key: "target", title: t("Target"), width: "10rem", narrow: "hide", render: (row) => html`<span class="muted" title=${row.webhookUrl ?? row.jobId}>${row.webhookUrl ?? (row.jobId ? t("Job {id}", { id: row.jobId }) : "–")}</span>` },
    { key: "died", title: t("Died"), width: "7.5rem", render: (row) => html`<span class="muted"><${Relative} at=${row.deadAt} /></span>` },
  ];
  const actions = (row) => [
    canReplay(row) && { label: t("Replay"), busy: busy.has(row.id), onClick: () => replay(row) },
    canMend(row) && { label: t("Mend"), onClick: () => ask("mend", row) },
    { label: t("Delete"), tone: "danger", onClick: () => ask("delete", row) },
  ].filter(Boolean);
  const destinations = [...new Set([...all.map((group) => group.destination ?? NOWHERE), filter.destination])].filter(Boolean);

  return html`<${PageHead} title=${t("Dead letters")} />
    ${groups.error && !list.error && html`<${Failure} error=${groups.error} retry=${look} />`}
    ${nothing ? html`<div class="table-frame"><${Empty} title=${t("No dead letters")} action=${html`<${Button} href=${link("deliveries")}>${t("Watch deliveries")}</${Button}>`}>
      ${t("What cannot be delivered ends here, with the reason, to be mended, sent again or deleted. So far, nothing did.")}</${Empty}></div>` : html`
    ${(groups.data || !groups.error) && html`<${Groups} found=${groups.data} chosen=${filter} onMany=${askMany} />`}
    <div class="toolbar">
      <${TextField} label=${t("Search")} type="search" name="search" class="dead-search" placeholder=${t("how the id begins")} value=${search} error=${list.error?.of?.("prefix")} onValue=${setSearch} />
      <${Select} label=${t("Reason")} value=${params.reason ?? ""} onValue=${(reason) => change({ reason })}
        options=${[{ value: "", label: t("All") }, ...Object.keys(REASONS).map((reason) => ({ value: reason, label: reasonLabel(reason) }))]} />
      <${Select} label=${t("Destination")} class="dead-destination" value=${params.to ?? ""} onValue=${(to) => change({ to })}
        options=${[{ value: "", label: t("All") }, ...destinations.map((one) => ({ value: one, label: one === NOWHERE ? t("no destination that is known") : shortDestination(one) }))]} />
    </div>
    <div class="dead-bar">
      <div class="row"><p class="muted" aria-live="polite">${chosen.length ? t("One selected|{count} selected", { count: number(chosen.length), number: chosen.length }) : known.text}</p>
        ${isFiltered && !chosen.length && html`<${Button} kind="quiet" size="small" onClick=${() => { setSearch(""); change({ q: null, reason: null, to: null }); }}>${t("Show all")}</${Button}>`}</div>
      <div class="row">
        ${chosen.length > 0 && html`<${Button} kind="quiet" size="small" onClick=${() => setTicked(new Set())}>${t("Select none")}</${Button}>`}
        ${rows.length > 0 && [["replay", chosen.length ? t("Replay selected") : t("Replay all")], ["delete", chosen.length ? t("Delete selected") : t("Delete all")]].map(([how, label]) => html`<${Button} key=${how} size="small" onClick=${() => setAsking(chosen.length ? { what: "many", how, ids: chosen } : { what: "many", how, filter, count: known.count, where: isFiltered ? t("All that are listed with these filters.") : null })}>${label}</${Button}>`)}
      </div>
    </div>
    ${filter.reason && html`<p class="muted dead-help">${reasonHelp(filter.reason)}</p>`}
    <div class=${waiting ? "dead-list waiting" : "dead-list"}>
      <${Table} ...${list} reload=${look} label=${t("Dead letters")} rows=${rows} rowKey=${(row) => row.id} columns=${columns}
        total=${known.count ?? undefined} rowHref=${(row) => link("dead-letters", { ...params, id: row.id })}
        actions=${actions} actionsWidth="16rem" selected=${ticked} onSelect=${setTicked}
        empty=${html`<${Empty} title=${t("None fits")} action=${html`<${Button} onClick=${() => { setSearch(""); change({ q: null, reason: null, to: null }); }}>${t("Show all")}</${Button}>`}>${t("No dead letter is like that. The search looks at how the id begins.")}</${Empty}>`} />
    </div>`}
    ${params.id && html`<${Details} key=${params.id} id=${params.id} busy=${busy.has(params.id)} onClose=${() => change({ id: null })}
      onReplay=${replay} onMend=${(letter) => ask("mend", letter)} onDelete=${(letter) => ask("delete", letter)} />`}
    ${asking?.what === "mend" && html`<${Mend} key=${asking.id} id=${asking.id} onClose=${done} onDone=${(_, at) => { done(); sent(asking.id, at); }} />`}
    ${asking?.what === "delete" && html`<${ConfirmDialog} title=${t("Delete {id}?", { id: asking.id })} confirm=${t("Delete")} danger onClose=${done}
      onConfirm=${async () => { await del(`/dead-letters/${seg(asking.id)}`); gone(asking.id); toast(t("{id} is deleted", { id: asking.id })); }}>
      <p>${t("It is gone for good and will not be sent.")}</p></${ConfirmDialog}>`}
    ${asking?.what === "many" && html`<${Bulk} what=${asking.how} filter=${asking.filter} ids=${asking.ids} count=${asking.count ?? null} where=${asking.where}
      onChange=${() => { setTicked(new Set()); groups.reload(); list.restart(); }} onClose=${done} />`}`;
}

/** Look again when letters come or go: most of what happens is no letter. */
function useFollowed(look, items, total) {
  useLive(["overview", "message", "letter", "missed", "poll", "resync"], (data, kind) => {
    if (kind === "overview") {
      if (data.dead !== total) look();
    } else if (kind !== "message" || data.change === "dead" || items.some((row) => row.id === data.id)) look();
  });
}

/** `{count, text}` of what the filter leaves; null where only looking tells. */
function countOf({ filter, groups, list, fits }) {
  const loaded = list.items.length;
  let count = null;
  if (list.first && !list.more) count = loaded;
  else if (groups && !groups.truncated && !filter.prefix) count = groups.groups.filter(fits).reduce((sum, group) => sum + group.count, 0);
  else if (groups && !Object.keys(filter).length) count = groups.total;
  if (count !== null) return { count, text: t("{count} dead letter|{count} dead letters", { count: number(count), number: count }) };
  return { count: null, text: list.first ? t("more than {count}", { count: number(loaded) }) : list.error ? "" : t("Loading…") };
}

function GroupActions({ all }) {
  if (useNarrow()) return html`<${Menu} iconOnly icon="more" label=${t("Actions")} items=${all} class="at-end" />`;
  return all.map(({ label, tone, onClick }) => html`<${Button} key=${label} kind="quiet" size="small" class=${tone ?? ""} onClick=${onClick}>${label}</${Button}>`);
}

function Groups({ found, chosen, onMany }) {
  const [open, setOpen] = useState(false);
  if (!found) return html`<${Card} title=${t("By reason and destination")} class="dead-groups"><${Skeleton} lines=${3} /></${Card}>`;
  const isChosen = (group) => group.reason === chosen.reason && (group.destination ?? NOWHERE) === chosen.destination;
  const shown = open ? found.groups : found.groups.filter((group, index) => index < FIRST_GROUPS || isChosen(group));
  const aside = t("{count} in all", { count: number(found.total) });
  return html`<${Card} title=${t("By reason and destination")} aside=${aside} class="dead-groups">
    <ul>${shown.map((group) => {
      const { reason, destination } = group;
      const name = destination ? shortDestination(destination) : reason === "invalid_record" ? t("no destination") : t("no destination that is known");
      const target = isChosen(group) ? { reason: null, to: null, q: null } : { reason, to: destination ?? NOWHERE };
      return html`<li key=${`${reason} ${destination}`} class=${isChosen(group) ? "chosen" : ""}>
        <a class="dead-group" href=${link("dead-letters", { ...route.get().params, id: null, ...target })} aria-current=${isChosen(group) ? "true" : undefined}>
          <span class="dead-count">${number(group.count)}</span><span class="dead-to" title=${destination ?? ""}>${name}</span></a>
        <span class="dead-reason"><${ReasonBadge} reason=${reason} /></span>
        <span class="muted dead-newest"><span class="dead-word">${t("the newest")} </span><${Relative} at=${group.newest} /></span>
        <span class="dead-do">
<${GroupActions} all=${[
          canReplay(group) && { label: t("Replay all"), onClick: () => onMany("replay", group) },
          { label: t("Delete all"), tone: "danger", onClick: () => onMany("delete", group) },
        ].filter(Boolean)} /></span>
      </li>`;
    })}</ul>
    ${found.groups.length > FIRST_GROUPS && html`<div class="table-foot"><${Button} kind="quiet" size="small" aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>${open ? t("Show fewer") : t("Show all {count} groups", { count: number(found.groups.length) })}</${Button}></div>`}
    ${found.truncated && html`<p class="hint dead-truncated">${t("There are more than can be grouped: the newest were.")}</p>`}
  </${Card}>`;
}
