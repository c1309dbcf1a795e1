// The webhooks of an account's job: what every run calls.
import { html, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { ApiError, del, post, put, seg } from "../../api.js";
import { useAction, useApi } from "../../hooks.js";
import { ROOT } from "../../session.js";
import { Banner, Button, ConfirmDialog, Dialog, Failure, Select, Skeleton, TextArea, TextField, toast } from "../../components.js";
import { jsonText, NumberField, numeric, ObjectField, optionalJson } from "./fields.js";

const METHODS = ["POST", "GET", "PUT", "PATCH", "DELETE"];
/** Names of fields that stand behind "More" where a job is made. */
export const webhookMore = ["headers", "query_params", "body_template", "timeout_seconds"];
const PLACES = ["job.id", "job.name", "job.account_id", "execution.id", "execution.attempt", "scheduled_at", "now"];

export const emptyWebhook = () => ({ url: "", method: "POST", headers: "", query_params: "", body_template: "", timeout_seconds: "30" });

const valuesOf = (webhook) => ({
  url: webhook.url,
  method: webhook.method,
  headers: jsonText(webhook.headers),
  query_params: jsonText(webhook.query_params),
  body_template: webhook.body_template ?? "",
  timeout_seconds: String(webhook.timeout_seconds),
});

/** The JSON of a webhook's fields. Throws an ApiError when some of them is none, as the service would. */
export function webhookBody(values) {
  const objects = { headers: optionalJson(values.headers), query_params: optionalJson(values.query_params) };
  const errors = Object.fromEntries(Object.entries(objects).filter(([, found]) => "error" in found).map(([name, found]) => [name, [found.error]]));
  const [first] = Object.values(errors);
  if (first) throw new ApiError(first[0], { errors });
  return {
    url: values.url.trim(),
    method: values.method,
    headers: objects.headers.value ?? null,
    query_params: objects.query_params.value ?? null,
    body_template: values.body_template === "" ? null : values.body_template,
    timeout_seconds: numeric(values.timeout_seconds),
  };
}

/** part: "first" for the address, "more" for the rest, "all" for both. */
export function WebhookFields({ values, onValues, wrong, hint, part = "first" }) {
  const set = (name) => (value) => onValues((old) => ({ ...old, [name]: value }));
  const inbox = new URL("inbox/jobs", ROOT).href;
  return html`
    ${part !== "more" && html`<div class="stack-small"><div class="method-url">
      <${Select} label=${t("Method")} value=${values.method} onValue=${set("method")} error=${wrong("method")} options=${METHODS.map((name) => ({ value: name, label: name }))} />
      <${TextField} label=${t("Webhook URL")} type="url" inputmode="url" value=${values.url} onValue=${set("url")} error=${wrong("url")} hint=${hint} placeholder="https://example.com/hooks/nightly" />
    </div>
    ${!values.url && html`<div class="quick"><${Button} size="small" title=${inbox} onClick=${() => set("url")(inbox)}>${t("To the built-in inbox")}</${Button}></div>`}</div>`}
    ${part !== "first" && html`
      <${TextArea} label=${t("Body template")} class="mono-field" rows="4" value=${values.body_template} onValue=${set("body_template")} error=${wrong("body_template")} placeholder=${'{"job": "{{ job.name }}", "at": "{{ scheduled_at }}"}'}
        hint=${html`${t("Empty: a JSON object that says which run it is. Places:")} ${PLACES.map((name) => html`<code key=${name} class="place">${`{{ ${name} }}`}</code> `)}`} />
      <div class="form-pair">
        <${ObjectField} label=${t("Headers")} value=${values.headers} onValue=${set("headers")} error=${wrong("headers") ?? member(wrong, "headers")} placeholder=${'{"Authorization": "Bearer …"}'} />
        <${ObjectField} label=${t("Query parameters")} value=${values.query_params} onValue=${set("query_params")} error=${wrong("query_params") ?? member(wrong, "query_params")} placeholder=${'{"source": "scheduler"}'} />
      </div>
      <div class="form-row"><${NumberField} label=${t("Time limit, in seconds")} min="1" value=${values.timeout_seconds} onValue=${set("timeout_seconds")} error=${wrong("timeout_seconds")} /></div>`}`;
}

/** The refusal of one member of an object: the service names it by its path. */
function member(wrong, name) {
  const all = wrong.all?.() ?? {};
  const path = Object.keys(all).find((one) => one.startsWith(`${name}.`));
  return path && `${path.slice(name.length + 1)}: ${all[path].join("; ")}`;
}

function WebhookForm({ jobId, webhook, onDone, onClose }) {
  const [values, setValues] = useState(() => (webhook ? valuesOf(webhook) : emptyWebhook()));
  const [submit, busy, error] = useAction(async () => {
    const body = webhookBody(values);
    if (webhook) await put(`/webhooks/${seg(webhook.id)}`, body);
    else await post("/webhooks", { job_id: jobId, ...body });
    toast(webhook ? t("Webhook saved") : t("Webhook added"));
    onDone();
  });
  const wrong = (name) => error?.of?.(name);
  wrong.all = () => error?.errors;
  const names = Object.keys(error?.errors ?? {});
  const told = names.length > 0 && names.every((name) => ["url", "method", ...webhookMore].includes(name.split(".")[0]));
  const foot = html`<${Button} onClick=${onClose}>${t("Cancel")}</${Button}><${Button} kind="primary" busy=${busy} onClick=${submit}>${webhook ? t("Save") : t("Add webhook")}</${Button}>`;
  return html`<${Dialog} title=${webhook ? t("Edit webhook") : t("Add webhook")} onClose=${onClose} foot=${foot} wide keep>
    ${error && !told && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
    <form class="form" noValidate onSubmit=${(event) => { event.preventDefault(); submit(); }}>
      <${WebhookFields} values=${values} onValues=${setValues} wrong=${wrong} part="all" />
      <button type="submit" class="hidden" tabindex="-1" aria-hidden="true"></button>
    </form>
  </${Dialog}>`;
}

/** The list of a job's webhooks, and what can be done with each. */
export function Webhooks({ jobId }) {
  const found = useApi("/webhooks", { query: { job_id: jobId, limit: 1000 } });
  const [editing, setEditing] = useState(null);
  const [leaving, setLeaving] = useState(null);
  const items = found.data?.items;
  const done = () => {
    setEditing(null);
    found.reload();
  };
  return html`<section class="panel-part">
    <header class="part-head"><h3>${t("Webhooks")}</h3><${Button} kind="quiet" size="small" icon="plus" onClick=${() => setEditing({})}>${t("Add webhook")}</${Button}></header>
    ${found.error && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${!items && !found.error && html`<${Skeleton} lines=${2} />`}
    ${items?.length === 0 && html`<${Banner} tone="warn">${t("It has no webhook, so each run fails. Add what it is to call.")}</${Banner}>`}
    ${items?.length > 0 && html`<ul class="lines">${items.map((webhook) => html`<li key=${webhook.id} class="line webhook">
      <span class="method">${webhook.method}</span><span class="line-main mono" title=${webhook.url}>${webhook.url}</span>
      <span class="line-actions"><${Button} kind="quiet" size="small" onClick=${() => setEditing(webhook)}>${t("Edit")}</${Button}>
        <${Button} kind="quiet" size="small" class="danger" onClick=${() => setLeaving(webhook)}>${t("Delete")}</${Button}></span>
    </li>`)}</ul>`}
    ${editing && html`<${WebhookForm} jobId=${jobId} webhook=${editing.id ? editing : null} onDone=${done} onClose=${() => setEditing(null)} />`}
    ${leaving && html`<${ConfirmDialog} title=${t("Delete this webhook?")} confirm=${t("Delete")} danger onClose=${() => setLeaving(null)}
      onConfirm=${async () => { await del(`/webhooks/${seg(leaving.id)}`); await found.reload(); toast(t("Webhook deleted")); }}>
      <p>${t("Runs do not call {url} any more, and its retries that were to come are gone.", { url: leaving.url })}</p></${ConfirmDialog}>`}
  </section>`;
}
