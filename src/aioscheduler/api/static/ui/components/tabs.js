import { html, useRef } from "../lib.js";

/** A choice of what stands below: items are `{id, label}`; arrow keys move. The caller draws what belongs to `value`. */
export function Tabs({ items, value, onValue, label }) {
  const root = useRef(null);
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (items.findIndex((item) => item.id === value) + step + items.length) % items.length;
    onValue(items[next].id);
    root.current.children[next].focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} ref=${root} onKeyDown=${onKeyDown}>
    ${items.map(({ id, label: text }) => html`<button key=${id} type="button" role="tab" aria-selected=${String(id === value)} tabindex=${id === value ? 0 : -1} onClick=${() => onValue(id)}>${text}</button>`)}
  </div>`;
}
