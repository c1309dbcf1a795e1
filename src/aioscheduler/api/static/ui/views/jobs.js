// Jobs of accounts, which call webhooks by a schedule, and bot jobs.
import { html, kept, useMemo, useRef, useState } from "../lib.js";
import { language, t } from "../i18n.js";
import { useApi, useLive, usePaged, useSession, useThrottled, useTyped } from "../hooks.js";
import { go, link } from "../router.js";
import { opens } from "../session.js";
import { Badge, Button, ConfirmDialog, Countdown, Empty, PageHead, Select, Table, Tabs, TextField, toast } from "../components.js";
import { familyName, familyOf, isUuid, useRunning } from "./jobs/data.js";
import { JobPanel } from "./jobs/details.js";
import { JobForm } from "./jobs/form.js";
import { LastRuns, Moment, Words } from "./jobs/parts.js";

const BOT = "bots";

export default function Jobs({ params }) {
  const session = useSession();
  const families = [opens("jobs") && "account", opens("bots") && BOT].filter(Boolean);
  const kind = families.length > 1 ? (["account", BOT].includes(params.kind) ? params.kind : "all") : families[0];
  const account = useAccount(session?.accounts ?? null, params.account ?? "");
  const change = (next, options) => go("jobs", { ...params, ...next }, options);

  const [search, setSearch] = useTyped(params.q ?? "", (q) => change({ q }, { replace: true }));
  const lists = useLists(kind, families, account, params.state ?? "", params.q ?? "");
  const { rows, reload, replace } = lists;
  const [leaving, setLeaving] = useState(null);
  const actions = useActions({ replace, reload, edit: (job) => change({ id: job.id, bot: bot(job), edit: 1 }), remove: setLeaving });
  const accounts = useAccounts(session?.accounts ?? null, rows, account.value);
  const chosen = rows.find((row) => row.id === params.id);
  const family = chosen ? familyName(chosen) : params.bot || families[0] === BOT ? BOT : "account";
  const [edited, setEdited] = useState(null);
  const known = chosen ?? (edited?.id === params.id ? edited : undefined);
  const editing = params.edit && known;
  const close = () => change({ id: null, bot: null, edit: null });
  const isFiltered = Boolean(params.q || params.state || account.filters);

  const none = accounts.none
    ? html`<${Empty} title=${t("Your token names no account")}>${t("Jobs belong to accounts. Sign in with a token whose sub or account_ids is the UUID of one.")}</${Empty}>`
    : isFiltered
      ? html`<${Empty} title=${t("No job fits")} action=${html`<${Button} onClick=${() => { setSearch(""); change({ q: null, state: null, account: null }); }}>${t("Show all jobs")}</${Button}>`}>${t("There may be others with another name or state, or of another account.")}</${Empty}>`
      : html`<${Empty} title=${t("No jobs yet")} action=${html`<${Button} kind="primary" icon="plus" onClick=${() => change({ new: families.includes(kind) ? kind : families[0] })}>${t("New job")}</${Button}>`}>
          ${kind === BOT ? t("A bot job runs a bot by a schedule: birthday greetings every morning, for one.") : t("A job calls webhooks by a schedule: every weekday at 9, in the time zone of your choice.")}</${Empty}>`;

  return html`<${PageHead} title=${t("Jobs")}>
      ${!accounts.none && html`<${Button} kind="primary" icon="plus" onClick=${() => change({ new: families.includes(kind) ? kind : families[0] })}>${t("New job")}</${Button}>`}
    </${PageHead}>
    <div class="toolbar jobs-bar">
      ${families.length > 1 && html`<${Tabs} label=${t("Kind of job")} value=${kind} onValue=${(value) => change({ kind: value === "all" ? null : value }, { replace: true })}
        items=${[{ id: "all", label: t("All") }, { id: "account", label: t("Webhooks") }, { id: BOT, label: t("Bots") }]} />`}
      <${TextField} label=${t("Search")} hideLabel type="search" name="search" class="jobs-search" placeholder=${t("Text in the name")} maxlength="255" value=${search} onValue=${setSearch} />
      <${Select} label=${t("State")} hideLabel class="jobs-state" value=${params.state ?? ""} onValue=${(value) => change({ state: value }, { replace: true })}
        options=${[{ value: "", label: t("Enabled and paused") }, { value: "enabled", label: t("Enabled") }, { value: "paused", label: t("Paused") }]} />
      ${kind !== BOT && account.choice === "any" && html`<div class="jobs-account"><${TextField} label=${t("Account")} hideLabel list="accounts" value=${params.account ?? ""} placeholder=${t("All accounts")}
          onValue=${(value) => change({ account: value.trim() }, { replace: true })} error=${params.account && !isUuid(params.account) ? t("An account is a UUID.") : undefined} />
        <datalist id="accounts">${accounts.choices.map((id) => html`<option key=${id} value=${id} />`)}</datalist></div>`}
      ${kind !== BOT && account.choice === "some" && html`<${Select} label=${t("Account")} hideLabel class="jobs-account" value=${account.value} onValue=${(value) => change({ account: value }, { replace: true })}
        options=${accounts.choices.map((id) => ({ value: id, label: id }))} />`}
    </div>
    <${Table} label=${t("Jobs")} ...${lists.table} rows=${rows} rowKey=${(job) => job.id} actionsWidth=${language.get() === "pt" ? "16.75rem" : "13.75rem"} empty=${none}
      rowClass=${(job) => (job.enabled ? "" : "resting")}
      columns=${[
        { key: "name", title: t("Job"), render: (job) => html`<span title=${job.description ?? job.name}>${job.name}</span>` },
        { key: "schedule", title: t("Schedule"), render: (job) => html`<${Words} job=${job} />` },
        { key: "runs", title: t("Runs"), width: "7.75rem", narrow: "hide", render: (job) => html`<span class="muted" title=${job.account_id && t("Account {id}", { id: job.account_id })}>${"bot_type" in job ? t("Bot: {type}", { type: job.bot_type }) : t("Webhooks")}</span>` },
        { key: "next", title: t("Next run"), width: "14.75rem", render: (job) => (job.next_run_at ? html`<${Countdown} at=${job.next_run_at} /> <span class="muted next-at"><${Moment} at=${job.next_run_at} /></span>` : html`<${Badge}>${t("Paused")}</${Badge}>`) },
        { key: "last", title: t("Last runs"), width: "8.5rem", render: (job) => html`<${LastRuns} job=${job} />` },
      ]}
      rowHref=${(job) => link("jobs", { ...params, id: job.id, bot: bot(job) })}
      actions=${(job) => [
        { label: job.enabled ? t("Pause") : t("Resume"), onClick: () => actions.toggle(job), busy: actions.isBusy(job) },
        { label: t("Run now"), onClick: () => actions.run(job), busy: actions.isBusy(job) },
        { label: t("Edit"), onClick: () => actions.edit(job) },
        { label: t("Delete"), tone: "danger", onClick: () => setLeaving(job) },
      ]} />
    ${params.id && html`<${JobPanel} key=${params.id} family=${family} id=${params.id} known=${known} onClose=${close}
      actions=${{ ...actions, edit: (job) => { setEdited(job); actions.edit(job); } }} />`}
    ${editing && html`<${JobForm} job=${editing} families=${families} accounts=${accounts} onClose=${() => change({ edit: null })}
      onDone=${(job) => { setEdited(job); replace(job); change({ edit: null }); }} />`}
    ${params.new && !accounts.none && html`<${JobForm} family=${families.includes(params.new) ? params.new : families[0]} families=${families} accounts=${accounts} onFamily=${(value) => change({ new: value }, { replace: true })}
      onClose=${() => change({ new: null })} onDone=${(job) => { reload(); change({ new: null, id: job.id, bot: bot(job) }); }} />`}
    ${leaving && html`<${ConfirmDialog} title=${t("Delete {name}?", { name: leaving.name })} confirm=${t("Delete")} danger onClose=${() => setLeaving(null)}
      onConfirm=${async () => {
        await familyOf(leaving).remove(leaving.id);
        if (params.id === leaving.id) close();
        replace(leaving, null);
        toast(t("Deleted: {name}", { name: leaving.name }));
      }}><p>${"bot_type" in leaving ? t("Its history goes with it, and a run that goes on is ended.") : t("Its webhooks and its history go with it, and retries that were to come.")}</p></${ConfirmDialog}>`}`;
}

