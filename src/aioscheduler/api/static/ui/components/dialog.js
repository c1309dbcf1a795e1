import { html, useId, useLayoutEffect, useRef } from "../lib.js";
import { t } from "../i18n.js";
import { useAction } from "../hooks.js";
import { Button, IconButton } from "./buttons.js";
import { Banner } from "./status.js";

/**
 * A modal dialog that is open while it is there. `onClose` is asked when the reader wants to leave (Esc, the cross, beside it);
 * the focus then returns to where it was. side: a panel at the right, for details. foot: buttons at its end.
 */
export function Dialog({ title, onClose, children, foot, side = false, wide = false, keep = false }) {
  const own = useRef(null);
  const pressedOutside = useRef(false);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = own.current;
    dialog.showModal();
    // The close button comes first; a field that waits for input is the better place, unless details are there to be read.
    dialog.querySelector(side ? "[autofocus]" : "[autofocus], .dialog-body :is(input, textarea, select):not([disabled])")?.focus();
    return () => dialog.close();
  }, []);
  const outside = (event) => event.target === own.current;
  return html`<dialog ref=${own} class=${`dialog ${side ? "side" : ""} ${wide ? "wide" : ""}`} aria-labelledby=${id}
    onCancel=${(event) => { event.preventDefault(); onClose(); }}
    onPointerDown=${(event) => { pressedOutside.current = outside(event); }}
    onClick=${(event) => { if (!keep && pressedOutside.current && outside(event)) onClose(); }}>
    <div class="dialog-box">
      <header class="dialog-head"><h2 id=${id}>${title}</h2><${IconButton} icon="close" label=${t("Close")} onClick=${onClose} /></header>
      <div class="dialog-body">${children}</div>
      ${foot && html`<footer class="dialog-foot">${foot}</footer>`}
    </div>
  </dialog>`;
}

/**
 * Asks before something happens. `onConfirm` may take its time; when it has done, `onClose` is called, and when it throws,
 * the sentence stands in the dialog. The first focus is on "Cancel".
 */
export function ConfirmDialog({ title, children, confirm, danger = false, onConfirm, onClose }) {
  const [run, busy, error] = useAction(async () => {
    await onConfirm();
    onClose();
  });
  const foot = html`<${Button} onClick=${onClose} autofocus>${t("Cancel")}</${Button}>
    <${Button} kind=${danger ? "danger" : "primary"} busy=${busy} onClick=${run}>${confirm}</${Button}>`;
  return html`<${Dialog} title=${title} onClose=${onClose} foot=${foot}>
    ${children}
    ${error && html`<${Banner} tone="bad">${error.message}</${Banner}>`}
  </${Dialog}>`;
}
