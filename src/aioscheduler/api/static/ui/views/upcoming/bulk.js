// Many messages deleted by how their ids begin: counted first, confirmed then.
import { html, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { del } from "../../api.js";
import { number } from "../../format.js";
import { useAction, useApi, useSettled } from "../../hooks.js";
import { Banner, Button, Dialog, TextField, toast } from "../../components.js";

const SHOWN = 5;

export function DeleteByPrefix({ prefix: given = "", onClose, onDone }) {
  const [prefix, setPrefix] = useState(given);
  const settled = useSettled(prefix);
  const counted = useApi(settled ? "/messages/count" : null, { query: { prefix: settled }, on: ["message"] });
  const examples = useApi(settled ? "/messages/search" : null, { query: { prefix: settled, limit: SHOWN } });
  const count = settled === prefix && settled ? counted.data?.count : undefined;
  const [run, busy, error] = useAction(async () => {
    const { deleted } = await del("/messages/bulk", { query: { prefix: settled } });
    toast(t("{count} message deleted|{count} messages deleted", { count: number(deleted), number: deleted }));
    onDone();
  });
  const ids = examples.data?.messages ?? [];
  const foot = html`<${Button} onClick=${onClose}>${t("Cancel")}</${Button}>
    <${Button} kind="danger" busy=${busy} disabled=${!count} onClick=${run}>${count ? t("Delete {count} message|Delete {count} messages", { count: number(count), number: count }) : t("Delete")}</${Button}>`;
  const refused = error ?? counted.error;
  return html`<${Dialog} title=${t("Delete by prefix")} onClose=${onClose} foot=${foot}>
    <p class="muted">${t("All messages whose id begins so are cancelled, whatever their status. Those on the wire now are not attempted again.")}</p>
    <${TextField} label=${t("The ids begin with")} value=${prefix} placeholder="order-1042_" maxlength="512" onValue=${setPrefix} />
    <div class="upcoming-bulk" role="status">
      ${count === undefined && html`<p class="muted">${prefix ? t("Counting…") : t("What would be deleted is shown here first.")}</p>`}
      ${count === 0 && html`<p>${t("No message begins so.")}</p>`}
      ${count > 0 && html`<p><strong>${t("{count} message would be deleted:|{count} messages would be deleted:", { count: number(count), number: count })}</strong></p>
        <ul>${ids.map(({ id }) => html`<li key=${id} class="mono ellipsis">${id}</li>`)}${count > ids.length && ids.length > 0 && html`<li class="muted">${t("and {count} more", { count: number(count - ids.length) })}</li>`}</ul>`}
    </div>
    ${refused && html`<${Banner} tone="bad">${refused.message}</${Banner}>`}
  </${Dialog}>`;
}
