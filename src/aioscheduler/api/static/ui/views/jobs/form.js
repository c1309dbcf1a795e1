// Makes and changes jobs of both families.
import { html, kept, useRef, useState } from "../../lib.js";
import { locale, t } from "../../i18n.js";
import { post } from "../../api.js";
import { useAction } from "../../hooks.js";
import { Banner, Button, Checkbox, checkJson, Dialog, Select, Tabs, TextArea, TextField, toast } from "../../components.js";
import { FAMILIES, familyName, isUuid, newUuid } from "./data.js";
import {
  CronField, DaysField, jsonText, MoreFields, NumberField, numeric, ObjectField, readerZone, TimeField, usePreview,
  ZoneField,
} from "./fields.js";
import { emptyWebhook, webhookBody, WebhookFields, webhookMore } from "./webhooks.js";

const ACCOUNT = "account";

/** The dialog for a new job, or (with `job`) for one that is there. onDone(job) is called with what became of it. */
export function JobForm({ job, families, accounts, onFamily, family, onDone, onClose }) {
  const kind = job ? familyName(job) : family;
  const title = job ? t("Edit {name}", { name: job.name }) : t("New job");
  const Form = kind === "bots" ? BotForm : AccountForm;
  const choice = !job && families.length > 1 && html`<${Tabs} label=${t("What it does")} value=${kind} onValue=${onFamily}
    items=${[{ id: "account", label: t("Calls webhooks") }, { id: "bots", label: t("Runs a bot") }]} />`;
  return html`<${Form} key=${kind} job=${job} title=${title} choice=${choice} accounts=${accounts} onDone=${onDone} onClose=${onClose} />`;
}

/** What both forms are in: fields, what was refused, and the buttons. */
function FormDialog({ title, choice, submit, label, busy, error, shownErrors, onClose, children }) {
  const own = useRef(null);
  const names = Object.keys(error?.errors ?? {});
  const told = names.length > 0 && names.every((name) => shownErrors.includes(name) || shownErrors.includes(name.split(".")[0]));
  const onSubmit = (event) => {
    event.preventDefault();
    submit();
  };
  const foot = html`<${Button} onClick=${onClose}>${t("Cancel")}</${Button}>
    <${Button} kind="primary" busy=${busy} onClick=${() => own.current.requestSubmit()}>${label}</${Button}>`;
  return html`<${Dialog} title=${title} onClose=${onClose} foot=${foot} wide keep>
    ${choice}
    ${error && !told && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
    <form class="form" ref=${own} onSubmit=${onSubmit} noValidate>${children}<button type="submit" class="hidden" tabindex="-1" aria-hidden="true"></button></form>
  </${Dialog}>`;
}

