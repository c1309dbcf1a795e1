// Sending a letter again otherwise than it was: elsewhere, with another payload, at another time.
import { html, useEffect, useId, useRef, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { post, seg } from "../../api.js";
import { useAction, useApi } from "../../hooks.js";
import { Banner, Button, checkJson, DateTime, Dialog, Failure, JsonArea, Skeleton, TextField } from "../../components.js";

/** onDone(answer): it is scheduled again. */
export function Mend({ id, onClose, onDone }) {
  const found = useApi(`/dead-letters/${seg(id)}`, { exact: ["payload"] });
  const form = useId();
  const [busy, setBusy] = useState(false);
  const foot = html`<${Button} onClick=${onClose}>${t("Cancel")}</${Button}>
    <${Button} kind="primary" type="submit" form=${form} busy=${busy} disabled=${!found.data}>${t("Replay")}</${Button}>`;
  return html`<${Dialog} keep title=${t("Mend {id}", { id })} onClose=${onClose} foot=${foot}>
    ${found.error && html`<${Failure} error=${found.error} retry=${found.reload} />`}
    ${!found.data && !found.error && html`<${Skeleton} lines=${8} />`}
    ${found.data && html`<${Form} form=${form} letter=${found.data} onBusy=${setBusy} onDone=${onDone} />`}
  </${Dialog}>`;
}

function Form({ form, letter, onBusy, onDone }) {
  const [given] = useState(() => ({ url: letter.webhookUrl, payload: JSON.stringify(letter.payload, null, 2) }));
  const [url, setUrl] = useState(given.url);
  const [payload, setPayload] = useState(given.payload);
  const [at, setAt] = useState(null);
  const [wrong, setWrong] = useState(undefined);
  const root = useRef(null);
  const [submit, busy, error] = useAction(async () => {
    const checked = checkJson(payload);
    setWrong(checked.error);
    if (checked.error) return;
    const done = await post(`/dead-letters/${seg(letter.id)}/replay`, {
      ...(url.trim() !== given.url ? { webhookUrl: url.trim() } : {}),
      ...(payload !== given.payload ? { payload: checked.value } : {}),
      ...(at ? { scheduleTo: at.toISOString() } : {}),
    });
    onDone(done, at);
  });
  useEffect(() => onBusy(busy), [busy]);
  useEffect(() => {
    if (error || wrong) root.current?.querySelector("[aria-invalid]")?.focus();
  }, [error, wrong]);
  const said = ["webhookUrl", "payload", "scheduleTo"].some((name) => error?.of?.(name));
  return html`<form id=${form} class="stack dead-mend" ref=${root} novalidate onSubmit=${(event) => { event.preventDefault(); submit(); }}>
    ${letter.lastError && html`<p class="muted dead-line">${t("Last error")}: ${letter.lastError}</p>`}
    ${error && !said && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
    <${TextField} label=${t("Webhook URL")} name="url" type="url" inputmode="url" value=${url} error=${error?.of?.("webhookUrl")} onValue=${setUrl} />
    <${JsonArea} label=${t("Payload")} name="payload" rows="8" value=${payload} error=${error?.of?.("payload") ?? wrong} onValue=${(text) => { setPayload(text); setWrong(undefined); }} />
    <${DateTime} label=${t("When")} name="when" value=${at} error=${error?.of?.("scheduleTo")} hint=${t("Left empty, it is sent at once.")} onValue=${setAt} />
  </form>`;
}
