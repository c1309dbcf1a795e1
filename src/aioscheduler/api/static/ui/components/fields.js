import { html, useId, useRef } from "../lib.js";
import { t } from "../i18n.js";
import { parseExact } from "../api.js";
import { dateTime, fromLocalInput, inServiceZone, now, toLocalInput } from "../format.js";
import { Button } from "./buttons.js";

/** A label, a field, and what is wrong with it: `children(props)` draws the field with the props that tie them together. */
export function Field({ label, hint, error, hideLabel = false, class: more = "", children }) {
  const id = useId();
  const props = {
    id,
    "aria-invalid": error ? "true" : undefined,
    "aria-describedby": [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined,
  };
  return html`<div class=${`field ${error ? "invalid" : ""} ${more}`}>
    <label for=${id} class=${hideLabel ? "hidden" : ""}>${label}</label>
    ${children(props)}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
  </div>`;
}

const own = ({ label, hint, error, hideLabel, class: more }) => ({ label, hint, error, hideLabel, class: more });
const rest = ({ label, hint, error, hideLabel, class: more, onValue, ...others }) => others;

/** One line of text: `value`, `onValue(text)`; further attributes go to the input. */
export function TextField(props) {
  const { onValue } = props;
  return html`<${Field} ...${own(props)}>${(tied) =>
    html`<input type="text" autocomplete="off" spellcheck=${false} ...${rest(props)} ...${tied} onInput=${(event) => onValue(event.currentTarget.value)} />`}</${Field}>`;
}

/** A choice of few: options are `{value, label}`. */
export function Select(props) {
  const { onValue, options, value, ...others } = props;
  return html`<${Field} ...${own(props)}>${(tied) =>
    html`<select ...${rest(others)} ...${tied} value=${value} onChange=${(event) => onValue(event.currentTarget.value)}>
      ${options.map((option) => html`<option key=${option.value} value=${option.value} selected=${option.value === value}>${option.label}</option>`)}
    </select>`}</${Field}>`;
}

/** Several lines of text. */
export function TextArea(props) {
  const { onValue } = props;
  return html`<${Field} ...${own(props)}>${(tied) =>
    html`<textarea rows="6" spellcheck=${false} autocomplete="off" ...${rest(props)} ...${tied} onInput=${(event) => onValue(event.currentTarget.value)}></textarea>`}</${Field}>`;
}

/** A box to tick: `checked`, `onValue(checked)`. */
export function Checkbox({ label, checked, onValue, hint, ...others }) {
  const id = useId();
  return html`<div class="field check"><label for=${id}><input type="checkbox" ...${others} id=${id} checked=${checked} onChange=${(event) => onValue(event.currentTarget.checked)} /> <span>${label}</span></label>
    ${hint && html`<p class="hint">${hint}</p>`}</div>`;
}

/** `{value}` of JSON text, or `{error}`: a sentence that says where it goes wrong. */
export function checkJson(text) {
  try {
    return { value: parseExact(text) };
  } catch (error) {
    const at = /line (\d+) column (\d+)/.exec(error.message);
    const position = /position (\d+)/.exec(error.message);
    let line = at && Number(at[1]);
    let column = at && Number(at[2]);
    if (!at && position) {
      const before = text.slice(0, Number(position[1])).split("\n");
      line = before.length;
      column = before.at(-1).length + 1;
    }
    if (!text.trim()) return { error: t("JSON is needed here, such as {example}.", { example: '{"hello": "world"}' }) };
    return { error: line ? t("This is not JSON: see line {line}, column {column}.", { line, column }) : t("This is not JSON yet.") };
  }
}

/** JSON as text: `value` is the text, `onValue(text)`; it is checked while one types, and can be put in order. */
export function JsonArea(props) {
  const { value, onValue, error } = props;
  const checked = checkJson(value);
  const order = () => onValue(JSON.stringify(checked.value, null, 2));
  return html`<div class="json-area">
    <${TextArea} ...${props} class="mono" error=${error ?? (value.trim() ? checked.error : undefined)} />
    <${Button} kind="quiet" size="small" disabled=${"error" in checked} onClick=${order}>${t("Format")}</${Button}>
  </div>`;
}

const choices = () => {
  const tomorrow = new Date(now());
  tomorrow.setDate(tomorrow.getDate() + 1);
  tomorrow.setHours(9, 0, 0, 0);
  return [
    { label: t("in 5 min"), at: () => now() + 5 * 60_000 },
    { label: t("in 1 h"), at: () => now() + 3_600_000 },
    { label: t("tomorrow 9:00"), at: () => tomorrow },
  ];
};

/**
 * An instant in the reader's zone, to the second, with quick choices: `value` is a Date or null, `onValue(date)`. The
 * service's zone stands below it. Pass `quick=${[]}` for none, or a list of `{label, at()}`.
 */
export function DateTime(props) {
  const { value, onValue, quick = choices() } = props;
  const input = useRef(null);
  const hint = value ? html`<span title=${inServiceZone(value)}>${dateTime(value)} · ${Intl.DateTimeFormat().resolvedOptions().timeZone}</span>` : props.hint;
  const others = rest(props);
  delete others.quick;
  return html`<div class="date-time">
    <${Field} ...${own(props)} hint=${hint}>${(tied) =>
      html`<input type="datetime-local" step="1" ref=${input} ...${others} ...${tied} value=${toLocalInput(value)} onInput=${(event) => onValue(fromLocalInput(event.currentTarget.value))} />`}</${Field}>
    ${quick.length > 0 && html`<div class="quick">${quick.map(({ label, at }) =>
      html`<${Button} size="small" onClick=${() => onValue(new Date(at()))}>${label}</${Button}>`)}</div>`}
  </div>`;
}