/** Only what is another value than before. */
const changes = (body, before) =>
  Object.fromEntries(Object.entries(body).filter(([name, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(before[name])));

function sentAs(values, isBot) {
  const body = {
    name: values.name,
    description: values.description.trim() ? values.description : null,
    enabled: values.enabled,
    max_instances: numeric(values.max_instances),
    coalesce: values.coalesce,
    misfire_grace_seconds: numeric(values.misfire_grace_seconds),
  };
  if (isBot) return body;
  return {
    ...body,
    schedule: values.schedule,
    timezone: values.timezone,
    type: numeric(values.type) ?? 1,
    retry_policy: {
      max_attempts: numeric(values.max_attempts),
      backoff_seconds: numeric(values.backoff_seconds),
      backoff_type: values.backoff_type,
      max_backoff_seconds: numeric(values.max_backoff_seconds),
    },
  };
}

const common = (job) => ({
  name: job?.name ?? "",
  description: job?.description ?? "",
  enabled: job?.enabled ?? true,
  max_instances: String(job?.max_instances ?? 1),
  coalesce: job?.coalesce ?? true,
  misfire_grace_seconds: String(job?.misfire_grace_seconds ?? 3600),
});

/** Values of a form and `set("name")`, which gives what changes one of them. */
function useValues(initial) {
  const [values, setValues] = useState(initial);
  return [values, (name) => (value) => setValues((old) => ({ ...old, [name]: value })), setValues];
}

function AccountForm({ job, title, choice, accounts, onDone, onClose }) {
  const retry = job?.retry_policy;
  const [values, set] = useValues(() => ({
    ...common(job),
    account: job?.account_id ?? (accounts.choices.length === 1 ? accounts.choices[0] : accounts.current || kept.get(ACCOUNT) || accounts.choices[0] || ""),
    schedule: job?.schedule ?? "0 9 * * *",
    timezone: job?.timezone ?? readerZone(),
    type: String(job?.type ?? 1),
    max_attempts: String(retry?.max_attempts ?? 3),
    backoff_seconds: String(retry?.backoff_seconds ?? 60),
    backoff_type: retry?.backoff_type ?? "exponential",
    max_backoff_seconds: String(retry?.max_backoff_seconds ?? 3600),
  }));
  const [webhook, setWebhook] = useState(emptyWebhook);
  // What is there already when the second of the steps is refused.
  const made = useRef(null);
  const preview = usePreview("account", { schedule: values.schedule, timezone: values.timezone }, values.schedule.trim() !== "", values.timezone);

  const [submit, busy, error] = useAction(async () => {
    const body = sentAs(values, false);
    if (job) return done(await FAMILIES.account.update(job.id, changes(body, job)));
    const hook = webhook.url.trim() ? webhookBody(webhook) : null;
    // It begins once it has something to call.
    const first = { ...body, enabled: hook ? false : body.enabled };
    made.current = made.current
      ? await FAMILIES.account.update(made.current.id, first)
      : await post("/api/jobs", { account_id: values.account.trim(), ...first });
    kept.set(ACCOUNT, values.account.trim());
    if (!hook) return done(made.current);
    await post("/webhooks", { job_id: made.current.id, ...hook });
    return done(values.enabled ? await FAMILIES.account.enable(made.current.id, true) : made.current);
  });
  const done = (found) => {
    toast(job ? t("Saved: {name}", { name: found.name }) : t("Made: {name}", { name: found.name }));
    onDone(found);
  };
  const leave = () => (made.current ? onDone(made.current) : onClose());
  const wrong = (name) => error?.of?.(name) ?? preview.errors[name]?.join("; ");
  wrong.all = () => error?.errors;
  const more = ["description", "type", "max_instances", "misfire_grace_seconds"].concat(
    ["max_attempts", "backoff_seconds", "backoff_type", "max_backoff_seconds"].map((name) => `retry_policy.${name}`), job ? [] : webhookMore);

  return html`<${FormDialog} title=${title} choice=${choice} submit=${submit} busy=${busy} error=${error} onClose=${leave}
    label=${job ? t("Save") : t("Make job")} shownErrors=${["name", "account_id", "schedule", "timezone", "url", "method", ...more]}>
    <${TextField} label=${t("Name")} value=${values.name} onValue=${set("name")} error=${wrong("name")} maxlength="255" autofocus />
    ${!job && html`<${AccountField} accounts=${accounts} value=${values.account} onValue=${set("account")} error=${wrong("account_id")} disabled=${made.current !== null} />`}
    <div class="form-columns">
      <div class="form">
        <${CronField} value=${values.schedule} onValue=${set("schedule")} error=${wrong("schedule")} />
        <${ZoneField} value=${values.timezone} onValue=${set("timezone")} error=${wrong("timezone")} />
      </div>
      ${preview.box}
    </div>
    ${!job && html`<${WebhookFields} values=${webhook} onValues=${setWebhook} wrong=${wrong} hint=${t("What each run calls. More can be added later.")} />`}
    <${MoreFields} wrong=${more.some((name) => error?.of?.(name))}>
      ${!job && html`<${WebhookFields} values=${webhook} onValues=${setWebhook} wrong=${wrong} part="more" />`}
      <h3>${t("When a call fails")}</h3>
      <div class="form-row">
        <${NumberField} label=${t("Attempts")} min="1" value=${values.max_attempts} onValue=${set("max_attempts")} error=${wrong("retry_policy.max_attempts")} />
        <${NumberField} label=${t("Pause, in seconds")} min="0" value=${values.backoff_seconds} onValue=${set("backoff_seconds")} error=${wrong("retry_policy.backoff_seconds")} />
        <${Select} label=${t("The pause")} value=${values.backoff_type} onValue=${set("backoff_type")} error=${wrong("retry_policy.backoff_type")}
          options=${[{ value: "exponential", label: t("doubles") }, { value: "linear", label: t("grows evenly") }, { value: "fixed", label: t("stays the same") }]} />
        <${NumberField} label=${t("At most, in seconds")} min="0" value=${values.max_backoff_seconds} onValue=${set("max_backoff_seconds")} error=${wrong("retry_policy.max_backoff_seconds")} />
      </div>
      <${RunFields} values=${values} set=${set} wrong=${wrong}>
        <${NumberField} label=${t("Type")} value=${values.type} onValue=${set("type")} error=${wrong("type")} hint=${t("A number of your own.")} />
      </${RunFields}>
    </${MoreFields}>
  </${FormDialog}>`;
}

/** What every job may say of its runs. */
function RunFields({ values, set, wrong, children }) {
  return html`<h3>${t("How it runs")}</h3>
    <div class="form-row">
      <${NumberField} label=${t("At once")} min="1" value=${values.max_instances} onValue=${set("max_instances")} error=${wrong("max_instances")} hint=${t("Further runs are skipped.")} />
      <${NumberField} label=${t("Late by, in seconds")} min="0" value=${values.misfire_grace_seconds} onValue=${set("misfire_grace_seconds")} error=${wrong("misfire_grace_seconds")} hint=${t("Later ones are skipped.")} />
      ${children}
    </div>
    <${Checkbox} label=${t("Merge runs that were missed into one")} checked=${values.coalesce} onValue=${set("coalesce")} />
    <${Checkbox} label=${t("Enabled")} checked=${values.enabled} onValue=${set("enabled")} />
    <${TextArea} label=${t("Description")} rows="2" value=${values.description} onValue=${set("description")} error=${wrong("description")} />`;
}

/** Whose job it is. The API token opens all accounts: an account is what its id names, and a new one needs no more. */
function AccountField({ accounts, value, onValue, error, disabled }) {
  if (!accounts.all) {
    if (accounts.choices.length === 1) return null;
    return html`<${Select} label=${t("Account")} value=${value} onValue=${onValue} error=${error} disabled=${disabled}
      options=${accounts.choices.map((id) => ({ value: id, label: id }))} />`;
  }
  return html`<div class="with-button">
    <${TextField} label=${t("Account")} class="mono-field grow" list="form-accounts" value=${value} onValue=${onValue} error=${error} disabled=${disabled}
      placeholder="123e4567-e89b-12d3-a456-426614174000" hint=${value && isUuid(value.trim()) ? undefined : t("A UUID: whose job it is.")} />
    <datalist id="form-accounts">${accounts.choices.map((id) => html`<option key=${id} value=${id} />`)}</datalist>
    <${Button} disabled=${disabled} onClick=${() => onValue(newUuid())}>${t("New account")}</${Button}>
  </div>`;
}

// -- bot jobs

const UNITS = ["weeks", "days", "hours", "minutes", "seconds"];
const BIRTHDAY = { process_late: false, max_days_late: 7, max_messages_per_run: 10, dry_run: false };
const VISITOR = { limit: 50, dry_run: false };
const OTHER = "";

function BotForm({ job, title, choice, onDone, onClose }) {
  const config = job?.schedule_config ?? {};
  const known = !job || job.bot_type === "birthday" || job.bot_type === "visitor";
  const [values, set, setValues] = useValues(() => ({
    ...common(job),
    bot: known ? (job?.bot_type ?? "birthday") : OTHER,
    otherBot: known ? "" : job.bot_type,
    birthday: { ...BIRTHDAY, ...(job?.bot_type === "birthday" ? job.bot_config : {}) },
    visitor: { ...VISITOR, ...(job?.bot_type === "visitor" ? job.bot_config : {}) },
    otherConfig: known ? "{}" : jsonText(job.bot_config),
    kind: job?.schedule_type ?? "daily",
    time: { hour: config.hour ?? 9, minute: config.minute ?? 0, second: config.second ?? 0 },
    days: config.day_of_week ?? "mon,tue,wed,thu,fri",
    every: Object.fromEntries(UNITS.map((unit) => [unit, config[unit] === undefined ? "" : String(config[unit])])),
    cron: config.cron_expression ?? "0 9 * * mon-fri",
    timezone: job ? (config.timezone ?? "") : readerZone(),
  }));
  const schedule = { schedule_type: values.kind, schedule_config: botSchedule(values) };
  const complete = values.kind !== "interval" || UNITS.some((unit) => Number(values.every[unit]) > 0);
  const preview = usePreview("bots", schedule, complete, values.timezone);
  const [submit, busy, error] = useAction(async () => {
    const other = checkJson(values.otherConfig);
    if (values.bot === OTHER && "error" in other) throw new Error(other.error);
    const asked = { birthday: () => numbers(values.birthday), visitor: () => numbers(values.visitor), [OTHER]: () => other.value }[values.bot]();
    const body = { ...sentAs(values, true), bot_type: values.bot || values.otherBot.trim(), bot_config: asked, ...schedule };
    const found = job ? await FAMILIES.bots.update(job.id, changes(body, job)) : await post("/scheduler/jobs", body);
    toast(job ? t("Saved: {name}", { name: found.name }) : t("Made: {name}", { name: found.name }));
    onDone(found);
  });
  const wrong = (name) => error?.of?.(name) ?? preview.errors[name]?.join("; ");
  const within = (name) => wrong(`schedule_config.${name}`);
  const option = (bot, name) => ({ value: String(values[bot][name]), onValue: (value) => setValues((old) => ({ ...old, [bot]: { ...old[bot], [name]: value } })), error: wrong(`bot_config.${name}`) });
  const flag = (bot, name) => ({ checked: values[bot][name], onValue: option(bot, name).onValue });
  const shown = ["name", "description", "max_instances", "misfire_grace_seconds", "bot_type", "bot_config", "schedule_type", "schedule_config"]
    .concat(["hour", "minute", "second", "day_of_week", "timezone", "cron_expression", ...UNITS].map((name) => `schedule_config.${name}`))
    .concat(["max_days_late", "max_messages_per_run", "limit"].map((name) => `bot_config.${name}`));

  return html`<${FormDialog} title=${title} choice=${choice} submit=${submit} busy=${busy} error=${error} onClose=${onClose}
    label=${job ? t("Save") : t("Make job")} shownErrors=${shown}>
    <${TextField} label=${t("Name")} value=${values.name} onValue=${set("name")} error=${wrong("name")} maxlength="255" autofocus />
    <div class="form-columns">
      <div class="form">
        <${Select} label=${t("Runs")} value=${values.kind} onValue=${set("kind")} error=${wrong("schedule_type")} options=${[
          { value: "daily", label: t("every day") }, { value: "weekly", label: t("on days of the week") },
          { value: "interval", label: t("at an interval") }, { value: "cron", label: t("by a cron expression") },
        ]} />
        ${values.kind === "weekly" && html`<${DaysField} value=${values.days} onValue=${set("days")} error=${within("day_of_week")} locale=${locale()} />`}
        ${(values.kind === "daily" || values.kind === "weekly") && html`<${TimeField} value=${values.time} onValue=${set("time")} error=${within("hour") ?? within("minute") ?? within("second")} />`}
        ${values.kind === "interval" && html`<${IntervalField} values=${values.every} onValues=${set("every")} wrong=${within} error=${wrong("schedule_config")} />`}
        ${values.kind === "cron" && html`<${CronField} label=${t("Cron expression")} value=${values.cron} onValue=${set("cron")} error=${within("cron_expression")} />`}
        ${values.kind !== "interval" && html`<${ZoneField} value=${values.timezone} onValue=${set("timezone")} error=${within("timezone")} hint=${t("Empty: the service's own.")} />`}
      </div>
      ${preview.box}
    </div>
    <${Select} label=${t("Bot")} value=${values.bot} onValue=${set("bot")} error=${values.bot === OTHER ? undefined : wrong("bot_type")} hint=${BOT_HINTS[values.bot]?.()} options=${[
      { value: "birthday", label: t("Birthday greetings") }, { value: "visitor", label: t("Profile visits") }, { value: OTHER, label: t("another that is installed") },
    ]} />
    ${values.bot === "birthday" && html`<div class="form-row">
        <${NumberField} label=${t("Greetings in a run, at most")} min="1" ...${option("birthday", "max_messages_per_run")} />
        ${values.birthday.process_late && html`<${NumberField} label=${t("Late by, in days")} min="1" max="365" ...${option("birthday", "max_days_late")} />`}
      </div>
      <${Checkbox} label=${t("Greet also those whose birthday is over")} ...${flag("birthday", "process_late")} />
      <${Checkbox} label=${t("A trial: send nothing, count who would be greeted")} ...${flag("birthday", "dry_run")} />`}
    ${values.bot === "visitor" && html`<div class="form-row"><${NumberField} label=${t("Visits in a run, at most")} min="1" max="500" ...${option("visitor", "limit")} /></div>
      <${Checkbox} label=${t("A trial: visit nothing, count what would be visited")} ...${flag("visitor", "dry_run")} />`}
    ${values.bot === OTHER && html`<${TextField} label=${t("Bot type")} value=${values.otherBot} onValue=${set("otherBot")} error=${wrong("bot_type")} />
      <${ObjectField} label=${t("Configuration")} value=${values.otherConfig} onValue=${set("otherConfig")}
        error=${wrong("bot_config") ?? Object.keys(error?.errors ?? {}).filter((name) => name.startsWith("bot_config.")).map((name) => `${name.slice(11)}: ${error.of(name)}`)[0]} />`}
    <${MoreFields} wrong=${["description", "max_instances", "misfire_grace_seconds"].some((name) => error?.of?.(name))}>
      <${RunFields} values=${values} set=${set} wrong=${wrong} />
    </${MoreFields}>
  </${FormDialog}>`;
}

const BOT_HINTS = {
  birthday: () => t("Who is greeted, and where to, is set by BIRTHDAY_CONTACTS and BIRTHDAY_WEBHOOK_URL."),
  visitor: () => t("What is visited is set by VISITOR_PROFILES."),
};

const numbers = (options) =>
  Object.fromEntries(Object.entries(options).map(([name, value]) => [name, typeof value === "boolean" ? value : numeric(value)]).filter(([, value]) => value !== undefined));

function botSchedule({ kind, time, days, every, cron, timezone }) {
  const zone = timezone.trim() ? { timezone: timezone.trim() } : {};
  const at = { hour: time.hour, minute: time.minute, ...(time.second ? { second: time.second } : {}) };
  switch (kind) {
    case "daily": return { ...at, ...zone };
    case "weekly": return { day_of_week: days, ...at, ...zone };
    case "cron": return { cron_expression: cron, ...zone };
    default: return Object.fromEntries(UNITS.map((unit) => [unit, numeric(every[unit])]).filter(([, value]) => value));
  }
}

function IntervalField({ values, onValues, wrong, error }) {
  const labels = { weeks: t("Weeks"), days: t("Days"), hours: t("Hours"), minutes: t("Minutes"), seconds: t("Seconds") };
  return html`<div class="stack-small"><div class="form-row units">
    ${UNITS.map((unit) => html`<${NumberField} key=${unit} label=${labels[unit]} min="0" inputmode="numeric" value=${values[unit]} error=${wrong(unit)}
      onValue=${(value) => onValues({ ...values, [unit]: value })} />`)}
  </div>${error && html`<p class="error">${error}</p>`}</div>`;
}
