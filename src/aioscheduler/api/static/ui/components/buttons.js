import { html, useEffect, useId, useRef, useState } from "../lib.js";
import { t } from "../i18n.js";
import { toast } from "./toast.js";

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v10H9zM5 15V5h10",
  check: "M5 12.5l4.5 4.5L19 7.5",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  plus: "M12 5v14M5 12h14",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.5L20 20",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  play: "M8 5.5v13l10-6.5z",
  pause: "M8 5.5v13M16 5.5v13",
  external: "M14 5h5v5M19 5l-8 8M11 5H5v14h14v-6",
  chevron: "M9 6l6 6-6 6",
};

/** A line drawing; decoration only, so whatever holds it has a name of its own. */
export function Icon({ name, size = 18 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}

/**
 * A button. kind: "primary", "secondary" (default), "quiet" or "danger". busy: it works on it, and takes no click.
 * With `href` it is a link that looks like one.
 */
export function Button({ kind = "secondary", size, busy = false, disabled = false, icon, href, children, class: more = "", ...rest }) {
  const name = `button ${kind} ${size ?? ""} ${busy ? "busy" : ""} ${more}`;
  const inside = html`${icon && html`<${Icon} name=${icon} size=${16} />`}<span>${children}</span>`;
  if (href) return html`<a class=${name} href=${href} ...${rest}>${inside}</a>`;
  return html`<button type="button" class=${name} disabled=${disabled || busy} aria-busy=${busy ? "true" : undefined} ...${rest}>${inside}</button>`;
}

/** A button that shows an icon and is called `label`. */
export function IconButton({ icon, label, size = 18, class: more = "", ...rest }) {
  return html`<button type="button" class=${`icon-button ${more}`} aria-label=${label} title=${label} ...${rest}><${Icon} name=${icon} size=${size} /></button>`;
}

/** Copies `text` (or what a function gives) and says so. */
export function Copy({ text, label, kind = "quiet" }) {
  const [done, setDone] = useState(false);
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    const value = typeof text === "function" ? text() : text;
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      // Browsers have a clipboard only on https and on this machine.
      if (!copiedByHand(value)) {
        toast(t("The browser does not allow copying here."), { tone: "bad" });
        return;
      }
    }
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1500);
  };
  return html`<${Button} kind=${kind} size="small" icon=${done ? "check" : "copy"} onClick=${copy}>${done ? t("Copied") : (label ?? t("Copy"))}</${Button}>`;
}

function copiedByHand(value) {
  const area = document.createElement("textarea");
  area.value = value;
  area.className = "hidden";
  // Outside a modal dialog nothing can be selected while one is open.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
  }
}

/** A button that opens a small list: items are `{label, onClick, href, tone}`, or children stand for them. */
export function Menu({ label, icon, items = [], iconOnly = false, children, class: more = "" }) {
  const [open, setOpen] = useState(false);
  const root = useRef(null);
  const id = useId();
  useEffect(() => {
    if (!open) return undefined;
    const outside = (event) => root.current?.contains(event.target) || setOpen(false);
    const away = () => setOpen(false);
    document.addEventListener("pointerdown", outside);
    addEventListener("hashchange", away);
    return () => {
      document.removeEventListener("pointerdown", outside);
      removeEventListener("hashchange", away);
    };
  }, [open]);
  const onKeyDown = (event) => {
    if (event.key === "Escape" && open) {
      event.stopPropagation();
      event.preventDefault();
      setOpen(false);
      root.current.querySelector("button").focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!open || !step || event.target.matches("select, input")) return;
    const all = [...root.current.querySelectorAll(".menu-panel :is(a, button, select)")];
    if (!all.length) return;
    event.preventDefault();
    all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus();
  };
  const onFocusOut = (event) => {
    if (event.relatedTarget && !root.current.contains(event.relatedTarget)) setOpen(false);
  };
  const toggle = () => setOpen(!open);
  const common = { "aria-expanded": String(open), "aria-controls": open ? id : undefined, onClick: toggle };
  return html`<div class=${`menu ${more}`} ref=${root} onKeyDown=${onKeyDown} onFocusOut=${onFocusOut}>
    ${iconOnly ? html`<${IconButton} icon=${icon} label=${label} ...${common} />` : html`<${Button} kind="quiet" icon=${icon} ...${common}>${label}</${Button}>`}
    ${open && html`<div class="menu-panel" id=${id}>
      ${items.map(({ label: text, href, onClick, tone = "", disabled = false }) =>
        href
          ? html`<a class=${`menu-item ${tone}`} href=${href} onClick=${() => setOpen(false)}>${text}</a>`
          : html`<button type="button" class=${`menu-item ${tone}`} disabled=${disabled} onClick=${() => { setOpen(false); onClick(); }}>${text}</button>`)}
      ${children}
    </div>`}
  </div>`;
}