const bot = (job) => ("bot_type" in job ? 1 : null);

/** Which account is looked at. With the API token it is a filter; others have to name one of theirs. */
function useAccount(accounts, wanted) {
  if (accounts === null) return { choice: "any", value: isUuid(wanted) ? wanted : "", filters: wanted !== "", ready: true };
  const value = accounts.includes(wanted) ? wanted : (accounts[0] ?? "");
  return { choice: accounts.length > 1 ? "some" : "one", value, filters: false, ready: value !== "" };
}

/** The accounts to choose from: those of the token, or those that were seen. */
function useAccounts(accounts, rows, current) {
  const seen = useRef(new Set([kept.get("account")].filter(Boolean)));
  return useMemo(() => {
    for (const { account_id: id } of rows) if (id) seen.current.add(id);
    const choices = accounts ?? [...seen.current];
    return { all: accounts === null, choices, current, none: accounts !== null && accounts.length === 0 && opens("jobs") && !opens("bots") };
  }, [accounts, rows, current]);
}

/** Both lists as one: `{rows, reload, replace(job, with), table}`. */
function useLists(kind, families, account, state, name) {
  const enabled = { enabled: "true", paused: "false" }[state];
  const asksAccount = kind !== BOT && families.includes("account") && account.ready;
  const asksBots = kind !== "account" && families.includes(BOT) && !account.filters;
  const jobs = usePaged(asksAccount ? "/api/jobs" : null, { query: { account_id: account.value, enabled, name }, items: "items", slices: true, on: ["job"], pause: 1000 });
  const bots = useApi(asksBots ? "/scheduler/jobs" : null, { query: { name }, on: ["job"], pause: 1000 });
  const reload = useThrottled(() => {
    if (asksAccount) jobs.reload();
    if (asksBots) bots.reload();
  }, 1000);
  useLive(["delivery"], (row) => row.jobId && reload());
  const isFirst = (asksAccount && !jobs.first && !jobs.error) || (asksBots && !bots.data && !bots.error);
  const botRows = asksBots && bots.data ? bots.data.filter((job) => enabled === undefined || String(job.enabled) === enabled) : [];
  const rows = useMemo(() => (isFirst ? [] : [...(asksAccount ? jobs.items : []), ...(jobs.more ? [] : botRows)]), [isFirst, asksAccount, jobs.items, jobs.more, bots.data, enabled, asksBots]);
  useRunning(rows, reload);
  const replace = (job, next = job) => {
    const swap = (list) => (next === null ? list.filter((one) => one.id !== job.id) : list.map((one) => (one.id === job.id ? next : one)));
    if ("bot_type" in job) bots.setData((list) => list && swap(list));
    else jobs.setItems(swap);
    reload();
  };
  const table = {
    more: jobs.more,
    loading: isFirst || (jobs.loading && jobs.more),
    error: jobs.error ?? bots.error,
    loadMore: jobs.loadMore,
    reload: () => { jobs.reload(); bots.reload(); },
    total: jobs.first ? jobs.first.total + botRows.length : undefined,
  };
  return { rows, reload, replace, table };
}

/** What rows and the panel do; one thing at a time for each job. */
function useActions({ replace, reload, edit, remove }) {
  const [busy, setBusy] = useState(() => new Set());
  const running = useRef(busy);
  const once = (action) => async (job) => {
    if (running.current.has(job.id)) return null;
    setBusy((running.current = new Set([...running.current, job.id])));
    try {
      return await action(job);
    } catch (error) {
      toast(error.message, { tone: "bad" });
      return null;
    } finally {
      setBusy((running.current = new Set([...running.current].filter((id) => id !== job.id))));
    }
  };
  return {
    isBusy: (job) => busy.has(job.id),
    toggle: once(async (job) => {
      const changed = await familyOf(job).enable(job.id, !job.enabled);
      replace(changed);
      toast(changed.enabled ? t("Resumed: {name}", { name: job.name }) : t("Paused: {name}", { name: job.name }));
      return changed;
    }),
    run: once(async (job) => {
      await familyOf(job).run(job.id);
      toast(t("Runs now: {name}", { name: job.name }));
      reload();
      return null;
    }),
    edit,
    remove,
  };
}
