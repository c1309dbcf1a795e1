import { html, store, useEffect, useRef, useStore } from "../lib.js";
import { t } from "../i18n.js";
import { Icon, IconButton } from "./buttons.js";

const SHOWN_MS = 6_000;
const shown = store([]);
let serial = 0;

/** Tell what became of something, for some seconds. action: `{label, onClick}`. */
export function toast(text, { tone = "ok", action = null } = {}) {
  const own = { id: ++serial, text, tone, action };
  shown.set([...shown.get().slice(-3), own]);
  setTimeout(() => dismiss(own.id), SHOWN_MS);
}

const dismiss = (id) => shown.set(shown.get().filter((one) => one.id !== id));

export function Toasts() {
  const all = useStore(shown);
  const root = useRef(null);
  useEffect(() => {
    // Shown anew it stands above dialogs that were opened since.
    if (root.current.matches(":popover-open")) root.current.hidePopover();
    if (all.length) root.current.showPopover();
  }, [all]);
  return html`<div class="toasts" role="status" popover="manual" ref=${root}>
    ${all.map(({ id, text, tone, action }) => html`<div key=${id} class=${`toast ${tone}`}>
      <${Icon} name=${tone === "bad" ? "warning" : "check"} /><span>${text}</span>
      ${action && html`<button type="button" class="button quiet small" onClick=${() => { dismiss(id); action.onClick(); }}>${action.label}</button>`}
      <${IconButton} icon="close" size=${14} label=${t("Dismiss")} onClick=${() => dismiss(id)} />
    </div>`)}
  </div>`;
}
