import { html } from "../lib.js";
import { t } from "../i18n.js";
import { Copy } from "./buttons.js";

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\d[\d.eE+-]*)/g;
/** Colours cost an element for each value; longer texts are told without. */
const MOST_COLOURED = 20_000;

function coloured(text) {
  if (text.length > MOST_COLOURED) return text;
  const parts = [];
  let last = 0;
  for (const match of text.matchAll(TOKEN)) {
    const [whole, string, colon, word] = match;
    if (match.index > last) parts.push(text.slice(last, match.index));
    const kind = colon ? "key" : string ? "string" : word ? "word" : "number";
    parts.push(html`<span class=${`json-${kind}`}>${colon ? string : whole}</span>`);
    if (colon) parts.push(colon);
    last = match.index + whole.length;
  }
  parts.push(text.slice(last));
  return parts;
}

/** A JSON value (or text that is none), in order and with a button that copies it. */
export function JsonView({ value, text, label }) {
  const shown = text ?? JSON.stringify(value, null, 2) ?? "";
  return html`<figure class="json-view" aria-label=${label ?? "JSON"}>
    <figcaption><span>${label ?? "JSON"}</span><${Copy} text=${shown} /></figcaption>
    <pre tabindex="0" role="region" aria-label=${label ?? "JSON"}><code>${coloured(shown)}</code></pre>
  </figure>`;
}

/** Text to copy: a command, an address. */
export function Code({ text, label }) {
  return html`<figure class="json-view">
    <figcaption><span>${label ?? t("Command")}</span><${Copy} text=${text} /></figcaption>
    <pre tabindex="0" role="region" aria-label=${label ?? t("Command")}><code>${text}</code></pre>
  </figure>`;
}
