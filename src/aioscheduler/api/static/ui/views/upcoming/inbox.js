// What the service's own inbox got.
import { html } from "../../lib.js";
import { t } from "../../i18n.js";
import { del } from "../../api.js";
import { lateness } from "../../format.js";
import { useAction, useApi } from "../../hooks.js";
import { link } from "../../router.js";
import { Button, Dialog, Empty, Failure, JsonView, Relative, Skeleton, toast } from "../../components.js";
import { INBOX } from "./form.js";

/** Read exactly, a number may be raw JSON. */
const plain = (value) => (value === null ? null : Number(JSON.stringify(value)));

export function Inbox({ onClose, onNew }) {
  const found = useApi("/inbox", { on: ["delivery"], every: 5000, exact: ["requests"], pause: 500 });
  const [clear, busy, error] = useAction(async () => {
    await del("/inbox");
    await found.reload();
    toast(t("The inbox is empty"));
  });
  const requests = found.data?.requests;
  const foot = html`<${Button} busy=${busy} disabled=${!requests?.length} onClick=${clear}>${t("Empty the inbox")}</${Button}>
    <${Button} kind="primary" onClick=${onNew}>${t("Send one to the inbox")}</${Button}>`;
  const refused = error ?? found.error;
  return html`<${Dialog} side title=${t("Inbox")} onClose=${onClose} foot=${foot}>
    <p class="muted">${t("A receiver of the service's own, for trying things out. It keeps the last 100 requests in memory.")} <code class="upcoming-address">${INBOX}…</code></p>
    ${refused && html`<${Failure} error=${refused} retry=${found.reload} />`}
    ${!requests && !refused && html`<${Skeleton} lines=${4} height="64px" />`}
    ${requests?.length === 0 && html`<${Empty} title=${t("Nothing has arrived yet")}>${t("Schedule a message to the inbox and watch it come in.")}</${Empty}>`}
    <ul class="upcoming-inbox">${requests?.map((one) => html`<li key=${one.id}>
      <div class="upcoming-inbox-head">
        ${one.messageId !== null ? html`<a class="ellipsis" href=${link("upcoming", { id: one.messageId })}>${one.messageId}</a>` : html`<span class="ellipsis">${one.path}</span>`}
        <span class="muted"><${Relative} at=${one.receivedAt} /></span>
      </div>
      <p class="muted upcoming-line">${[
        one.messageId !== null && one.path,
        one.attempt !== null && t("attempt {number}", { number: one.attempt }),
        one.latenessMs !== null && t("{late} late", { late: lateness(plain(one.latenessMs)) }),
      ].filter(Boolean).join(" · ")}</p>
      <${JsonView} value=${one.body} label=${one.truncated ? t("Body, its beginning") : t("Body")} />
    </li>`)}</ul>
  </${Dialog}>`;
}
